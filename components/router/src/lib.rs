//! The router: the only public data route. Its contract is in this component's README.
//!
//! This file is the route table. `host` is the only other file that names `spin_sdk`.

mod after;
mod authorize;
mod chat;
mod error;
mod host;
mod ledger;
mod models;
mod peers;
mod reply;
mod upstream;

use error::Cause;
use http::Method;
use reply::Reply;
use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> reply::HostResponse {
    let arrival = host::Arrival::now(request.headers());
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let response = match (request.method(), path.as_str()) {
        (&Method::GET, "/health") => Ok(Reply::json(200, HEALTHY.to_vec())),
        (&Method::POST, "/v1/chat/completions") => chat::complete(request, &arrival).await,
        (&Method::GET, "/v1/models") => models::list(request.headers()).await,
        (&Method::GET, model) if model.starts_with(MODEL_PATH) => {
            models::get(request.headers(), model.strip_prefix(MODEL_PATH).unwrap_or_default()).await
        }
        (_, "/v1/chat/completions") => Err(Cause::MethodNotAllowed { allow: "POST" }),
        (_, "/health" | "/v1/models") => Err(Cause::MethodNotAllowed { allow: "GET" }),
        _ => Err(Cause::NotFound { path }),
    };
    response
        .unwrap_or_else(|cause| Reply::error(&cause))
        .with_request_id(&arrival.request_id)
        .into_host()
        .await
}

const HEALTHY: &[u8] = br#"{"status":"ok"}"#;
const MODEL_PATH: &str = "/v1/models/";
