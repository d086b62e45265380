//! `counter_key`: what has a counter of its own.

use crate::fields::{Fields, unknown_name};
use crate::names::{is_name, shown};
use http::HeaderName;
use std::fmt;

/// One part of a counter key, in the order in which the parts stand in a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterPart {
    /// The consumer's id: `consumer`.
    Consumer,
    /// The consumer's team: `team`.
    Team,
    /// The consumer's app: `app`.
    App,
    /// Whom the client says that it acts for, in the request's field `user`: `user`.
    User,
    /// The public model name that was asked for: `model`.
    Model,
    /// The name of the `[[models]]` entry that serves it, `*` for any other name: `pool`.
    Pool,
    /// The address of the connection's peer, without the port: `client_ip`.
    ClientIp,
    /// A header of the client's, by its lower-case name: `header:<name>`.
    Header(String),
    /// A claim of the client's token: `claim:<name>`.
    Claim(String),
}

/// Those without a name of their own.
const PLAIN: [(&str, CounterPart); 7] = [
    ("consumer", CounterPart::Consumer),
    ("team", CounterPart::Team),
    ("app", CounterPart::App),
    ("user", CounterPart::User),
    ("model", CounterPart::Model),
    ("pool", CounterPart::Pool),
    ("client_ip", CounterPart::ClientIp),
];

/// Headers that hold secrets: their values must not get into the store's keys.
const SECRET_HEADERS: [&str; 5] = ["authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"];
/// Begins the headers that the platform and Tollgate itself set.
const FOREIGN_PREFIXES: [&str; 2] = ["x-tollgate-", "spin-"];

impl fmt::Display for CounterPart {
    /// As in the document.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CounterPart::Header(name) => write!(f, "header:{name}"),
            CounterPart::Claim(name) => write!(f, "claim:{name}"),
            plain => f.write_str(PLAIN.iter().find(|(_, part)| part == plain).map_or("", |(name, _)| name)),
        }
    }
}

/// Reads `counter_key`; the parts come in one order always, so that a key does not depend on how it is written.
pub(crate) fn read(fields: &Fields<'_, '_>) -> Option<Vec<CounterPart>> {
    let Some(texts) = fields.texts("counter_key") else {
        if !fields.has("counter_key") {
            fields.refuse("counter_key", "is missing; [] is one counter for the whole gateway");
        }
        return None;
    };
    let mut parts = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        match part(text) {
            Ok(part) if parts.contains(&part) => fields.report().add(path, format!("is \"{text}\" again")),
            Ok(part) => parts.push(part),
            Err(why) => fields.report().add(path, why),
        }
    }
    parts.sort_unstable();
    Some(parts)
}

fn part(text: &str) -> Result<CounterPart, String> {
    match text.split_once(':') {
        Some(("header", name)) => header(name).map(CounterPart::Header),
        Some(("claim", name)) if is_name(name) => Ok(CounterPart::Claim(name.to_owned())),
        Some(("claim", _)) => {
            Err(format!("is {}, must be claim: and 1 to 64 characters of A-Z a-z 0-9 . _ -", shown(text)))
        }
        _ => {
            let found = PLAIN.into_iter().find(|(name, _)| *name == text).map(|(_, part)| part);
            let names = PLAIN.iter().map(|(name, _)| *name).chain(["header:<name>", "claim:<name>"]);
            found.ok_or_else(|| unknown_name(text, "part of a counter key", names))
        }
    }
}

fn header(name: &str) -> Result<String, String> {
    let Ok(name) = HeaderName::try_from(name) else {
        return Err(format!("is {}, must be header: and the name of a header", shown(name)));
    };
    let name = name.as_str();
    if SECRET_HEADERS.contains(&name) {
        return Err(format!("counts by {name:?}, whose value is a secret; count by \"consumer\""));
    }
    if FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("counts by {name:?}, which no client can set"));
    }
    Ok(name.to_owned())
}
