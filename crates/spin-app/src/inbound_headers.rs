//! What Spin does to the headers of a request before a guest sees them. Decides which are dropped and which are added.
//!
//! The added ones come **after** what the client sent under the same name: a guest that takes the first value takes
//! what the client forged.

use crate::chaining::target_of_host;
use crate::routes::RouteMatch;
use anyhow::Context as _;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::net::SocketAddr;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const MATCHED_ROUTE: HeaderName = HeaderName::from_static("spin-matched-route");
const BASE_PATH: HeaderName = HeaderName::from_static("spin-base-path");
const RAW_COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-raw-component-route");
const COMPONENT_ROUTE: HeaderName = HeaderName::from_static("spin-component-route");
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("spin-client-addr");

/// What `spin-full-url` has for a host when the request has no `host` header, as a chained one.
const DEFAULT_HOST: &str = "localhost";

/// Drops what concerns only the connection, and a client's attempt to name a chaining host.
pub fn strip_forbidden(headers: &mut HeaderMap) {
    let is_chaining_host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .is_some_and(|host| target_of_host(host).is_some());
    if is_chaining_host {
        headers.remove(HOST);
    }
    headers.remove(CONNECTION);
}

/// Adds what Spin tells a guest about the request. Fails on a value that is not UTF-8, before any guest runs.
pub fn append_spin_headers(
    headers: &mut HeaderMap,
    uri: &Uri,
    route: &RouteMatch<'_>,
    client: SocketAddr,
) -> anyhow::Result<()> {
    for (name, value) in headers.iter() {
        std::str::from_utf8(value.as_bytes()).with_context(|| format!("header {name}"))?;
    }
    let host = match headers.get(HOST) {
        Some(host) => std::str::from_utf8(host.as_bytes())?,
        None => DEFAULT_HOST,
    };
    let path_and_query = uri.path_and_query().map_or("/", |paq| paq.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    let full_url = format!("{scheme}://{host}{path_and_query}");

    append(headers, PATH_INFO, &route.path_info);
    append(headers, FULL_URL, &full_url);
    append(headers, MATCHED_ROUTE, route.based);
    append(headers, BASE_PATH, "/");
    append(headers, RAW_COMPONENT_ROUTE, route.raw);
    append(headers, COMPONENT_ROUTE, route.component_route());
    append(headers, CLIENT_ADDRESS, &client.to_string());
    for (name, value) in &route.named {
        if let Ok(name) = format!("spin-path-match-{}", name.replace('_', "-")).parse() {
            append(headers, name, value);
        }
    }
    Ok(())
}

/// Appends, unless the text cannot be a header value: Spin leaves such a header out.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_headers_come_after_forged_ones() {
        let mut headers = HeaderMap::new();
        headers.insert(CLIENT_ADDRESS, HeaderValue::from_static("forged"));
        headers.insert(HOST, HeaderValue::from_static("example.com"));
        append_spin_headers(
            &mut headers,
            &Uri::from_static("http://example.com/a/b?c=d"),
            &RouteMatch {
                component: "c",
                raw: "/a/...",
                based: "/a/...",
                path_info: "/b".into(),
                named: vec![],
            },
            "127.0.0.1:9".parse().unwrap(),
        )
        .unwrap();
        let values: Vec<_> = headers.get_all(CLIENT_ADDRESS).iter().collect();
        assert_eq!(values, ["forged", "127.0.0.1:9"]);
        for (name, expected) in [
            (PATH_INFO, "/b"),
            (FULL_URL, "http://example.com/a/b?c=d"),
            (MATCHED_ROUTE, "/a/..."),
            (BASE_PATH, "/"),
            (RAW_COMPONENT_ROUTE, "/a/..."),
            (COMPONENT_ROUTE, "/a"),
        ] {
            assert_eq!(headers[&name], expected, "{name}");
        }
    }

    #[test]
    fn a_value_that_is_not_utf8_fails_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_bytes(b"\xff").unwrap());
        let route = RouteMatch::chained("c", "/");
        let client = "127.0.0.1:9".parse().unwrap();
        assert!(append_spin_headers(&mut headers, &Uri::from_static("/"), &route, client).is_err());
    }

    #[test]
    fn connection_and_a_chaining_host_are_dropped() {
        for (host, is_kept) in
            [("example.com", true), ("front.spin.internal", false), ("front.spin.internal:80", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            strip_forbidden(&mut headers);
            assert_eq!(headers.contains_key(HOST), is_kept, "{host}");
            assert!(!headers.contains_key(CONNECTION), "{host}");
        }
    }
}
