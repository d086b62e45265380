//! Everything this component answers, each by its name.

use crate::error::Cause;
use bytes::Bytes;
use cache_policy::{CacheKey, Hit, NotCacheable};
use contracts::{CacheOutcome, headers};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use openai_types::Usage;

/// A response before it becomes the host's. Held whole and sent with its length, so that it goes out as one frame.
pub struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

impl Reply {
    /// 200: the finished answer for the client.
    pub fn hit(hit: Hit) -> Self {
        let content_type = if hit.is_stream { EVENT_STREAM } else { JSON };
        let mut reply = Reply::whole(200, content_type, hit.body).with_outcome(CacheOutcome::Exact);
        reply.headers.insert(headers::CACHE_AGE, HeaderValue::from(hit.age_s));
        reply.set(headers::CACHED_USAGE, &usage(&hit.usage));
        reply
    }

    /// 204: nothing was found; an answer can be stored under the key.
    pub fn miss(key: &CacheKey) -> Self {
        let mut reply = Reply::empty().with_outcome(CacheOutcome::Miss);
        reply.set(headers::CACHE_KEY, &key.to_string());
        reply
    }

    /// 204: the cache was passed by; an answer can be stored if there is a key.
    pub fn bypass(key: Option<&CacheKey>) -> Self {
        let mut reply = Reply::empty().with_outcome(CacheOutcome::Bypass);
        if let Some(key) = key {
            reply.set(headers::CACHE_KEY, &key.to_string());
        }
        reply
    }

    /// 201: the answer was stored.
    pub fn stored() -> Self {
        Reply::whole(201, JSON, Bytes::from_static(br#"{"stored":true}"#))
    }

    /// 200: the answer may not be stored, and why.
    pub fn not_stored(reason: &NotCacheable) -> Self {
        let body =
            serde_json::json!({"stored": false, "reason": reason.code(), "message": reason.to_string()});
        Reply::whole(200, JSON, body.to_string().into())
    }

    /// 204: of a batch, all that may be stored is.
    pub fn accepted() -> Self {
        Reply::empty()
    }

    /// An error in the shape of the OpenAI API.
    pub fn error(cause: &Cause) -> Self {
        let error = cause.to_api_error();
        let mut reply = Reply::whole(error.status, JSON, error.to_json().into());
        if matches!(cause, Cause::MethodNotAllowed) {
            reply.headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        reply
    }

    fn empty() -> Self {
        Reply { status: StatusCode::NO_CONTENT, headers: HeaderMap::with_capacity(2), body: Bytes::new() }
    }

    fn whole(status: u16, content_type: HeaderValue, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply { status, headers, body }
    }

    fn with_outcome(mut self, outcome: CacheOutcome) -> Self {
        self.headers.insert(headers::CACHE, HeaderValue::from_static(outcome.as_str()));
        self
    }

    fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }
}

fn usage(usage: &Usage) -> String {
    let Usage { prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens } = usage;
    format!("{prompt_tokens},{completion_tokens},{cached_tokens},{reasoning_tokens}")
}
