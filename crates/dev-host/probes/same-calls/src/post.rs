//! Sending and reading whole messages.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use raw_http::{ErrorCode, IncomingBody, Request, Response, fields, whole_body};
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Method, Scheme};
use std::future::ready;

/// Posts to another component.
pub async fn post_to(origin: &str, path: &str, body: Vec<u8>) -> Result<Response, ErrorCode> {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    post_after(ready(()), &Scheme::Http, authority, path, body).await
}

/// Posts, with a turn for the host just before.
pub async fn post_after(
    turn: impl Future<Output = ()>,
    scheme: &Scheme,
    authority: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Response, ErrorCode> {
    let headers = fields(&own_headers(body.len()));
    let (stream, trailers) = whole_body(body.into());
    let (request, _sent) = Request::new(headers, stream, trailers, None);
    request.set_method(&Method::Post).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(scheme)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some(path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    turn.await;
    client::send(request).await
}

/// The headers of a message of `length` bytes.
pub fn own_headers(length: usize) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers
}

/// All of a body.
pub async fn whole(mut body: IncomingBody) -> Result<Vec<u8>, ErrorCode> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
