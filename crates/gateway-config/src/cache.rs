//! `[cache]`: whether, how long and how much.

use crate::Problems;
use crate::document::{Document, Report};
use crate::fields::Fields;

/// Keys of `[cache]`.
pub(crate) const KEYS: &[&str] = &["enabled", "ttl_s", "max_entry_bytes"];

/// 30 days.
const TTL_MAX_S: u64 = 2_592_000;
const ENTRY_MIN_BYTES: u64 = 1 << 10;
/// What the smallest of the key-value stores takes.
const ENTRY_MAX_BYTES: u64 = 1_000_000;

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
        let report = Report::default();
        let config = Document::gateway(gateway, &report).map(|document| read(&document.root(&report)));
        report.finish(config.unwrap_or_default())
    }
}

/// Reads `[cache]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> CacheConfig {
    let defaults = CacheConfig::default();
    let Some(table) = root.table("cache", KEYS) else { return defaults };
    let max_entry_bytes = table.integer("max_entry_bytes", ENTRY_MIN_BYTES..=ENTRY_MAX_BYTES);
    CacheConfig {
        enabled: table.flag("enabled").unwrap_or(defaults.enabled),
        ttl_s: table.integer("ttl_s", 1..=TTL_MAX_S).unwrap_or(defaults.ttl_s),
        max_entry_bytes: max_entry_bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(defaults.max_entry_bytes),
    }
}
