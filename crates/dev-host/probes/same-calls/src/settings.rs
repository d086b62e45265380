//! What the manifest says.

use crate::internal;
use http::Uri;
use raw_http::ErrorCode;
use spin_sdk::variables;
use spin_sdk::wasip3::http::types::Scheme;
use std::sync::OnceLock;

/// The component's variables.
pub struct Settings {
    /// Of the variable `upstream`.
    pub scheme: Scheme,
    /// Of the variable `upstream`.
    pub authority: String,
    /// Whether `stores` is `yes`.
    pub has_stores: bool,
    /// What follows an answer is sent once for so many requests of an instance; at least 1.
    pub requests_per_batch: usize,
}

/// Read once per instance.
pub async fn settings() -> Result<&'static Settings, ErrorCode> {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let uri: Uri = variable("upstream").await?.parse().map_err(internal)?;
    let scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let has_stores = variable("stores").await? == "yes";
    let requests_per_batch: usize = variable("requests_per_batch").await?.parse().map_err(internal)?;
    let requests_per_batch = requests_per_batch.max(1);
    Ok(SETTINGS.get_or_init(|| Settings { scheme, authority, has_stores, requests_per_batch }))
}

async fn variable(name: &str) -> Result<String, ErrorCode> {
    variables::get(name).await.map_err(internal)
}
