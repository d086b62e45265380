//! An answer before it becomes the host's.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quota::{ResetDuration, Standing};

const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");

/// Status, headers and the whole body.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, `content-length` included where there is a body.
    pub headers: HeaderMap,
    /// The body, empty with 204.
    pub body: Bytes,
    /// What the operator should read about it, if anything.
    pub log: Option<String>,
}

impl Reply {
    /// 204, which has no body and so no `content-length` (RFC 9110 §8.6).
    pub fn no_content() -> Self {
        Reply { status: StatusCode::NO_CONTENT, headers: HeaderMap::new(), body: Bytes::new(), log: None }
    }

    /// A JSON body with its length.
    pub fn json(status: u16, body: String) -> Self {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply { status, headers, body: body.into(), log: None }
    }

    /// Sets a header; a value that is no header value is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// OpenAI's three headers about a limit: its size, what is left, and when it is back to full.
    pub fn with_standing(self, standing: &Standing<'_>) -> Self {
        self.with_limit(standing.limit_tokens)
            .with(REMAINING_TOKENS, &standing.remaining_tokens().to_string())
            .with(RESET_TOKENS, &ResetDuration(standing.reset_ms).to_string())
    }

    /// The size of a limit alone, when its use was not looked up.
    pub fn with_limit(self, limit_tokens: u64) -> Self {
        self.with(LIMIT_TOKENS, &limit_tokens.to_string())
    }
}
