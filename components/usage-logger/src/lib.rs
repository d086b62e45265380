//! The usage logger: takes one record per request and what else operators must hear of, answers who spent what. Its contract is in this component's README.
//!
//! This file is the route table. `host` is the only other file that names `spin_sdk`.

mod admin;
mod error;
mod events;
mod host;
mod keep;
mod platform;
mod records;
mod reply;
mod sweep;

use bytes::Bytes;
use contracts::event::EVENTS_PATH;
use contracts::record::RECORDS_PATH;
use error::Cause;
use host::Spin;
use http::Method;
use http::request::Parts;
use raw_http::{Call, ErrorCode, Request, Response};
use reply::Reply;
use spin_sdk::wasip3::exports::http::handler::Guest;

const USAGE_PATH: &str = "/admin/usage";
const REQUESTS_PATH: &str = "/admin/requests";
const ADMIN_EVENTS_PATH: &str = "/admin/events";

spin_sdk::wasip3::http::service::export!(UsageLogger);

struct UsageLogger;

impl Guest for UsageLogger {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let (head, body) = Call::new(request).into_http()?.into_parts();
        Ok(answer(&head, body).await.unwrap_or_else(|cause| Reply::error(&cause)).into_response())
    }
}

async fn answer<B>(head: &Parts, body: B) -> Result<Reply, Cause>
where
    B: http_body::Body<Data = Bytes>,
{
    let config = host::config().await?;
    let sweep_later = |_: &Reply| host::sweep_later(config.retain_days);
    match (&head.method, head.uri.path()) {
        (&Method::POST, RECORDS_PATH) => records::take(body, config, &Spin).await.inspect(sweep_later),
        (&Method::POST, EVENTS_PATH) => events::take(body, config, &Spin).await.inspect(sweep_later),
        (&Method::GET, USAGE_PATH) => {
            door::check_admin_token(&head.headers, &host::admin_token().await?)?;
            admin::usage(head, host::today(), &Spin).await
        }
        (&Method::GET, REQUESTS_PATH) => {
            door::check_admin_token(&head.headers, &host::admin_token().await?)?;
            admin::requests(head, host::today(), &Spin).await
        }
        (&Method::GET, ADMIN_EVENTS_PATH) => {
            door::check_admin_token(&head.headers, &host::admin_token().await?)?;
            events::list(head, &Spin).await
        }
        (_, RECORDS_PATH | EVENTS_PATH) => Err(Cause::MethodNotAllowed { allow: "POST" }),
        (_, USAGE_PATH | REQUESTS_PATH | ADMIN_EVENTS_PATH) => Err(Cause::MethodNotAllowed { allow: "GET" }),
        _ => Err(Cause::UnknownPath),
    }
}
