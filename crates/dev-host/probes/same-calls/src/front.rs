//! The one that calls, in the router's place.

use crate::internal;
use crate::post::{own_headers, post_after, post_to, whole};
use crate::settings::{Settings, settings};
use crate::stores;
use contracts::{cache, limiter, origins, record};
use futures::try_join;
use http::{HeaderMap, StatusCode};
use raw_http::{Call, ErrorCode, IncomingBody, Response, declared_length, respond};
use spin_sdk::wasip3::spawn;
use spin_sdk::wit_bindgen::yield_async;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// About what one settlement, and one record, of the gateway's takes in its batch, in bytes.
const SETTLEMENT_BYTES: usize = 270;
const RECORD_BYTES: usize = 500;

/// Answers with the upstream's answer, after the calls before it; those after it follow by themselves.
pub async fn answer(call: Call, target: &str) -> Result<Response, ErrorCode> {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let settings = settings().await?;
    let (_, body) = call.into_parts()?;
    let body = whole(body).await?;
    try_join!(
        post_to(origins::TOKEN_LIMITER, limiter::RESERVE_PATH, body.clone()),
        post_to(origins::SEMANTIC_CACHE, cache::LOOKUP_PATH, body.clone()),
        refresh(settings)
    )?;
    // As the router does, so that a body leaves in one segment with its head: Nagle's algorithm is on.
    let answer = post_after(yield_async(), &settings.scheme, &settings.authority, target, body).await?;
    let headers = HeaderMap::try_from(answer.get_headers())?;
    let body = whole(IncomingBody::of_response(answer, declared_length(&headers))).await?;
    let before = REQUESTS.fetch_add(1, Relaxed);
    if before.is_multiple_of(settings.requests_per_batch) {
        spawn(follow_up(body.clone(), settings.requests_per_batch));
    }
    yield_async().await;
    Ok(respond(StatusCode::OK, &own_headers(body.len()), body.into()))
}

/// What the router reads of its breakers.
async fn refresh(settings: &Settings) -> Result<(), ErrorCode> {
    if settings.has_stores && stores::is_second_over() {
        stores::open_and_read("probe:absent").await?;
    }
    Ok(())
}

/// What follows the answers to so many requests.
async fn follow_up(answer: Vec<u8>, requests: usize) {
    let done = try_join!(
        confirmed(origins::TOKEN_LIMITER, limiter::SETTLE_PATH, vec![b' '; SETTLEMENT_BYTES * requests]),
        confirmed(origins::SEMANTIC_CACHE, cache::STORE_BATCH_PATH, answer.repeat(requests)),
        confirmed(origins::USAGE_LOGGER, record::RECORDS_PATH, vec![b' '; RECORD_BYTES * requests])
    );
    if let Err(error) = done {
        // The benchmark reports what components write there.
        let _unheard = writeln!(std::io::stderr(), "a batch was not taken: {error:?}");
    }
}

async fn confirmed(origin: &str, path: &str, body: Vec<u8>) -> Result<(), ErrorCode> {
    match post_to(origin, path, body).await?.get_status_code() {
        204 => Ok(()),
        status => Err(internal(format!("{path}: status {status}"))),
    }
}
