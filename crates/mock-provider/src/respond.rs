//! Named constructors of responses.

use std::num::NonZeroUsize;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::body::MockBody;
use crate::errors::ApiError;
use crate::exchange::Exchange;

/// Content type of everything but streams and HTML.
pub const JSON: &str = "application/json";

/// 200 with this content type.
pub fn with_type(content_type: &'static str, body: MockBody) -> Response<MockBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A complete body that ends `exchange`.
pub fn whole(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
    mut exchange: Exchange,
    split_bytes: Option<NonZeroUsize>,
) -> Response<MockBody> {
    exchange.answer(status, false);
    let body = MockBody::Whole { bytes: bytes.into(), split_bytes, exchange: Some(exchange) };
    let mut response = with_type(content_type, body);
    *response.status_mut() = status;
    response
}

/// A complete JSON body that ends `exchange`.
pub fn json(
    status: StatusCode,
    bytes: impl Into<Bytes>,
    exchange: Exchange,
    split_bytes: Option<NonZeroUsize>,
) -> Response<MockBody> {
    whole(status, JSON, bytes, exchange, split_bytes)
}

/// An error of the API that ends `exchange`.
pub fn error(error: &ApiError, exchange: Exchange) -> Response<MockBody> {
    json(error.status, error.render(), exchange, None)
}

/// JSON outside any exchange: the mock's own routes.
pub fn own_json(bytes: impl Into<Bytes>) -> Response<MockBody> {
    with_type(JSON, MockBody::plain(bytes))
}

/// 204.
pub fn no_content() -> Response<MockBody> {
    let mut response = Response::new(MockBody::plain(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
