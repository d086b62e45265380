//! The token limiter: admits requests by the tokens that they will take, and learns afterwards what they took.
//!
//! Its contract is in this component's README. This file is the route table; what is decided stands in the crates
//! `quota` and `tokens`. `host` is the only other file that names `spin_sdk`.

mod alerts;
mod error;
mod facts;
mod host;
mod reply;
mod reserve;
mod settle;
#[cfg(test)]
mod tests;

use contracts::headers::REQUEST_ID;
use contracts::limiter::{RESERVE_PATH, SETTLE_PATH};
use error::Cause;
use http::{HeaderMap, Method};
use raw_http::{Call, ErrorCode, Request, Response, respond};
use reply::Reply;
use spin_sdk::wasip3::exports::http::handler::Guest;

spin_sdk::wasip3::http::service::export!(TokenLimiter);

struct TokenLimiter;

impl Guest for TokenLimiter {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let call = Call::new(request);
        let headers = call.headers.named(&reserve::HEADERS);
        let reply = answer(call, &headers).await.unwrap_or_else(|cause| Reply::from(&cause));
        if let Some(why) = &reply.log {
            let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
            host::log(id.unwrap_or("-"), why);
        }
        Ok(respond(reply.status, &reply.headers, reply.body))
    }
}

async fn answer<'c>(call: Call, headers: &HeaderMap) -> Result<Reply, Cause<'c>> {
    let counters = host::Counters::new();
    let target = call.path_and_query();
    let path = target.split('?').next().unwrap_or_default();
    match (call.method(), path) {
        (Method::POST, RESERVE_PATH) => {
            let config = host::config().await?;
            let mut headers = headers.clone();
            headers.extend(call.headers.named(&facts::counted_headers(config)));
            let (_, body) = call.split();
            reserve::reserve(&headers, body.into_frames(), config, &counters, host::now_ms, host::pause).await
        }
        (Method::POST, SETTLE_PATH) => {
            let (_, body) = call.split();
            settle::settle(body.into_frames(), host::config().await?, &counters).await
        }
        (_, RESERVE_PATH | SETTLE_PATH) => Err(Cause::MethodNotAllowed { allow: "POST" }),
        (_, path) => Err(Cause::NotFound { path: path.to_owned() }),
    }
}
