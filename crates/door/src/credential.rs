//! The API key that a request presents.

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// What a request presents to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A key, as sent.
    Key(&'a str),
    /// No key in any of the headers where one may stand.
    Missing,
    /// A header is there, but it holds no key that could be read, or two headers disagree.
    Unreadable,
}

/// Finds the key: `Authorization: Bearer` (OpenAI), `api-key` (Azure OpenAI) or `x-api-key` (Anthropic).
///
/// The same key in several of them is fine; different ones are [`Credential::Unreadable`], for which of them would
/// count must not depend on who reads the request.
pub fn presented_key(headers: &HeaderMap) -> Credential<'_> {
    let bearer =
        headers.get_all(header::AUTHORIZATION).iter().map(|v| v.to_str().ok().and_then(bearer_token));
    let plain = ["api-key", "x-api-key"].into_iter().flat_map(|name| headers.get_all(name));
    let plain = plain.map(|v| v.to_str().ok().map(str::trim).filter(|key| !key.is_empty()));
    let mut found = None;
    for key in bearer.chain(plain) {
        match (key, found) {
            (None, _) => return Credential::Unreadable,
            (Some(key), None) => found = Some(key),
            (Some(key), Some(earlier)) if key == earlier => {}
            (Some(_), Some(_)) => return Credential::Unreadable,
        }
    }
    found.map_or(Credential::Missing, Credential::Key)
}

fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    // RFC 9110 §11.1: the scheme is case-insensitive.
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// SHA-256 of a key: the only form in which keys are compared or kept.
pub fn key_digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_the_clients_put_it() {
        use Credential::{Key, Missing, Unreadable};
        for (headers, expected) in [
            (&[("authorization", "Bearer sk-1")][..], Key("sk-1")),
            (&[("authorization", "bearer  sk-1 ")], Key("sk-1")),
            (&[("api-key", "sk-1")], Key("sk-1")),
            (&[("x-api-key", "sk-1")], Key("sk-1")),
            (&[("x-api-key", "sk-1"), ("authorization", "Bearer sk-1")], Key("sk-1")),
            (&[("x-api-key", "sk-1"), ("authorization", "Bearer sk-2")], Unreadable),
            (&[("authorization", "Bearer sk-1"), ("authorization", "Bearer sk-2")], Unreadable),
            (&[("authorization", "Basic dXNlcg==")], Unreadable),
            (&[("authorization", "Bearer")], Unreadable),
            (&[("authorization", "Bearer ")], Unreadable),
            (&[("api-key", "")], Unreadable),
            (&[("x-other", "sk-1")], Missing),
            (&[], Missing),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            assert_eq!(presented_key(&map), expected, "{headers:?}");
        }
    }

    #[test]
    fn the_digest_is_plain_sha256() {
        let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(hex::encode(key_digest("hello")), expected);
    }
}
