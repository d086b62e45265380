//! The few shapes of response the probe gives. Each carries its length, so it goes out as one frame.

use std::fmt::Debug;

use anyhow::Result;
use bytes::Bytes;
use serde_json::Value;
use spin_sdk::http::{BoxBody, FullBody, Response, StatusCode, box_body};

/// `200` with these bytes.
pub fn bytes(body: impl Into<Bytes>) -> Result<Response<BoxBody>> {
    with(StatusCode::OK, body.into())
}

/// `200` with this JSON.
pub fn json(value: &Value) -> Result<Response<BoxBody>> {
    bytes(value.to_string())
}

/// `204` with one header.
pub fn empty(name: &str, value: &str) -> Result<Response<BoxBody>> {
    let body = box_body(FullBody::new(Bytes::new()));
    Ok(Response::builder().status(StatusCode::NO_CONTENT).header(name, value).body(body)?)
}

/// `404`: the value asked for does not exist.
pub fn not_found(what: &str) -> Result<Response<BoxBody>> {
    with(StatusCode::NOT_FOUND, what.to_owned().into())
}

/// `502`: a host call failed with this error.
pub fn host_error(error: impl Debug) -> Result<Response<BoxBody>> {
    with(StatusCode::BAD_GATEWAY, format!("{error:?}").into())
}

fn with(status: StatusCode, body: Bytes) -> Result<Response<BoxBody>> {
    let length = body.len();
    Ok(Response::builder()
        .status(status)
        .header("content-length", length)
        .body(box_body(FullBody::new(body)))?)
}
