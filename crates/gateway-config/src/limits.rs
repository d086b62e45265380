//! `[[limits]]` and `[limiter]`: how many tokens whom.

use crate::Problems;

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
    /// What has a counter of its own; empty = one counter for the whole gateway. A request that lacks a part (its
    /// consumer has no team) is not counted by this limit.
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

impl LimiterConfig {
    /// Reads the limiter's sections of the document.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(gateway: &str) -> Result<Self, Problems> {
        let _ = gateway;
        Ok(LimiterConfig {
            limits: Vec::new(),
            completion_reserve: 1_024,
            on_store_error: OnStoreError::Deny,
        })
    }
}
