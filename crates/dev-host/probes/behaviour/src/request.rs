//! What reached the guest of a request.

use anyhow::Result;
use http_body_util::BodyExt;
use serde_json::json;
use spin_sdk::http::{BoxBody, Request, Response};

use crate::answer;

/// Method, URI and every header value; values of one name in the order they arrived.
pub fn echo(request: &Request) -> Result<Response<BoxBody>> {
    let headers: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    answer::json(&json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "headers": headers,
    }))
}

/// The number of body bytes, read frame by frame and dropped.
pub async fn size(request: Request) -> Result<Response<BoxBody>> {
    let mut body = request.into_body();
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        body_bytes += frame?.data_ref().map_or(0, bytes::Bytes::len);
    }
    answer::bytes(body_bytes.to_string())
}
