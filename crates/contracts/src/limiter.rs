//! `token-limiter`: reserve before the call, settle after it.

use crate::RetriedUsage;
use serde::{Deserialize, Serialize};

/// `POST`: the body is the client's own request; who asks for what travels as headers ([`crate::headers`]).
///
/// 204 with [`crate::headers::RESERVATION`] when admitted (without it when no rule matches); 429 or 503 with the finished
/// error response for the client otherwise. [`crate::headers::FOR_CLIENT`] names the headers that are for the client.
pub const RESERVE_PATH: &str = "/reserve";

/// `POST`: a [`SettleBatch`]; 204.
pub const SETTLE_PATH: &str = "/settle";

/// Several settlements in one call, because a component call costs as much as a request does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleBatch {
    /// At most [`MAX_BATCH`] entries.
    pub settlements: Vec<Settlement>,
}

/// Corrects one reservation to what was really used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// As returned by `/reserve`, unchanged.
    pub reservation: String,
    /// What became of it.
    pub outcome: SettleOutcome,
    /// Tokens of the answer. What failed attempts took is not in it.
    #[serde(default)]
    pub usage: SettledUsage,
    /// Public name of the model that answered, after routes and fallbacks, for the price.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Label of the deployment that answered, for the price.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deployment: String,
    /// What attempts took that failed before the one that answered, each at the price of its own deployment; at most
    /// [`crate::record::MAX_RETRIED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<RetriedUsage>,
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettleOutcome {
    /// The request took what `usage` says, and its turn: `used`.
    Used,
    /// It took nothing, because the call failed or the cache answered; everything goes back: `returned`.
    Returned,
}

/// Tokens of one request, as in a usage record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettledUsage {
    /// In the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Of these, read from the provider's own prompt cache.
    pub cached_tokens: u64,
    /// Generated, reasoning included.
    pub completion_tokens: u64,
    /// Of these, reasoning.
    pub reasoning_tokens: u64,
}

/// Most settlements or records in one batch.
pub const MAX_BATCH: usize = 256;
