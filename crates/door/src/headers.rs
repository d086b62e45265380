//! Which headers pass.

use contracts::headers::PREFIX;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers of one connection, never of the message (RFC 9110 §7.6.1), and their relatives of old.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Request headers that say who the client is to us, and nothing to the provider.
const CREDENTIALS: [&str; 4] = ["authorization", "api-key", "x-api-key", "cookie"];

/// Request headers that the upstream request sets anew, or that describe the way to us.
const OWN_TO_THE_REQUEST: [&str; 6] =
    ["host", "content-length", "expect", "forwarded", "x-real-ip", "true-client-ip"];

/// Beginnings of request headers in which proxies before us say where the request comes from, or who is signed in, often with
/// that person's token: oauth2-proxy (the first two, <https://oauth2-proxy.github.io/oauth2-proxy/configuration/overview>),
/// AWS load balancers, Google's IAP, Cloudflare Access, Azure App Service.
const OF_PROXIES: [&str; 8] = [
    "x-forwarded-",
    "x-auth-request-",
    "x-amzn-oidc-",
    "x-goog-iap-",
    "x-goog-authenticated-user-",
    "cf-access-",
    "x-ms-client-principal",
    "x-ms-token-",
];

/// The client's request headers that go to the provider.
///
/// `accept-encoding` stays behind, because the answer is read on its way.
pub fn for_upstream(client: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(client);
    let mut kept = HeaderMap::with_capacity(client.len());
    for (name, value) in client {
        let dropped = is_of_the_way(name, &named)
            || CREDENTIALS.contains(&name.as_str())
            || OWN_TO_THE_REQUEST.contains(&name.as_str())
            || OF_PROXIES.iter().any(|beginning| name.as_str().starts_with(beginning))
            || name == header::ACCEPT_ENCODING
            || name.as_str() == "x-request-id";
        if !dropped {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The provider's answer headers that go to the client.
///
/// `content-length` stays behind: whoever sends the body sets it.
pub fn for_client(upstream: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(upstream);
    let mut kept = HeaderMap::with_capacity(upstream.len());
    for (name, value) in upstream {
        let dropped = is_of_the_way(name, &named)
            || name == header::CONTENT_LENGTH
            || name == header::HOST // of no meaning in an answer, and the platform takes it in none
            || name == header::SET_COOKIE // the provider's load balancer's, useless and confusing behind ours
            || name == header::ALT_SVC // names another way to the provider, not to us
            || name == header::STRICT_TRANSPORT_SECURITY
            || name.as_str() == "x-request-id"
            || name.as_str().starts_with("x-ratelimit-"); // the provider's limits on us, not ours on the client
        if !dropped {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

fn is_of_the_way(name: &HeaderName, named: &[HeaderName]) -> bool {
    let text = name.as_str();
    HOP_BY_HOP.contains(&text)
        || text.starts_with("proxy-")
        || text.starts_with("spin-")
        || text.starts_with(PREFIX)
        || named.contains(name)
}

/// The headers that `connection` declares to be of the connection.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION);
    let names = values.iter().filter_map(|v: &HeaderValue| v.to_str().ok()).flat_map(|v| v.split(','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn of_a_clients_headers_only_the_messages_own_go_upstream() {
        let sent = for_upstream(&map(&[
            ("Accept", "text/event-stream"),
            ("OpenAI-Organization", "org"),
            ("traceparent", "00-a-b-01"),
            ("x-forward", "1"),
            ("x-ms-client-request-id", "1"),
            ("x-goog-user-project", "1"),
            ("x-custom", "1"),
            ("x-custom", "2"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("proxy-authorization", "secret"),
            ("transfer-encoding", "chunked"),
            ("host", "gateway"),
            ("content-length", "5"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer secret"),
            ("api-key", "secret"),
            ("x-api-key", "secret"),
            ("cookie", "secret"),
            ("spin-client-addr", "127.0.0.1:1"),
            ("spin-anything", "1"),
            ("X-Tollgate-Consumer", "forged"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-access-token", "secret"),
            ("X-Forwarded-Email", "a@b"),
            ("x-forwarded-user", "a"),
            ("x-auth-request-access-token", "secret"),
            ("x-amzn-oidc-data", "secret"),
            ("x-goog-iap-jwt-assertion", "secret"),
            ("x-goog-authenticated-user-email", "a@b"),
            ("cf-access-jwt-assertion", "secret"),
            ("x-ms-client-principal-name", "a"),
            ("x-ms-token-aad-access-token", "secret"),
            ("x-request-id", "mine"),
        ]));
        let expected = map(&[
            ("accept", "text/event-stream"),
            ("openai-organization", "org"),
            ("traceparent", "00-a-b-01"),
            ("x-forward", "1"),
            ("x-ms-client-request-id", "1"),
            ("x-goog-user-project", "1"),
            ("x-custom", "1"),
            ("x-custom", "2"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn of_a_providers_headers_only_what_concerns_the_client_goes_down() {
        let sent = for_client(&map(&[
            ("content-type", "application/json"),
            ("openai-processing-ms", "12"),
            ("retry-after", "3"),
            ("content-length", "10"),
            ("host", "provider"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("x-request-id", "theirs"),
            ("x-ratelimit-remaining-tokens", "9"),
            ("x-tollgate-cache", "exact"),
            ("spin-path-info", "/"),
            ("set-cookie", "__cf_bm=1"),
            ("alt-svc", "h3"),
        ]));
        let expected = map(&[
            ("content-type", "application/json"),
            ("openai-processing-ms", "12"),
            ("retry-after", "3"),
        ]);
        assert_eq!(sent, expected);
    }
}
