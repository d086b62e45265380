//! How one deployment of a tier is picked, and by what a request is recognised again.

use crate::fields::{Fields, unknown_name};
use crate::names::shown;
use http::HeaderName;

/// How one deployment is picked among those of a tier that can serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Strategy {
    /// In turn: `round_robin`.
    RoundRobin,
    /// By chance, each as likely as its weight says: `weighted`.
    #[default]
    Weighted,
    /// The one with the fewest requests under way for its weight: `least_busy`.
    LeastBusy,
    /// The one that has answered fastest of late: `lowest_latency`.
    LowestLatency,
    /// The one at which this request costs least: `lowest_cost`.
    LowestCost,
    /// Always the same one for the same key, while it can serve: `session`.
    Session(HashKey),
}

/// By what a request is recognised again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The consumer's id: `consumer`.
    Consumer,
    /// The request's `user` (or `safety_identifier`), else the consumer: `user`.
    User,
    /// The messages up to the first of the user, which every turn of a conversation repeats: `conversation`.
    Conversation,
    /// The value of a request header: `header:<name>`. The name is lower case.
    Header(String),
    /// The value of a cookie: `cookie:<name>`.
    Cookie(String),
    /// Nothing: each request anew, by chance: `request`.
    Request,
}

const STRATEGIES: [&str; 6] =
    ["round_robin", "weighted", "least_busy", "lowest_latency", "lowest_cost", "session"];

impl Strategy {
    /// The name in the document.
    pub fn as_str(&self) -> &'static str {
        match self {
            Strategy::RoundRobin => "round_robin",
            Strategy::Weighted => "weighted",
            Strategy::LeastBusy => "least_busy",
            Strategy::LowestLatency => "lowest_latency",
            Strategy::LowestCost => "lowest_cost",
            Strategy::Session(_) => "session",
        }
    }
}

/// Reads `strategy` and `session_key`; `base` is what applies where nothing is written.
pub(crate) fn read(fields: &Fields<'_, '_>, base: &Strategy) -> Strategy {
    let key = read_hash_key(fields, "session_key").filter(|key| {
        if *key == HashKey::Request {
            fields.refuse(
                "session_key",
                "is \"request\", which would be another one each time; leave session out",
            );
        }
        *key != HashKey::Request
    });
    let inherited = match base {
        Strategy::Session(key) => key.clone(),
        _ => HashKey::Consumer,
    };
    let session = || Strategy::Session(key.clone().unwrap_or(inherited));
    let strategy = match fields.text("strategy") {
        None if matches!(base, Strategy::Session(_)) => session(),
        None => base.clone(),
        Some("round_robin") => Strategy::RoundRobin,
        Some("weighted") => Strategy::Weighted,
        Some("least_busy") => Strategy::LeastBusy,
        Some("lowest_latency") => Strategy::LowestLatency,
        Some("lowest_cost") => Strategy::LowestCost,
        Some("session") => session(),
        Some(other) => {
            fields.refuse("strategy", unknown_name(other, "a strategy", STRATEGIES));
            return base.clone();
        }
    };
    if fields.has("session_key") && !matches!(strategy, Strategy::Session(_)) {
        fields.refuse("session_key", "belongs to strategy = \"session\", which is not chosen here");
    }
    strategy
}

/// Reads what a request is recognised by.
pub(crate) fn read_hash_key(fields: &Fields<'_, '_>, key: &str) -> Option<HashKey> {
    let text = fields.text(key)?;
    let parsed = match text.split_once(':') {
        Some(("header", name)) => header_name(name).map(HashKey::Header),
        Some(("cookie", name)) => header_name(name).map(|_| HashKey::Cookie(name.to_owned())),
        Some(_) => None,
        None => match text {
            "consumer" => Some(HashKey::Consumer),
            "user" => Some(HashKey::User),
            "conversation" => Some(HashKey::Conversation),
            "request" => Some(HashKey::Request),
            _ => None,
        },
    };
    if parsed.is_none() {
        let allowed =
            "\"consumer\", \"user\", \"conversation\", \"request\", \"header:<name>\" or \"cookie:<name>\"";
        fields.refuse(key, format!("is {}, must be {allowed}", shown(text)));
    }
    parsed
}

/// A header's name in lower case; `None` for what is none. A cookie's name has the same characters (RFC 6265 §4.1.1).
pub(crate) fn header_name(text: &str) -> Option<String> {
    Some(HeaderName::from_bytes(text.as_bytes()).ok()?.as_str().to_owned())
}
