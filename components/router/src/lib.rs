//! The router: the only public data route. Its contract is in this component's README.
//!
//! This file is the route table. `host` is the only other file that names `spin_sdk`.

mod after;
mod attempt;
mod authorize;
mod call;
mod chat;
mod error;
mod host;
mod ledger;
mod models;
mod peers;
mod pools;
mod reply;
mod side;
mod story;
mod stream;
mod upstream;
mod whole;

use error::Cause;
use http::Method;
use raw_http::{Call, ErrorCode, Request, Response};
use reply::Reply;
use spin_sdk::wasip3::exports::http::handler::Guest;

spin_sdk::wasip3::http::service::export!(Router);

struct Router;

impl Guest for Router {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let call = Call::new(request);
        let (method, target) = (call.method(), call.path_and_query());
        let (headers, body) = call.into_parts()?;
        let arrival = host::Arrival::now(&headers);
        let path = target.split('?').next().unwrap_or_default().trim_end_matches('/');
        let response = match (method, path) {
            (Method::GET, "/health") => Ok(Reply::json(200, HEALTHY.to_vec())),
            (Method::POST, "/v1/chat/completions") => {
                chat::complete(&headers, body.into_frames(), &arrival).await
            }
            (Method::GET, "/v1/models") => models::list(&headers).await,
            (Method::GET, model) if model.starts_with(MODEL_PATH) => {
                models::get(&headers, model.strip_prefix(MODEL_PATH).unwrap_or_default()).await
            }
            (_, "/v1/chat/completions") => Err(Cause::MethodNotAllowed { allow: "POST" }),
            (_, "/health" | "/v1/models") => Err(Cause::MethodNotAllowed { allow: "GET" }),
            _ => Err(Cause::NotFound { path: path.to_owned() }),
        };
        let reply = response.unwrap_or_else(|cause| Reply::error(&cause));
        Ok(reply.with_request_id(&arrival.request_id).into_host().await)
    }
}

const HEALTHY: &[u8] = br#"{"status":"ok"}"#;
const MODEL_PATH: &str = "/v1/models/";
