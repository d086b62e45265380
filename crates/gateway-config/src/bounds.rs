//! `[bounds]`: how large a body may be.

/// Byte caps of the bodies that the router holds, each 1 KiB to 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Largest request body, in bytes; default 16 MiB.
    pub request_bytes: usize,
    /// Largest answer, streamed or not, in bytes; default 32 MiB.
    pub response_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { request_bytes: 16 << 20, response_bytes: 32 << 20 }
    }
}
