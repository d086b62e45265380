//! `[pricing]` and `[logging]`: what `usage-logger` needs of the document.

use crate::document::{Document, Report};
use crate::fields::Fields;
use crate::{Pricing, Problems, pricing};

/// Keys of `[logging]`.
pub(crate) const LOGGING_KEYS: &[&str] = &["stdout"];

/// What `usage-logger` needs of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageConfig {
    /// What tokens cost.
    pub pricing: Pricing,
    /// Whether each usage record is also printed to stdout as one line of JSON; default true.
    pub stdout: bool,
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
        UsageConfig { pricing: Pricing::default(), stdout: true }
    }
}

/// Reads `[pricing]` and `[logging]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> UsageConfig {
    let pricing = pricing::read(root);
    let stdout = root.table("logging", LOGGING_KEYS).and_then(|table| table.flag("stdout"));
    UsageConfig { pricing, stdout: stdout.unwrap_or(UsageConfig::default().stdout) }
}
