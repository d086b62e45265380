//! Addresses that no component may connect to, whatever its `allowed_outbound_hosts` say.

use anyhow::Context as _;
use ip_network::IpNetwork;
use std::net::IpAddr;

/// Addresses that may not be connected to; by default there are none.
#[derive(Debug, Default)]
pub struct BlockedNetworks(Vec<BlockedNetwork>);

#[derive(Debug)]
enum BlockedNetwork {
    /// Every address that is not global.
    Private,
    /// One network.
    Network(IpNetwork),
}

impl BlockedNetworks {
    /// All addresses of the networks that are named: `private`, an address or a network.
    pub fn parse(names: &[String]) -> anyhow::Result<Self> {
        let networks = names.iter().map(|name| BlockedNetwork::parse(name));
        networks.collect::<anyhow::Result<_>>().map(Self)
    }

    /// Whether `ip` is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let is_in = |ip: IpAddr| {
            self.0.iter().any(|network| match network {
                BlockedNetwork::Private => !IpNetwork::from(ip).is_global(),
                BlockedNetwork::Network(network) => network.contains(ip),
            })
        };
        match ip {
            // An IPv4 address in IPv6 clothes must not get around the rule.
            IpAddr::V6(v6) => is_in(ip) || v6.to_ipv4().is_some_and(|v4| is_in(IpAddr::V4(v4))),
            IpAddr::V4(_) => is_in(ip),
        }
    }
}

impl BlockedNetwork {
    fn parse(name: &str) -> anyhow::Result<Self> {
        if name == "private" {
            return Ok(Self::Private);
        }
        IpNetwork::from_str_truncate(name)
            .map(Self::Network)
            .with_context(|| format!("{name:?} is neither \"private\" nor a network"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_addresses_are_found_in_either_notation() {
        let blocked = BlockedNetworks::parse(&["private".into(), "1.1.1.0/24".into()]).unwrap();
        for (ip, expected) in [
            ("127.0.0.1", true),
            ("10.0.0.1", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::ffff:10.0.0.1", true),
            ("1.1.1.9", true),
            ("::ffff:1.1.1.9", true),
            ("8.8.8.8", false),
            ("2606:4700::1111", false),
        ] {
            assert_eq!(blocked.contains(ip.parse().unwrap()), expected, "{ip}");
        }
        assert!(!BlockedNetworks::default().contains("127.0.0.1".parse().unwrap()));
    }
}
