//! Where a backend is: scheme, host, port and a path prefix, parsed once.

use http::Uri;
use http::uri::{Authority, InvalidUri, Scheme};
use std::fmt;

/// A base URL such as `https://api.openai.com/v1`.
///
/// Invariant: http or https, a host, no user information, query or fragment; the path prefix is empty or begins with a
/// slash and does not end with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    path_prefix: String,
}

impl BaseUrl {
    /// `http` or `https`.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host, and port if one is written.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What every path at this backend begins with: empty, or as in `/v1`, without a slash at its end.
    pub fn path_prefix(&self) -> &str {
        &self.path_prefix
    }

    /// The prefix and `path` joined; `path` begins with a slash (`/chat/completions`).
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.path_prefix)
    }

    /// The full address of `path`, which begins with a slash.
    ///
    /// # Errors
    /// When `path` is not a valid path and query.
    pub fn uri(&self, path: &str) -> Result<Uri, InvalidUri> {
        format!("{self}{path}").parse()
    }

    /// Port, written or implied by the scheme.
    pub fn port(&self) -> u16 {
        let implied = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(implied)
    }

    /// Scheme, host and port, the port always written: `https://api.openai.com:443`.
    pub fn origin(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.authority.host(), self.port())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path_prefix)
    }
}
