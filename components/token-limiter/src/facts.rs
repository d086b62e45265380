//! Who asks, for what: from the router's headers and the request's body.

use contracts::headers;
use gateway_config::{CounterPart, LimiterConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use quota::Subject;
use serde::Deserialize;
use std::borrow::Cow;

/// What a [`Subject`] borrows from.
pub struct Facts<'a> {
    headers: &'a HeaderMap,
    tags: Vec<&'a str>,
    client_headers: Vec<(&'a str, &'a str)>,
    user: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WithUser<'a> {
    #[serde(borrow, default)]
    user: Option<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    /// Finds what the rules count by. The body is looked at only if one of them counts by its `user`; a `user` that is no
    /// text counts as none.
    pub fn read(headers: &'a HeaderMap, body: &'a [u8], config: &LimiterConfig) -> Self {
        let tags = text(headers, headers::TAGS).split(',').filter(|tag| !tag.is_empty()).collect();
        let client_headers = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(headers::CLIENT_HEADER_PREFIX)?;
            Some((name, utf8(value)))
        });
        let user = if config.counts_by(&CounterPart::User) {
            serde_json::from_slice::<WithUser<'a>>(body).ok().and_then(|with| with.user).unwrap_or_default()
        } else {
            Cow::default()
        };
        Facts { headers, tags, client_headers: client_headers.collect(), user }
    }

    /// The model whose tokenizer counts: a public name such as `fast` says nothing of it, the deployment's does.
    pub fn counted_as(&self) -> &str {
        match text(self.headers, headers::UPSTREAM_MODEL) {
            "" => self.served(),
            upstream => upstream,
        }
    }

    fn served(&self) -> &str {
        match text(self.headers, headers::SERVED_MODEL) {
            "" => text(self.headers, headers::MODEL),
            served => served,
        }
    }

    /// Who asks.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            consumer: text(self.headers, headers::CONSUMER),
            team: text(self.headers, headers::TEAM),
            app: text(self.headers, headers::APP),
            tags: &self.tags,
            user: &self.user,
            model: text(self.headers, headers::MODEL),
            served: self.served(),
            pool: text(self.headers, headers::POOL),
            client_ip: text(self.headers, headers::CLIENT_IP),
            headers: &self.client_headers,
            claims: &[],
        }
    }
}

/// Under which names the client's headers come that rules count by.
pub fn counted_headers(config: &LimiterConfig) -> Vec<HeaderName> {
    let parts = config.limits.iter().flat_map(|limit| &limit.counter_key);
    parts
        .filter_map(|part| match part {
            CounterPart::Header(name) => {
                HeaderName::try_from(format!("{}{name}", headers::CLIENT_HEADER_PREFIX)).ok()
            }
            _ => None,
        })
        .collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(utf8).unwrap_or_default()
}

/// A header's value as the text that it is: a team may be called Zürich. What is no UTF-8 counts as absent.
fn utf8(value: &HeaderValue) -> &str {
    std::str::from_utf8(value.as_bytes()).unwrap_or_default()
}
