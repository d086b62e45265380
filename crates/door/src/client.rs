//! Where a request really comes from.

use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// Set by the platform on every request, after whatever the client sent under the same name.
const CLIENT_ADDR: &str = "spin-client-addr";

/// The address of the connection's peer; an IPv4 address in IPv6's form is given as IPv4.
///
/// Only the last value counts: the platform appends its own after the client's copies.
pub fn client_ip(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all(CLIENT_ADDR).iter().next_back()?.to_str().ok()?;
    let ip = value.parse::<SocketAddr>().map(|a| a.ip()).or_else(|_| value.parse::<IpAddr>());
    ip.ok().map(|ip| ip.to_canonical())
}

/// What a reverse proxy says of the client that it speaks for: RFC 7239, and the customs before it.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Whether the client is on this machine. When it is not known, the answer is no; so it is when the request was forwarded,
/// because then only the proxy is known to be here.
pub fn is_loopback_client(headers: &HeaderMap) -> bool {
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    !is_forwarded && client_ip(headers).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_platforms_own_word_counts() {
        for (values, expected) in [
            (&["127.0.0.1:5000"][..], true),
            (&["[::1]:5000"], true),
            (&["[::ffff:127.0.0.1]:5000"], true),
            (&["127.0.0.1"], true),
            (&["127.0.0.1:1", "10.0.0.7:5000"], false),
            (&["10.0.0.7:5000", "127.0.0.1:1"], true),
            (&["0.0.0.0:0"], false),
            (&["localhost:1"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("spin-client-addr", value.parse().unwrap());
            }
            assert_eq!(is_loopback_client(&headers), expected, "{values:?}");
        }
    }
    #[test]
    fn whom_a_proxy_speaks_for_is_not_known_to_be_here() {
        for name in ["forwarded", "x-forwarded-for", "X-Real-IP"] {
            let mut headers = HeaderMap::new();
            headers.insert("spin-client-addr", "127.0.0.1:5000".parse().unwrap());
            headers.insert(http::HeaderName::try_from(name).unwrap(), "127.0.0.1".parse().unwrap());
            assert!(!is_loopback_client(&headers), "{name}");
            assert_eq!(client_ip(&headers).unwrap().to_string(), "127.0.0.1", "the peer is who it is");
        }
    }
}
