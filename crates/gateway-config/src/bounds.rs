//! `[bounds]`: how large a body may be, and how long a client may take over one.

use crate::fields::Fields;

/// Keys of `[bounds]`.
pub(crate) const KEYS: &[&str] = &["request_bytes", "response_bytes", "client_ms"];

/// What a cap may be, in bytes.
pub(crate) const BYTES: std::ops::RangeInclusive<u64> = MIN_BYTES..=MAX_BYTES;

const MIN_BYTES: u64 = 1 << 10;
/// Half of the memory that a component has where it has least (128 MiB).
const MAX_BYTES: u64 = 64 << 20;

/// What a client may keep the gateway waiting, in ms.
const CLIENT_MS: std::ops::RangeInclusive<u64> = 100..=600_000;

/// Caps of the bodies that the router takes and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest request body, in bytes; 1 KiB to 64 MiB, default 16 MiB.
    pub request_bytes: usize,
    /// Largest answer, streamed or not, in bytes; 1 KiB to 64 MiB, default 32 MiB.
    pub response_bytes: usize,
    /// How long a client may take over the next piece of its request, or over taking a piece of its answer, in ms; 100 to
    /// 600,000, default 60,000.
    pub client_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { request_bytes: 16 << 20, response_bytes: 32 << 20, client_ms: 60_000 }
    }
}

/// Reads `[bounds]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> Bounds {
    let defaults = Bounds::default();
    let Some(table) = root.table("bounds", KEYS) else { return defaults };
    let bytes = |key, default| {
        let bytes = table.integer(key, BYTES).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.unwrap_or(default)
    };
    Bounds {
        request_bytes: bytes("request_bytes", defaults.request_bytes),
        response_bytes: bytes("response_bytes", defaults.response_bytes),
        client_ms: table.integer("client_ms", CLIENT_MS).unwrap_or(defaults.client_ms),
    }
}
