//! The token limiter: admits requests by the tokens that they will take, and learns afterwards what they took.
//!
//! Its contract is in this component's README. This file is the route table; what is decided stands in the crates
//! `quota` and `tokens`. `host` is the only other file that names `spin_sdk`.

mod error;
mod host;
mod reply;
mod reserve;
mod settle;
#[cfg(test)]
mod tests;

use contracts::limiter::{RESERVE_PATH, SETTLE_PATH};
use error::Cause;
use http::Method;
use reply::Reply;
use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> host::Response {
    let (parts, body) = request.into_parts();
    let counters = host::Counters::new();
    let reply = match (&parts.method, parts.uri.path()) {
        (&Method::POST, RESERVE_PATH) => match host::config().await {
            Ok(config) => {
                reserve::reserve(&parts.headers, body, config, &counters, host::now_ms, host::pause).await
            }
            Err(cause) => Err(cause),
        },
        (&Method::POST, SETTLE_PATH) => settle::settle(body, &counters).await,
        (_, RESERVE_PATH | SETTLE_PATH) => Err(Cause::MethodNotAllowed { allow: "POST" }),
        (_, path) => Err(Cause::NotFound { path: path.to_owned() }),
    };
    let reply = reply.unwrap_or_else(|cause| Reply::from(&cause));
    if let Some(why) = &reply.log {
        host::log(&parts.headers, why);
    }
    host::response(reply)
}
