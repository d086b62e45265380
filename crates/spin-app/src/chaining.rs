//! Service chaining: which hosts mean a component of this application rather than a server.

use http::Uri;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What follows the component id in a chaining host.
pub const CHAINING_SUFFIX: &str = ".spin.internal";

/// What a chained component sees as its client (`spin-client-addr`).
pub const CHAINED_CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The component that `uri` addresses, if its host is a chaining host.
pub fn chaining_target(uri: &Uri) -> Option<&str> {
    target_of_host(uri.authority()?.host().trim())
}

/// The component that `host` (with or without a port) addresses, if it is a chaining host.
pub fn target_of_host(host: &str) -> Option<&str> {
    let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
    let target = host.strip_suffix(CHAINING_SUFFIX)?;
    (!target.contains('.')).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_chaining_domain_names_a_component() {
        for (uri, expected) in [
            ("http://front.spin.internal/x", Some("front")),
            ("http://front.spin.internal:80/x", Some("front")),
            ("http://a.b.spin.internal/", None),
            ("http://spin.internal/", None),
            ("http://front.spin.internal.example/", None),
            ("/relative", None),
        ] {
            assert_eq!(chaining_target(&Uri::from_static(uri)), expected, "{uri}");
        }
    }
}
