//! A component that shows the platform's behaviour, one per path, for the tests of whatever hosts it.
//!
//! The path is the last `spin-path-info` (the host's own; earlier copies are the client's), so the same
//! component can stand behind several routes. Arguments are query parameters, values are bodies. A host
//! call that fails is reported as `502` with the error's `Debug` text: the tests read it.

use anyhow::Result;
use spin_sdk::http::body::IncomingBodyExt;
use spin_sdk::http::{BoxBody, Request, Response};
use spin_sdk::http_service;

mod answer;
mod arguments;
mod databases;
mod embeddings;
mod key_value;
mod outbound;
mod request;
mod running;
mod streaming;

use arguments::Arguments;

#[http_service]
async fn handle(request: Request) -> Result<Response<BoxBody>> {
    let arguments = Arguments::of(&request);
    let serial = running::count_request();
    match arguments.path() {
        "/echo" => request::echo(&request),
        "/size" => request::size(request).await,
        "/instance" => running::instance(serial),
        "/sleep" => running::sleep(&arguments).await,
        "/answer-late" => running::answer_late(&arguments, request.into_body().bytes().await?).await,
        "/busy" => running::busy(&arguments),
        "/panic" => running::panic(&arguments).await,
        "/error" => running::error(),
        "/print" => running::print(request.into_body().bytes().await?),
        "/spawn" => streaming::spawn_after_response(&arguments),
        "/stream" => streaming::stream(&arguments),
        "/fetch" => outbound::fetch(request).await,
        "/variable" => databases::variable(&arguments).await,
        "/sqlite" => databases::sqlite(&arguments, request.into_body().bytes().await?).await,
        "/redis" => databases::redis(&arguments, request.into_body().bytes().await?).await,
        "/embed" => embeddings::embed(&arguments, request.into_body().bytes().await?),
        "/infer" => embeddings::infer(request.into_body().bytes().await?),
        path if path.starts_with("/kv/") => {
            let body = request.into_body().bytes().await?;
            key_value::operate(&arguments, body).await
        }
        path => answer::not_found(&format!("no behaviour at {path}")),
    }
}
