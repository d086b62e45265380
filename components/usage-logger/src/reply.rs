//! Answers: a status, a few headers, a body held whole.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use raw_http::{Response, respond};

use crate::error::Cause;

/// Says that rows beyond the limit were left out, whatever the format.
const TRUNCATED: HeaderName = HeaderName::from_static("x-tollgate-truncated");

/// An answer under construction.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Reply { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: String) -> Self {
        Reply::text(status, "application/json", body)
    }

    /// A table; RFC 4180 registers `text/csv` and its `header` parameter.
    pub fn csv(body: String) -> Self {
        Reply::text(200, "text/csv; charset=utf-8; header=present", body)
    }

    /// An error, with the headers that its status calls for.
    pub fn error(cause: &Cause) -> Self {
        let error = cause.to_api_error();
        let reply = Reply::json(error.status, error.to_json());
        match cause {
            Cause::MethodNotAllowed { allow } => reply.with(header::ALLOW, allow),
            Cause::NoOperator(why) if why.status() == 401 => reply.with(header::WWW_AUTHENTICATE, "Bearer"),
            _ => reply,
        }
    }

    /// Marks an answer whose rows were cut off.
    pub fn truncated(self) -> Self {
        self.with(TRUNCATED, "true")
    }

    /// The HTTP status.
    #[cfg(test)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The response, which goes out as one frame with its length.
    pub fn into_response(self) -> Response {
        let Reply { status, mut headers, body } = self;
        if status != 204 {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        respond(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &headers, body)
    }

    fn text(status: u16, content_type: &'static str, body: String) -> Self {
        // Who spent what concerns no cache on the way.
        Reply { status, headers: HeaderMap::new(), body: body.into() }
            .with(header::CONTENT_TYPE, content_type)
            .with(header::CACHE_CONTROL, "no-store")
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }
}
