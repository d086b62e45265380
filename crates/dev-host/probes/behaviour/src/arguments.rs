//! What a request asks of the probe: a path and query parameters.

use std::time::Duration;

use anyhow::{Context, Result};
use spin_sdk::http::Request;

/// A request's path below its route and its decoded query parameters.
pub struct Arguments {
    path: String,
    parameters: Vec<(String, String)>,
}

impl Arguments {
    /// Reads the host's own `spin-path-info`, or the whole path behind an exact route.
    ///
    /// Where the probe stands in for another component, whose paths it is asked for, the manifest says what it shows: the
    /// environment variable `BEHAVIOUR`, a path with parameters.
    pub fn of(request: &Request) -> Self {
        if let Ok(behaviour) = std::env::var("BEHAVIOUR") {
            let (path, query) = behaviour.split_once('?').unwrap_or((&behaviour, ""));
            return Self::new(path, query);
        }
        let path_info = request.headers().get_all("spin-path-info").iter().next_back();
        let path = match path_info.and_then(|value| value.to_str().ok()) {
            Some(path) if !path.is_empty() => path,
            _ => request.uri().path(),
        };
        Self::new(path, request.uri().query().unwrap_or_default())
    }

    fn new(path: &str, query: &str) -> Self {
        Self {
            path: path.to_owned(),
            parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        }
    }

    /// The path below the route, with its leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter that may be left out.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.optional(name).with_context(|| format!("parameter {name} is missing"))
    }

    /// A whole number, 0 if left out.
    pub fn number(&self, name: &str) -> Result<i64> {
        self.optional(name).map_or(Ok(0), |text| text.parse().with_context(|| format!("{name}={text}")))
    }

    /// A duration in milliseconds, zero if left out.
    pub fn millis(&self, name: &str) -> Result<Duration> {
        Ok(Duration::from_millis(u64::try_from(self.number(name)?)?))
    }
}
