//! Where a backend is: scheme, host, port and a path prefix, parsed once.

use http::Uri;
use http::uri::{Authority, InvalidUri, Scheme};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

const BAD_HOST: &str = "must have a host: a name, an IPv4 address or an IPv6 address in brackets";
const BAD_PORT: &str = "must have a port from 1 to 65535, or none";
const BAD_PATH: &str = "must have a path without spaces and without empty, . or .. segments";

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
    /// Parses a base URL; the error says what is wrong without repeating the text, which may hold a credential.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::HTTPS, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::HTTP, rest)
        } else {
            return Err("must begin with https:// or http://");
        };
        if rest.contains(['?', '#']) {
            return Err("must not have a query or a fragment");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("must not hold a user name or password; give the credential as api_key");
        }
        check_authority(authority)?;
        let authority = authority.parse().map_err(|_| BAD_HOST)?;
        let path_prefix = path.strip_suffix('/').unwrap_or(path);
        check_path(path_prefix)?;
        Ok(BaseUrl { scheme, authority, path_prefix: path_prefix.to_owned() })
    }

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

fn check_authority(authority: &str) -> Result<(), &'static str> {
    let host_end = match authority.strip_prefix('[') {
        Some(_) => authority.find(']').ok_or(BAD_HOST)? + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if !is_host(host) {
        return Err(BAD_HOST);
    }
    let is_port = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse().is_ok_and(|port: u16| port > 0)
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if is_port(digits) => Ok(()),
        _ => Err(BAD_PORT),
    }
}

/// A name of RFC 1123 labels (and `_`, which container networks use), or an address.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.split('.').all(is_label)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Ok(());
    }
    if path.ends_with("/chat/completions") {
        return Err("must end before /chat/completions, which is added to it");
    }
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            // RFC 3986, 3.3: pchar
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&b))
    };
    if path.split('/').skip(1).all(is_segment) { Ok(()) } else { Err(BAD_PATH) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_parsed_once_into_its_parts() {
        for (text, origin, prefix, joined) in [
            (
                "https://api.openai.com/v1",
                "https://api.openai.com:443",
                "/v1",
                "https://api.openai.com/v1/models",
            ),
            (
                "https://api.openai.com/v1/",
                "https://api.openai.com:443",
                "/v1",
                "https://api.openai.com/v1/models",
            ),
            ("http://127.0.0.1:9100", "http://127.0.0.1:9100", "", "http://127.0.0.1:9100/models"),
            ("http://vllm_1/", "http://vllm_1:80", "", "http://vllm_1/models"),
            ("http://[::1]:8000/a/b", "http://[::1]:8000", "/a/b", "http://[::1]:8000/a/b/models"),
            (
                "https://x.example:8443/a%20b",
                "https://x.example:8443",
                "/a%20b",
                "https://x.example:8443/a%20b/models",
            ),
        ] {
            let url = BaseUrl::parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
            assert_eq!(url.origin(), origin, "{text}");
            assert_eq!(url.path_prefix(), prefix, "{text}");
            assert_eq!(url.join("/models"), format!("{prefix}/models"), "{text}");
            assert_eq!(url.uri("/models").unwrap().to_string(), joined, "{text}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "must begin with"),
            ("api.openai.com/v1", "must begin with"),
            ("ftp://x/", "must begin with"),
            ("HTTPS://x/", "must begin with"),
            ("https://", BAD_HOST),
            ("https:///v1", BAD_HOST),
            ("https://:443", BAD_HOST),
            ("https://a b", BAD_HOST),
            ("https://a..b", BAD_HOST),
            ("https://.", BAD_HOST),
            ("https://exämple.com", BAD_HOST),
            ("https://1.2.3.456", BAD_HOST),
            ("https://[::1", BAD_HOST),
            ("https://[x]", BAD_HOST),
            ("https://x:", BAD_PORT),
            ("https://x:0", BAD_PORT),
            ("https://x:65536", BAD_PORT),
            ("https://x:+80", BAD_PORT),
            ("https://[::1]80", BAD_PORT),
            ("https://user:pass@x/v1", "user name or password"),
            ("https://x/v1?key=1", "query"),
            ("https://x#a", "fragment"),
            ("https://x//v1", BAD_PATH),
            ("https://x/v1//", BAD_PATH),
            ("https://x/../v1", BAD_PATH),
            ("https://x/v 1", BAD_PATH),
            ("https://x/v1\n", BAD_PATH),
            ("https://x/v1/chat/completions", "must end before"),
        ] {
            match BaseUrl::parse(text) {
                Ok(url) => panic!("{text}: accepted as {url}"),
                Err(found) => assert!(found.contains(reason), "{text}: {found}"),
            }
        }
    }
}
