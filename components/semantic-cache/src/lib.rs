//! The semantic cache: exact hits for now. Its contract is in this component's README.
//!
//! This file is the route table. `host` is the only other module that names `spin_sdk`; what is decided about answers is
//! decided in `cache-policy`.

mod error;
mod host;
mod lookup;
mod reply;
mod store;
mod sweep;

use contracts::cache::{LOOKUP_PATH, STORE_BATCH_PATH, STORE_PATH};
use error::Cause;
use http::Method;
use raw_http::{Call, ErrorCode, Request, Response, respond};
use reply::Reply;
use spin_sdk::wasip3::exports::http::handler::Guest;

spin_sdk::wasip3::http::service::export!(SemanticCache);

struct SemanticCache;

impl Guest for SemanticCache {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let Reply { status, headers, body } =
            route(Call::new(request)).await.unwrap_or_else(|cause| Reply::error(&cause));
        Ok(respond(status, &headers, body))
    }
}

async fn route(call: Call) -> Result<Reply, Cause> {
    let config = host::config().await?;
    let target = call.path_and_query();
    match (call.method(), target.split('?').next().unwrap_or_default()) {
        (Method::POST, LOOKUP_PATH) => lookup::look_up(call, config).await,
        (Method::POST, STORE_PATH) => store::store(call, config).await.inspect(|_| sweep::later()),
        (Method::POST, STORE_BATCH_PATH) => {
            store::store_batch(call, config).await.inspect(|_| sweep::later())
        }
        (_, LOOKUP_PATH | STORE_PATH | STORE_BATCH_PATH) => Err(Cause::MethodNotAllowed),
        (_, path) => Err(Cause::NotFound { path: path.to_owned() }),
    }
}
