//! Which destinations a component may reach (`allowed_outbound_hosts`). Decides the grammar of an entry, which URLs it
//! allows, and what happens when a templated entry has no usable value. Opens no connection.
//!
//! Follows Spin's `outbound-networking-config`: an entry is `scheme://host[:port]`, a path is an error, the host may be
//! `*`, `*.domain`, `self`, a network or a name. One entry that cannot be parsed denies **everything**, chaining
//! included; a template that comes out empty is skipped.

use crate::chaining::CHAINING_SUFFIX;
use crate::template::Template;
use crate::variables::ApplicationVariables;
use anyhow::{Context as _, bail};
use ip_network::IpNetwork;
use std::ops::Range;
use url::{Host, Url};

/// What one component may reach.
#[derive(Debug, Default)]
pub struct AllowedHosts {
    entries: Vec<Entry>,
}

#[derive(Debug, PartialEq)]
struct Entry {
    scheme: SchemeRule,
    host: HostRule,
    port: PortRule,
}

#[derive(Debug, PartialEq)]
enum SchemeRule {
    Any,
    Only(String),
}

#[derive(Clone, Debug, PartialEq)]
enum HostRule {
    Any,
    /// With the leading dot.
    Subdomain(String),
    /// Requests of the application to itself, by a relative URL.
    Itself,
    Network(IpNetwork),
    Only(Host),
}

#[derive(Clone, Debug, PartialEq)]
enum PortRule {
    Any,
    Only(u16),
    Within(Range<u16>),
}

impl AllowedHosts {
    /// Resolves the entries of one component.
    ///
    /// `*.spin.internal` becomes one entry per component in `component_ids`, so that chaining to a component that does
    /// not exist is denied rather than failed.
    pub fn resolve<'a>(
        entries: &[String],
        variables: &ApplicationVariables,
        component_ids: impl Iterator<Item = &'a str> + Clone,
    ) -> anyhow::Result<Self> {
        let mut resolved = Vec::new();
        for text in entries {
            let template = Template::parse(text)?;
            let value = variables.render(&template)?;
            let Some(entry) = Entry::parse_or_skip(&template, &value)? else {
                continue;
            };
            match &entry.host {
                HostRule::Subdomain(suffix) if suffix == CHAINING_SUFFIX => {
                    for id in component_ids.clone() {
                        resolved.push(Entry {
                            host: HostRule::Only(Host::Domain(format!("{id}{CHAINING_SUFFIX}"))),
                            scheme: match &entry.scheme {
                                SchemeRule::Any => SchemeRule::Any,
                                SchemeRule::Only(scheme) => SchemeRule::Only(scheme.clone()),
                            },
                            port: entry.port.clone(),
                        });
                    }
                }
                _ => resolved.push(entry),
            }
        }
        Ok(Self { entries: resolved })
    }

    /// Checks what can be checked before the variables have values: the entries that are literal, and those that the
    /// defaults of the variables determine. Spin does this when it loads the app, and refuses it.
    pub fn validate<'v>(
        entries: &[String],
        default_of: impl Fn(&str) -> Option<&'v str>,
    ) -> anyhow::Result<()> {
        for text in entries {
            let template = Template::parse(text)?;
            if let Ok(value) = template.render(&default_of) {
                Entry::parse_or_skip(&template, &value)
                    .with_context(|| format!("{text:?} results in {value:?}"))?;
            }
        }
        Ok(())
    }

    /// Whether `url` may be reached. A URL without a scheme gets `default_scheme`; one that does not parse is denied.
    pub fn allows(&self, url: &str, default_scheme: &str) -> bool {
        let Some(url) = parse_url(url, default_scheme) else {
            return false;
        };
        let Some(host) = url.host_str().and_then(|host| Host::parse(host).ok()) else {
            return false;
        };
        self.entries.iter().any(|entry| {
            entry.scheme.allows(url.scheme())
                && entry.host.allows(&host)
                && entry.port.allows(url.port(), url.scheme())
        })
    }

    /// Whether the application may call itself by a relative URL.
    pub fn allows_itself(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(entry.host, HostRule::Any | HostRule::Itself)
                && ["http", "https"].iter().any(|s| entry.scheme.allows(s))
        })
    }
}

/// Parses `text` as a URL, or else as what follows `scheme://`. Userinfo is encoded first, so that a password with
/// URL characters in it does not hide the host.
fn parse_url(text: &str, scheme: &str) -> Option<Url> {
    let encoded = encode_userinfo(text);
    let text = encoded.as_deref().unwrap_or(text);
    match Url::parse(text) {
        Ok(url) if url.has_host() => Some(url),
        _ => Url::parse(&format!("{scheme}://{text}")).ok(),
    }
}

