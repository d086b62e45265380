//! `[models.retries]`: how often, how long and upon what another attempt is made.

use crate::fields::Fields;
use crate::statuses::{self, StatusSet};

/// Keys of `[models.retries]`.
pub(crate) const KEYS: &[&str] = &["max_attempts", "total_ms", "backoff_ms", "backoff_max_ms", "statuses"];

const ATTEMPTS_MAX: u64 = 10;
const TOTAL_MAX_MS: u64 = 600_000;
const BACKOFF_MAX_MS: u64 = 60_000;

/// How often, how long and upon what another attempt is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in a pool, the first included; 1 to 10, default 3 (as OpenAI's own clients: two retries). A fallback's
    /// pool has its own.
    pub max_attempts: u32,
    /// No attempt begins later than this after the first one began, in ms; 1 to 600,000, default 180,000. The pool that
    /// was asked first decides for its fallbacks too.
    pub total_ms: u64,
    /// Longest wait before the second retry, in ms; doubles with each further one; 1 to 60,000, default 200. The first
    /// retry does not wait.
    pub backoff_ms: u64,
    /// Longest wait before any retry, in ms; 1 to 60,000, default 5,000. Where a provider says to wait longer, it is not
    /// asked again.
    pub backoff_max_ms: u64,
    /// Statuses upon which another attempt is made; default 401 to 404, 408, 409, 429 and 5xx.
    pub statuses: StatusSet,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            max_attempts: 3,
            total_ms: 180_000,
            backoff_ms: 200,
            backoff_max_ms: 5_000,
            statuses: StatusSet::of(&[(401, 404), (408, 409), (429, 429), (500, 599)]),
        }
    }
}

/// Reads `retries`; `base` is what applies where nothing is written.
pub(crate) fn read(fields: &Fields<'_, '_>, base: &Retries) -> Retries {
    let Some(table) = fields.table("retries", KEYS) else { return base.clone() };
    let attempts = table.integer("max_attempts", 1..=ATTEMPTS_MAX).and_then(|n| u32::try_from(n).ok());
    let ms = |key, max, base| table.integer(key, 1..=max).unwrap_or(base);
    Retries {
        max_attempts: attempts.unwrap_or(base.max_attempts),
        total_ms: ms("total_ms", TOTAL_MAX_MS, base.total_ms),
        backoff_ms: ms("backoff_ms", BACKOFF_MAX_MS, base.backoff_ms),
        backoff_max_ms: ms("backoff_max_ms", BACKOFF_MAX_MS, base.backoff_max_ms),
        statuses: statuses::read(&table, "statuses").unwrap_or_else(|| base.statuses.clone()),
    }
}
