//! `[limiter.headers]`: what the headers that tell the client about its limits are called.

use crate::fields::Fields;
use crate::names::shown;
use http::HeaderName;

/// Keys of `[limiter.headers]`.
pub(crate) const KEYS: &[&str] = &[
    "limit_tokens",
    "remaining_tokens",
    "reset_tokens",
    "limit_requests",
    "remaining_requests",
    "reset_requests",
    "consumed_tokens",
];

/// Headers that mean something else on an answer.
const MEANT_OTHERWISE: [&str; 14] = [
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "location",
    "retry-after",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "x-should-retry",
];

/// Names of the headers, all different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitHeaders {
    /// Size of the tightest limit of tokens; `x-ratelimit-limit-tokens`.
    pub limit_tokens: HeaderName,
    /// What it leaves; `x-ratelimit-remaining-tokens`.
    pub remaining_tokens: HeaderName,
    /// When it is back to full; `x-ratelimit-reset-tokens`.
    pub reset_tokens: HeaderName,
    /// Size of the tightest limit of requests; `x-ratelimit-limit-requests`.
    pub limit_requests: HeaderName,
    /// What it leaves; `x-ratelimit-remaining-requests`.
    pub remaining_requests: HeaderName,
    /// When it is back to full; `x-ratelimit-reset-requests`.
    pub reset_requests: HeaderName,
    /// Tokens that the request was charged; `x-ratelimit-consumed-tokens`.
    pub consumed_tokens: HeaderName,
}

impl Default for LimitHeaders {
    /// OpenAI's names, <https://platform.openai.com/docs/guides/rate-limits>, and one in their manner.
    fn default() -> Self {
        LimitHeaders {
            limit_tokens: HeaderName::from_static("x-ratelimit-limit-tokens"),
            remaining_tokens: HeaderName::from_static("x-ratelimit-remaining-tokens"),
            reset_tokens: HeaderName::from_static("x-ratelimit-reset-tokens"),
            limit_requests: HeaderName::from_static("x-ratelimit-limit-requests"),
            remaining_requests: HeaderName::from_static("x-ratelimit-remaining-requests"),
            reset_requests: HeaderName::from_static("x-ratelimit-reset-requests"),
            consumed_tokens: HeaderName::from_static("x-ratelimit-consumed-tokens"),
        }
    }
}

impl LimitHeaders {
    /// All names, in the order of the fields.
    pub fn names(&self) -> [&HeaderName; 7] {
        [
            &self.limit_tokens,
            &self.remaining_tokens,
            &self.reset_tokens,
            &self.limit_requests,
            &self.remaining_requests,
            &self.reset_requests,
            &self.consumed_tokens,
        ]
    }
}

/// Reads `headers` of `[limiter]`.
pub(crate) fn read(limiter: &Fields<'_, '_>) -> LimitHeaders {
    let mut headers = LimitHeaders::default();
    let Some(table) = limiter.table("headers", KEYS) else { return headers };
    for (key, name) in [
        ("limit_tokens", &mut headers.limit_tokens),
        ("remaining_tokens", &mut headers.remaining_tokens),
        ("reset_tokens", &mut headers.reset_tokens),
        ("limit_requests", &mut headers.limit_requests),
        ("remaining_requests", &mut headers.remaining_requests),
        ("reset_requests", &mut headers.reset_requests),
        ("consumed_tokens", &mut headers.consumed_tokens),
    ] {
        let Some(text) = table.text(key) else { continue };
        match HeaderName::try_from(text) {
            Ok(given) if MEANT_OTHERWISE.contains(&given.as_str()) => {
                table.refuse(key, format!("is {}, which means something else on an answer", shown(text)));
            }
            Ok(given) if given.as_str().starts_with("x-tollgate-") => {
                table.refuse(key, format!("is {}; names with x-tollgate- are our own", shown(text)));
            }
            Ok(given) => *name = given,
            Err(_) => table.refuse(key, format!("is {}, must be the name of a header", shown(text))),
        }
    }
    let names = headers.names();
    for (at, (key, name)) in KEYS.iter().zip(names).enumerate() {
        if names.iter().take(at).any(|other| *other == name) {
            table.refuse(key, format!("is {:?}, which another of these headers has too", name.as_str()));
        }
    }
    headers
}
