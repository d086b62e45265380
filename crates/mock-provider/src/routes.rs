//! The route table: the provider's API, behind the key if there is one, and the mock's own routes beside it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use crate::body::MockBody;
use crate::chat;
use crate::errors::ApiError;
use crate::exchange::Exchange;
use crate::json::put_value;
use crate::memory::Memory;
use crate::respond;
use crate::wire::Control;

/// The largest request body; OpenAI's own bound is of this order.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// Counters and log.
    pub memory: Arc<Memory>,
    /// The only accepted bearer key, if there is one.
    pub api_key: Option<String>,
    /// `created` of every answer, in Unix seconds.
    pub created: u64,
}

/// Answers one request.
///
/// # Errors
/// If the connection is to be broken: because the model name asks for it, or because the client has left.
pub async fn handle(
    shared: Arc<Shared>,
    control: Arc<Control>,
    request: Request<Incoming>,
) -> io::Result<Response<MockBody>> {
    // The previous answer on this connection may have bounded its writes.
    control.split(0);
    let path = request.uri().path();
    if path == "/health" || path.starts_with("/mock/") {
        return Ok(own_route(&shared.memory, request.method(), path));
    }
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let exchange = Exchange::begin(&shared.memory, &parts, &Bytes::new());
            return Ok(respond::error(&ApiError::body_too_large(), exchange));
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let exchange = Exchange::begin(&shared.memory, &parts, &body);
    if let Err(error) = authorise(shared.api_key.as_deref(), &parts.headers) {
        return Ok(respond::error(&error, exchange));
    }
    match (parts.uri.path(), &parts.method) {
        ("/v1/chat/completions", &Method::POST) => {
            let context =
                chat::Context { memory: Arc::clone(&shared.memory), control, created: shared.created };
            chat::complete(context, exchange, &parts.headers, &body).await
        }
        ("/v1/models", &Method::GET) => {
            Ok(respond::json(StatusCode::OK, models(shared.created), exchange, None))
        }
        (path @ ("/v1/chat/completions" | "/v1/models"), method) => {
            Ok(respond::error(&ApiError::wrong_method(method, path), exchange))
        }
        (path, method) => Ok(respond::error(&ApiError::unknown_path(method, path), exchange)),
    }
}

fn own_route(memory: &Memory, method: &Method, path: &str) -> Response<MockBody> {
    match (path, method) {
        ("/health", &Method::GET) => respond::own_json(r#"{"status":"ok"}"#),
        ("/mock/log", &Method::GET) => respond::own_json(to_json(&memory.log())),
        ("/mock/log", &Method::PUT) => {
            memory.set_recording(true);
            respond::no_content()
        }
        ("/mock/log", &Method::DELETE) => {
            memory.clear_log();
            respond::no_content()
        }
        ("/mock/stats", &Method::GET) => respond::own_json(to_json(&memory.stats())),
        _ => {
            let error = match path {
                "/health" | "/mock/log" | "/mock/stats" => ApiError::wrong_method(method, path),
                _ => ApiError::unknown_path(method, path),
            };
            let mut response = respond::own_json(error.render());
            *response.status_mut() = error.status;
            response
        }
    }
}

fn authorise(api_key: Option<&str>, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(expected) = api_key else { return Ok(()) };
    let header = headers.get(AUTHORIZATION).ok_or_else(ApiError::missing_key)?;
    let given = header.to_str().ok().and_then(|value| value.split_once(' '));
    match given {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") && key == expected => Ok(()),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") => Err(ApiError::wrong_key()),
        _ => Err(ApiError::missing_key()),
    }
}

fn models(created: u64) -> Vec<u8> {
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": created, "owned_by": "mock-provider"});
    let models = ["gpt-4o", "gpt-4o-mini", "mock"].map(model);
    to_json(&json!({"object": "list", "data": models}))
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    put_value(&mut out, value);
    out
}
