//! `[[limits]]` and `[limiter]`: how many tokens whom.

use crate::Problems;
use crate::document::{Document, Report};
use crate::fields::{Fields, Taken, unknown_name};

/// Keys of `[[limits]]`.
pub(crate) const KEYS: &[&str] = &["name", "counter_key", "tokens_per_minute"];
/// Keys of `[limiter]`.
pub(crate) const LIMITER_KEYS: &[&str] = &["completion_reserve", "on_store_error"];

/// Far above any provider's rate, far below where sums of counters could overflow.
const TOKENS_MAX: u64 = 1_000_000_000_000;
const RESERVE_MAX: u64 = 1_000_000;
const RESERVE_DEFAULT: u64 = 1_024;

/// What `token-limiter` needs of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimiterConfig {
    /// All rules; a request must pass each one that counts it.
    pub limits: Vec<Limit>,
    /// Completion tokens that are reserved for a request that sets no maximum itself; 1 to 1,000,000, default 1,024.
    pub completion_reserve: u64,
    /// What happens when the counters cannot be reached.
    pub on_store_error: OnStoreError,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Unique name; `[A-Za-z0-9._-]`, 1 to 64.
    pub name: String,
    /// What has a counter of its own, in the order of [`CounterPart::ALL`]; empty = one counter for the whole gateway.
    /// Requests that lack a part (their consumers have no team) share a counter.
    pub counter_key: Vec<CounterPart>,
    /// Tokens, prompt and completion together, in any 60 seconds; 1 to 10^12.
    pub tokens_per_minute: u64,
}

/// One part of a counter key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CounterPart {
    /// The consumer's id: `consumer`.
    Consumer,
    /// The consumer's team: `team`.
    Team,
    /// The consumer's app: `app`.
    App,
    /// The public model name that was asked for: `model`.
    Model,
}

/// What happens to requests when the counters cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStoreError {
    /// They are refused with 503: `deny`.
    #[default]
    Deny,
    /// They pass uncounted: `allow`.
    Allow,
}

impl CounterPart {
    /// Every part, in the order of a counter's key.
    pub const ALL: [CounterPart; 4] =
        [CounterPart::Consumer, CounterPart::Team, CounterPart::App, CounterPart::Model];

    /// The name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            CounterPart::Consumer => "consumer",
            CounterPart::Team => "team",
            CounterPart::App => "app",
            CounterPart::Model => "model",
        }
    }
}

impl Default for LimiterConfig {
    fn default() -> Self {
        LimiterConfig {
            limits: Vec::new(),
            completion_reserve: RESERVE_DEFAULT,
            on_store_error: OnStoreError::default(),
        }
    }
}

impl LimiterConfig {
    /// Reads the limiter's sections of the document.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(gateway: &str) -> Result<Self, Problems> {
        let report = Report::default();
        let config = Document::gateway(gateway, &report).map(|document| read(&document.root(&report)));
        report.finish(config.unwrap_or_default())
    }
}

/// Reads `[[limits]]` and `[limiter]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> LimiterConfig {
    let mut config = LimiterConfig { limits: read_limits(root), ..LimiterConfig::default() };
    if let Some(table) = root.table("limiter", LIMITER_KEYS) {
        let reserve = table.integer("completion_reserve", 1..=RESERVE_MAX);
        config.completion_reserve = reserve.unwrap_or(RESERVE_DEFAULT);
        config.on_store_error = read_on_store_error(&table).unwrap_or_default();
    }
    config
}

fn read_limits(root: &Fields<'_, '_>) -> Vec<Limit> {
    let mut taken = Taken::new();
    let mut limits: Vec<Limit> = Vec::new();
    for fields in root.tables("limits", KEYS) {
        let name = fields.unique_name("name", &mut taken);
        let counter_key = read_counter_key(&fields);
        if !fields.has("tokens_per_minute") {
            fields.refuse("tokens_per_minute", "is missing");
        }
        let tokens_per_minute = fields.integer("tokens_per_minute", 1..=TOKENS_MAX);
        let (Some(name), Some(counter_key), Some(tokens_per_minute)) = (name, counter_key, tokens_per_minute)
        else {
            continue;
        };
        if let Some(other) = limits.iter().find(|limit| limit.counter_key == counter_key) {
            fields.refuse(
                "counter_key",
                format!(
                    "counts the same as limit \"{}\", so the larger could never decide; keep one",
                    other.name
                ),
            );
        }
        limits.push(Limit { name, counter_key, tokens_per_minute });
    }
    limits
}

/// The parts in the order of [`CounterPart::ALL`], so that a key does not depend on how it is written.
fn read_counter_key(fields: &Fields<'_, '_>) -> Option<Vec<CounterPart>> {
    let Some(texts) = fields.texts("counter_key") else {
        if !fields.has("counter_key") {
            fields.refuse("counter_key", "is missing; [] is one counter for the whole gateway");
        }
        return None;
    };
    let mut parts = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        match CounterPart::ALL.into_iter().find(|part| part.as_str() == text) {
            Some(part) if parts.contains(&part) => fields.report().add(path, format!("is \"{text}\" again")),
            Some(part) => parts.push(part),
            None => {
                let names = CounterPart::ALL.map(CounterPart::as_str);
                fields.report().add(path, unknown_name(text, "part of a counter key", names));
            }
        }
    }
    parts.sort_unstable();
    Some(parts)
}

fn read_on_store_error(fields: &Fields<'_, '_>) -> Option<OnStoreError> {
    match fields.text("on_store_error")? {
        "deny" => Some(OnStoreError::Deny),
        "allow" => Some(OnStoreError::Allow),
        other => {
            fields.refuse("on_store_error", unknown_name(other, "a way to go on", ["deny", "allow"]));
            None
        }
    }
}