fn encode_userinfo(url: &str) -> Option<String> {
    let at = url.find('@')?;
    let start = url.find("://").map_or(0, |end| end + 3);
    let path = url.get(start..)?.find('/').map_or(usize::MAX, |i| i + start);
    if at >= path {
        return None;
    }
    let userinfo = url.get(start..at)?;
    let encoded = percent_encoding::utf8_percent_encode(userinfo, percent_encoding::NON_ALPHANUMERIC);
    Some(format!("{}{encoded}{}", url.get(..start)?, url.get(at..)?))
}

impl Entry {
    /// The entry that `template` comes to, if any: an optional endpoint is a template that comes out empty.
    fn parse_or_skip(template: &Template, value: &str) -> anyhow::Result<Option<Self>> {
        if !template.is_literal() && matches!(value, "" | "http://" | "https://") {
            return Ok(None);
        }
        Self::parse(value).map(Some)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let url = text.trim();
        let Some((scheme, rest)) = url.split_once("://") else {
            bail!("{url:?} does not contain a scheme (e.g., 'http://' or '*://')");
        };
        let (host, port) = match rest.rsplit_once(':') {
            None => (rest, ""),
            Some((host, "")) => (host, ""),
            // An IPv6 network has colons and no port.
            Some(_) if HostRule::parse(rest).is_ok() => (rest, ""),
            Some((host, tail)) => match tail.split_once('/') {
                Some((_, path)) if !path.is_empty() => {
                    bail!("{url:?} has a path but is not allowed to")
                }
                Some((port, _)) => (host, port),
                None => (host, tail),
            },
        };
        Ok(Self {
            port: PortRule::parse(port, scheme).with_context(|| format!("{url:?}: invalid port {port:?}"))?,
            scheme: SchemeRule::parse(scheme)
                .with_context(|| format!("{url:?}: invalid scheme {scheme:?}"))?,
            host: HostRule::parse(host).with_context(|| format!("{url:?}: invalid host {host:?}"))?,
        })
    }
}

impl SchemeRule {
    fn parse(scheme: &str) -> anyhow::Result<Self> {
        match scheme {
            "*" => Ok(Self::Any),
            _ if scheme.starts_with('{') => bail!("scheme lists are not supported"),
            _ if !scheme.chars().all(char::is_alphabetic) => {
                bail!("only alphabetic characters are allowed")
            }
            _ => Ok(Self::Only(scheme.to_owned())),
        }
    }

    fn allows(&self, scheme: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == scheme,
        }
    }
}

impl HostRule {
    fn parse(host: &str) -> anyhow::Result<Self> {
        let host = host.trim();
        match host {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Itself),
            _ if host.starts_with('{') => bail!("host lists are not supported"),
            _ => {}
        }
        if let Ok(network) = IpNetwork::from_str_truncate(host) {
            return Ok(Self::Network(network));
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('/') {
            bail!("must not include a path");
        }
        let Some(domain) = host.strip_prefix("*.") else {
            if host.contains('*') {
                bail!("wildcards are allowed only as subdomains");
            }
            return Ok(Self::Only(Host::parse(host)?));
        };
        if domain.contains('*') {
            bail!("wildcards are allowed only as prefixes");
        }
        match Host::parse(domain)? {
            Host::Domain(domain) => Ok(Self::Subdomain(format!(".{domain}"))),
            _ => bail!("wildcard suffix must be a domain"),
        }
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Subdomain(suffix), Host::Domain(domain)) => domain.ends_with(suffix),
            (Self::Only(only), host) => only == host,
            (Self::Network(network), Host::Ipv4(ip)) => network.contains(*ip),
            (Self::Network(network), Host::Ipv6(ip)) => network.contains(*ip),
            (Self::Subdomain(_) | Self::Network(_) | Self::Itself, _) => false,
        }
    }
}

impl PortRule {
    fn parse(port: &str, scheme: &str) -> anyhow::Result<Self> {
        let number = |text: &str| text.parse::<u16>().with_context(|| format!("{text:?} is not a number"));
        match port {
            "" => well_known_port(scheme)
                .map(Self::Only)
                .with_context(|| format!("the scheme {scheme:?} has no known default port")),
            "*" => Ok(Self::Any),
            _ if port.starts_with('{') => bail!("port lists are not supported"),
            _ => match port.split_once("..") {
                Some((start, end)) => Ok(Self::Within(number(start)?..number(end)?)),
                None => Ok(Self::Only(number(port)?)),
            },
        }
    }

    fn allows(&self, port: Option<u16>, scheme: &str) -> bool {
        let port = port.or_else(|| well_known_port(scheme));
        match (self, port) {
            (Self::Any, _) => true,
            (Self::Only(only), Some(port)) => *only == port,
            (Self::Within(range), Some(port)) => range.contains(&port),
            (_, None) => false,
        }
    }
}

fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "redis" => Some(6379),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "mqtt" => Some(1883),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::variables::Provider;
    use std::path::Path;

    fn variables(value: &str) -> ApplicationVariables {
        let manifest = Manifest::parse(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[variables]\nx = { required = true }\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"c\"\n[component.c]\nsource = \"c\"",
            Path::new("."),
        )
        .unwrap();
        let provider = Provider::Static([("x".to_owned(), value.to_owned())].into());
        ApplicationVariables::resolve(&manifest, &[provider]).unwrap()
    }

    fn resolve(entry: &str, x: &str) -> anyhow::Result<AllowedHosts> {
        AllowedHosts::resolve(&[entry.to_owned()], &variables(x), ["a", "b"].into_iter())
    }

    #[test]
    fn an_entry_allows_scheme_host_and_port() {
        for (entry, url, expected) in [
            ("https://a.example", "https://a.example/x", true),
            ("https://a.example/", "https://a.example:443/x", true),
            ("https://a.example", "http://a.example/", false),
            ("https://a.example", "https://a.example:8443/", false),
            ("https://a.example:8443", "https://a.example:8443/", true),
            ("http://127.0.0.1:*", "http://127.0.0.1:9/", true),
            ("http://127.0.0.1:9..11", "http://127.0.0.1:10/", true),
            ("http://127.0.0.1:9..11", "http://127.0.0.1:11/", false),
            ("http://10.0.0.0/8", "http://10.1.2.3/", true),
            ("http://10.0.0.0/8", "http://11.1.2.3/", false),
            ("http://[::1]:9", "http://[::1]:9/", true),
            ("https://*.azure.com", "https://x.openai.azure.com/", true),
            ("https://*.azure.com", "https://azure.com/", false),
            ("*://*:*", "redis://anything:1", true),
            ("http://a.example", "http://user:pass#word@a.example/", true),
            ("http://a.spin.internal", "http://a.spin.internal/", true),
            ("http://*.spin.internal", "http://a.spin.internal/", true),
            ("http://*.spin.internal", "http://unknown.spin.internal/", false),
            ("http://self", "http://self/", false),
            ("http://a.example", "not a url at all", false),
        ] {
            let hosts = resolve(entry, "").unwrap_or_else(|e| panic!("{entry}: {e:#}"));
            assert_eq!(hosts.allows(url, "https"), expected, "{entry} {url}");
        }
    }

    #[test]
    fn a_url_without_a_scheme_gets_the_default() {
        let hosts = resolve("redis://localhost:6380", "").unwrap();
        assert!(hosts.allows("localhost:6380", "redis"));
        assert!(!hosts.allows("localhost:6380", "tcp"));
    }

    #[test]
    fn only_self_and_any_allow_relative_requests() {
        for (entry, expected) in [
            ("http://self", true),
            ("*://*:*", true),
            ("https://*", true),
            ("redis://*", false),
            ("http://a.example", false),
        ] {
            assert_eq!(resolve(entry, "").unwrap().allows_itself(), expected, "{entry}");
        }
    }

    #[test]
    fn an_empty_template_is_skipped_and_a_bad_one_denies_everything() {
        for (value, expected) in [
            ("", Some(false)),
            ("https://a.example", Some(true)),
            ("https://a.example/v1", None),
            ("https://a.example,https://b.example", None),
        ] {
            let allowed =
                resolve("{{ x }}", value).ok().map(|hosts| hosts.allows("https://a.example/", "https"));
            assert_eq!(allowed, expected, "{value}");
        }
        assert!(resolve("https://{{ x }}", "").is_ok());
    }

    #[test]
    fn a_malformed_entry_is_an_error() {
        for entry in [
            "",
            "*",
            "a.example",
            "http://a/b",
            "http://a:1/b",
            "http://*.*.a",
            "http://a*b",
            "foo://a",
            "ht1://a:1",
            "http://a:x",
            "{http}://a:1",
            "http://a:{1,2}",
        ] {
            let entries = [entry.to_owned()];
            assert!(AllowedHosts::validate(&entries, |_| None).is_err(), "{entry}");
        }
    }

    #[test]
    fn what_the_defaults_determine_is_checked_too() {
        for (default, expected) in [
            (None, true),
            (Some(""), true),
            (Some("https://a.example"), true),
            (Some("https://a.example/v1"), false),
        ] {
            let entries = ["{{ x }}".to_owned()];
            let validated = AllowedHosts::validate(&entries, |_| default);
            assert_eq!(validated.is_ok(), expected, "{default:?}");
        }
    }
}
