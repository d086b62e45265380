//! Events: what operators must hear of beside the usage records. Rare, where records come with each request.
//!
//! An event names who and how much, never a key and nothing of a prompt: whoever makes one keeps such out of its texts.

use serde::{Deserialize, Serialize};

/// `POST` to `usage-logger`: a JSON array of at most [`crate::limiter::MAX_BATCH`] [`Event`]s; 204.
pub const EVENTS_PATH: &str = "/events";

/// Something that happened to a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The event's own id, 1 to 256 bytes: an event that arrives twice is kept once, as it first came.
    ///
    /// The id of an alert is best made of limit, amount, counter, window and threshold: then it is kept once, however
    /// many replicas saw the threshold passed.
    pub event_id: String,
    /// When it happened: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The request during which it happened, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Team of that request's consumer, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub team: String,
    /// Name of the limit.
    pub limit: String,
    /// Which of the limit's amounts.
    pub amount: Amount,
    /// Whose use is counted: the value of the limit's counter key, as the operator's pages show it; empty when the
    /// limit has one counter for the whole gateway.
    pub counter: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// Name of its kind, on the wire and in the database.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Alert(_) => "alert",
            What::Audit(_) => "audit",
        }
    }
}

/// What happened, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// The use of a limit passed one of its thresholds.
    Alert(Alert),
    /// An operator did something.
    Audit(Audit),
}

/// A threshold was passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The threshold, in thousandths of the limit's amount: 800 is `alert_at = [0.8]`.
    pub threshold_permille: u64,
    /// What was used when it was passed, in the unit of [`Amount`].
    pub used: u64,
    /// The most that may be used, in the same unit.
    pub size: u64,
    /// The window's begin: milliseconds since the Unix epoch. Of a window that slides or of requests in parallel:
    /// the window as it was at that moment.
    pub window_start_ms: u64,
    /// The window's end, exclusive: milliseconds since the Unix epoch.
    pub window_end_ms: u64,
    /// Whether the limit refuses.
    pub mode: LimitMode,
}

/// An operator's deed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// What was done.
    pub action: Action,
    /// By whom: `admin`, for there is one admin token.
    pub by: String,
    /// The address that it came from, as the platform gives it; empty when it gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// What was used before, in the unit of [`Amount`].
    pub before: u64,
    /// What is used after.
    pub after: u64,
}

/// What an operator can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A counter was set back.
    LimitReset,
}

/// Whether a limit refuses, as `mode` in the document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitMode {
    /// It does.
    Enforce,
    /// It counts, and says what it would have refused.
    Observe,
}

/// The amounts of a limit, by their keys in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Tokens in any 60 seconds.
    TokensPerMinute,
    /// Requests in any 60 seconds.
    RequestsPerMinute,
    /// Tokens in a period.
    TokenQuota,
    /// Requests in a period.
    RequestQuota,
    /// Money in a period, in nano-dollars (1 USD = 1,000,000,000).
    CostQuotaUsd,
    /// Requests at the same time.
    MaxParallel,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wire form of each kind, field by field: components of other versions read it.
    #[test]
    fn events_are_written_and_read_in_these_forms() {
        let alert = r#"{"event_id":"e-1","at_ms":1,"request_id":"r","team":"search","limit":"per-team","amount":"cost_quota_usd","counter":"search","kind":"alert","threshold_permille":800,"used":8,"size":10,"window_start_ms":0,"window_end_ms":60000,"mode":"observe"}"#;
        let audit = r#"{"event_id":"e-2","at_ms":1,"limit":"per-team","amount":"tokens_per_minute","counter":"","kind":"audit","action":"limit_reset","by":"admin","before":9,"after":0}"#;
        for (wire, kind) in [(alert, "alert"), (audit, "audit")] {
            let event: Event = serde_json::from_str(wire).unwrap();
            assert_eq!(event.kind(), kind);
            assert_eq!(serde_json::to_string(&event).unwrap(), wire);
        }
    }
}
