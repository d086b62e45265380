//! The semantic cache: exact hits for now. Its contract is in this component's README.
//!
//! This file is the route table. `host` is the only other file that names `spin_sdk`; what is decided about answers is
//! decided in `cache-policy`.

mod error;
mod host;
mod lookup;
mod reply;
mod store;

use contracts::cache::{LOOKUP_PATH, STORE_PATH};
use error::Cause;
use http::Method;
use reply::Reply;
use spin_sdk::http::Request;
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> host::HostResponse {
    let reply = route(request).await.unwrap_or_else(|cause| Reply::error(&cause));
    host::respond(reply).await
}

async fn route(request: Request) -> Result<Reply, Cause> {
    let config = host::config().await?;
    match (request.method(), request.uri().path()) {
        (&Method::POST, LOOKUP_PATH) => lookup::look_up(request, config).await,
        (&Method::POST, STORE_PATH) => store::store(request, config).await,
        (_, LOOKUP_PATH | STORE_PATH) => Err(Cause::MethodNotAllowed),
        (_, path) => Err(Cause::NotFound { path: path.to_owned() }),
    }
}
