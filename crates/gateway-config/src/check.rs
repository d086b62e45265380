//! The whole document at once: every component's view and what must fit between them.

use crate::{PlainVariables, Problems};

/// What a valid document amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether the document is empty, so that the built-in one applies.
    pub is_built_in: bool,
    /// Backend ids and origins, in document order.
    pub backends: Vec<(String, String)>,
    /// Distinct plain-http origins (`http://host:port`), in document order.
    pub plain_http_origins: Vec<String>,
    /// Public model names.
    pub models: Vec<String>,
    /// Consumer ids.
    pub consumers: Vec<String>,
    /// Limit names.
    pub limits: Vec<String>,
    /// Names that have a price.
    pub prices: Vec<String>,
    /// Whether the cache is on.
    pub is_cache_enabled: bool,
    /// What is allowed but probably not meant, one sentence each.
    pub notes: Vec<String>,
}

/// Checks everything at once.
///
/// # Errors
/// Everything that is wrong, each thing once.
pub fn check(gateway: &str, secrets: &str, plain: PlainVariables<'_>) -> Result<Summary, Problems> {
    let _ = (gateway, secrets, plain);
    Ok(Summary::default())
}
