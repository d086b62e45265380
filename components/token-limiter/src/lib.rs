//! The token limiter: admits requests by the tokens that they will take, and learns afterwards what they took.
//!
//! Operators see and reset its counters.
//!
//! Its contract is in this component's README. This file is the route table; what is decided stands in the crates
//! `quota` and `tokens`. `host` is the only other file that names `spin_sdk`.

mod admin;
mod alerts;
mod error;
mod events;
mod facts;
mod host;
mod keeper;
mod patience;
mod reply;
mod reserve;
mod settle;
#[cfg(test)]
mod tests;

use admin::{Deed, Page};
use contracts::headers::{REQUEST_ID, TEAM};
use contracts::limiter::{RESERVE_PATH, SETTLE_PATH};
use error::Cause;
use events::Asked;
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
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let reply = answer(call, &headers)
            .await
            .unwrap_or_else(|cause| Reply { alerts: cause.alerts(), ..Reply::from(&cause) });
        if let Some(why) = &reply.log {
            host::log(text(REQUEST_ID), why);
        }
        if !reply.alerts.is_empty() {
            let asked = Asked { request_id: text(REQUEST_ID).to_owned(), team: text(TEAM).to_owned() };
            host::alert_later(reply.alerts, asked);
        }
        host::sweep_later();
        Ok(respond(reply.status, &reply.headers, reply.body))
    }
}

async fn answer(call: Call, headers: &HeaderMap) -> Result<Reply<'static>, Cause<'static>> {
    let target = call.path_and_query();
    let path = target.split('?').next().unwrap_or_default();
    if let Some(page) = Page::at(path) {
        return operate(page, &call).await;
    }
    match (call.method(), path) {
        (Method::POST, RESERVE_PATH) => {
            let config = host::config().await?;
            let mut headers = headers.clone();
            headers.extend(call.headers.named(&facts::counted_headers(config)));
            let (_, body) = call.split();
            let (counters, scripts) = host::stores(host::RESERVE_WITHIN);
            let keeper = host::keeper(config, &counters, &scripts);
            reserve::reserve(&headers, body.into_frames(), config, &keeper, host::now_ms, host::pause).await
        }
        (Method::POST, SETTLE_PATH) => {
            let (_, body) = call.split();
            let config = host::config().await?;
            let (counters, scripts) = host::stores(host::AFTERWARDS_WITHIN);
            let keeper = host::keeper(config, &counters, &scripts);
            settle::settle(body.into_frames(), config, &keeper, host::now_ms).await
        }
        (_, RESERVE_PATH | SETTLE_PATH) => Err(Cause::MethodNotAllowed { allow: "POST" }),
        (_, path) => Err(Cause::NotFound { path: path.to_owned() }),
    }
}

/// The operator's pages, which alone are public.
async fn operate(page: Page<'_>, call: &Call) -> Result<Reply<'static>, Cause<'static>> {
    if call.method().as_str() != page.method() {
        return Err(Cause::MethodNotAllowed { allow: page.method() });
    }
    let headers = call.headers.named(&admin::HEADERS);
    door::check_admin_token(&headers, &host::admin_token().await?).map_err(Cause::NoOperator)?;
    let config = host::config().await?;
    let (counters, scripts) = host::stores(host::AFTERWARDS_WITHIN);
    let keeper = host::keeper(config, &counters, &scripts);
    match page {
        Page::Rules => Ok(admin::rules(config)),
        Page::Counter(name) => admin::counter(name, config, &keeper, host::now_ms()).await,
        Page::Reset(name) => {
            let address = door::client_ip(&headers).map(|ip| ip.to_string()).unwrap_or_default();
            let deed = Deed { id: host::random_id(), address, at_ms: host::now_ms() };
            admin::reset(name, config, &keeper, deed, async |events| host::tell(events).await).await
        }
    }
}
