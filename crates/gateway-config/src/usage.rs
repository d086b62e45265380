//! `[pricing]` and `[logging]`: what `usage-logger` needs of the document.

use crate::document::{Document, Report};
use crate::fields::Fields;
use crate::{Pricing, Problems, pricing};

/// Keys of `[logging]`.
pub(crate) const LOGGING_KEYS: &[&str] = &["stdout", "user_ids", "retain_days"];

/// A hundred years.
const RETAIN_MAX_DAYS: u64 = 36_500;
/// Thirteen months: a month can be compared with the same one a year before.
const RETAIN_DEFAULT_DAYS: u32 = 400;

/// What `usage-logger` needs of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageConfig {
    /// What tokens cost.
    pub pricing: Pricing,
    /// Whether each usage record and each event is also printed to stdout as one line of JSON; default true.
    pub stdout: bool,
    /// Whether records keep the end user that a request names in `user`; default true.
    pub user_ids: bool,
    /// For how many days records and events are kept, 1 to 36,500; default 400. 0: for ever.
    pub retain_days: u32,
}

impl UsageConfig {
    /// Reads the logger's sections of the document.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(gateway: &str) -> Result<Self, Problems> {
        let report = Report::default();
        let config = Document::gateway(gateway, &report).map(|document| read(&document.root(&report)));
        report.finish(config.unwrap_or_default())
    }
}

impl Default for UsageConfig {
    fn default() -> Self {
        UsageConfig {
            pricing: Pricing::default(),
            stdout: true,
            user_ids: true,
            retain_days: RETAIN_DEFAULT_DAYS,
        }
    }
}

/// `[logging] user_ids` alone, for the router: what it must not record, it does not send. Whether the section is right is said to
/// the logger.
pub(crate) fn user_ids(root: &Fields<'_, '_>) -> bool {
    let unheard = Report::default();
    let table = root.reporting_to(&unheard).table("logging", LOGGING_KEYS);
    table.and_then(|table| table.flag("user_ids")).unwrap_or(UsageConfig::default().user_ids)
}

/// Reads `[pricing]` and `[logging]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> UsageConfig {
    let defaults = UsageConfig { pricing: pricing::read(root), ..UsageConfig::default() };
    let Some(table) = root.table("logging", LOGGING_KEYS) else { return defaults };
    let retain_days = table.integer("retain_days", 0..=RETAIN_MAX_DAYS);
    UsageConfig {
        stdout: table.flag("stdout").unwrap_or(defaults.stdout),
        user_ids: table.flag("user_ids").unwrap_or(defaults.user_ids),
        retain_days: retain_days.and_then(|days| u32::try_from(days).ok()).unwrap_or(defaults.retain_days),
        ..defaults
    }
}
