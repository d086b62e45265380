//! `[models.timeouts]`: how long one attempt, and the whole answer, may take.

use crate::fields::Fields;

/// Keys of `[models.timeouts]`.
pub(crate) const KEYS: &[&str] = &["connect_ms", "first_byte_ms", "first_token_ms", "idle_ms", "total_ms"];

/// Ten minutes, the timeout of OpenAI's own clients: no one waits longer for a sign of life.
const WAIT_MAX_MS: u64 = 600_000;
/// The longest stream: an hour.
const TOTAL_MAX_MS: u64 = 3_600_000;

/// How long things may take, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until connected; 1 to 600,000, default 5,000.
    pub connect_ms: u64,
    /// From the connection to the first byte of the answer; 1 to 600,000, default 120,000.
    pub first_byte_ms: u64,
    /// From the connection to the first token of a stream; 1 to 600,000, by default the larger of 120,000 and `first_byte_ms`.
    pub first_token_ms: u64,
    /// Between two chunks of the answer; 1 to 600,000, default 60,000.
    pub idle_ms: u64,
    /// From the first attempt to the end of the answer, however many attempts it takes; 1 to 3,600,000, default
    /// 600,000 (as OpenAI's own clients). So it also bounds the length of a stream.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect_ms: 5_000,
            first_byte_ms: 120_000,
            first_token_ms: 120_000,
            idle_ms: 60_000,
            total_ms: 600_000,
        }
    }
}

/// Reads `timeouts`; `base` is what applies where nothing is written.
pub(crate) fn read(fields: &Fields<'_, '_>, base: Timeouts) -> Timeouts {
    let Some(table) = fields.table("timeouts", KEYS) else { return base };
    let ms = |key, base| table.integer(key, 1..=WAIT_MAX_MS).unwrap_or(base);
    let first_byte_ms = ms("first_byte_ms", base.first_byte_ms);
    Timeouts {
        connect_ms: ms("connect_ms", base.connect_ms),
        first_byte_ms,
        // Whoever allows a model to think longer means its first token too.
        first_token_ms: ms("first_token_ms", base.first_token_ms.max(first_byte_ms)),
        idle_ms: ms("idle_ms", base.idle_ms),
        total_ms: table.integer("total_ms", 1..=TOTAL_MAX_MS).unwrap_or(base.total_ms),
    }
}
