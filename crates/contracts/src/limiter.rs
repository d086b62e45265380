//! `token-limiter`: reserve before the call, settle after it.

use serde::{Deserialize, Serialize};

/// `POST`: the body is the client's own request; consumer, team, app and model travel as headers.
///
/// 204 with [`crate::headers::RESERVATION`] and `x-ratelimit-*` when admitted (no reservation header when no limit
/// applies); 429 or 503 with the finished error response for the client otherwise.
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
    /// Tokens really used, prompt and completion together; 0 returns the whole reservation.
    pub tokens: u64,
}

/// Most settlements or records in one batch.
pub const MAX_BATCH: usize = 256;
