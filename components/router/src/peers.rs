//! The other components, as the router calls them.
//!
//! A slow or dead cache or logger costs the client nothing but the cache; a dead limiter refuses, because admitting
//! uncounted requests is what the gateway is there to prevent.

use crate::after::{self, Entry};
use crate::host::{self, Component, ComponentAnswer};
use bytes::Bytes;
use contracts::{CacheOutcome, cache, headers, limiter, origins, record};
use futures::future::{self, MaybeDone};
use futures::join;
use http::{HeaderMap, header};
use openai_types::Usage;
use raw_http::Fields;
use serde::Serialize;
use serde_json::value::RawValue;
use std::pin::{Pin, pin};
use std::time::Duration;

const TOKEN_LIMITER: Component = Component { origin: origins::TOKEN_LIMITER };
const SEMANTIC_CACHE: Component = Component { origin: origins::SEMANTIC_CACHE };
const USAGE_LOGGER: Component = Component { origin: origins::USAGE_LOGGER };

/// How long the limiter may take: beyond it no answer is better than an uncounted one.
const RESERVE_WITHIN: Duration = Duration::from_secs(5);
/// How long a reservation is waited for that came too late for its request, to give it back.
const RESERVED_LATE_WITHIN: Duration = Duration::from_secs(60);
/// How long a lookup may take before the request goes on without it; a lookup normally takes about a millisecond.
const LOOKUP_WITHIN: Duration = Duration::from_millis(500);
/// How long after-work may take before it is given up and said so.
const AFTERWARDS_WITHIN: Duration = Duration::from_secs(10);

/// Largest answer of a component, in bytes: well above what the cache keeps of a stream, replayed.
const MAX_PEER_BYTES: usize = 16 * 1024 * 1024;

/// What the limiter said.
pub enum Admission {
    /// Go on; the headers are for the client, the reservation for the settlement.
    /// `prompt_tokens` if the limiter had to count; `observed` are the limits that would have refused if they did.
    Admitted {
        reservation: Option<String>,
        prompt_tokens: Option<u64>,
        observed: Vec<String>,
        /// No counter could be reached, and the document says to go on.
        uncounted: bool,
        headers: HeaderMap,
    },
    /// The limiter's own answer goes to the client.
    Refused { status: u16, headers: HeaderMap, body: Vec<u8> },
    /// It did not answer.
    Unavailable,
}

/// What the cache said.
pub enum Lookup {
    /// The finished answer, and what it took when it was made.
    Hit { headers: HeaderMap, body: Vec<u8>, usage: Usage },
    /// Nothing; under `key` an answer can be stored.
    Miss { key: String },
    /// Not asked, not allowed, or out of order.
    Bypass { key: Option<String> },
}

/// Asks the limiter to admit a request and the cache for its answer, at the same time.
///
/// One timer serves both while the cache has time; most requests need no second one.
pub async fn ask(facts: &HeaderMap, body: &Bytes) -> (Admission, Lookup) {
    let mut told = facts.clone();
    told.insert(header::CONTENT_LENGTH, body.len().into());
    let told = raw_http::fields(&told);
    let mut admission = Box::pin(future::maybe_done(reserve(told.clone(), body.clone())));
    let mut lookup = pin!(future::maybe_done(look_up(told, body.clone())));
    let both = async { join!(admission.as_mut(), lookup.as_mut()) };
    if host::within(LOOKUP_WITHIN, both).await.is_none() {
        let waited_on = host::within(RESERVE_WITHIN.saturating_sub(LOOKUP_WITHIN), admission.as_mut());
        if waited_on.await.is_none() {
            host::log("token-limiter took too long for a reservation");
        }
    }
    let lookup = lookup.take_output().unwrap_or(Lookup::Bypass { key: None });
    match admission.as_mut().take_output() {
        Some(admission) => (admission, lookup),
        None => {
            host::spawn(give_back_when_made(admission));
            (Admission::Unavailable, lookup)
        }
    }
}

/// Waits on for a reservation that nobody waits for any more: if it is made after all, it is given back. Dropped instead, it
/// would stay charged until its window ends, which may be a year.
async fn give_back_when_made(mut admission: Pin<Box<MaybeDone<impl Future<Output = Admission>>>>) {
    if host::within(RESERVED_LATE_WITHIN, admission.as_mut()).await.is_none() {
        host::log("token-limiter never answered a reservation; if it made it, it stays charged");
        return;
    }
    if let Some(Admission::Admitted { reservation: Some(reservation), .. }) = admission.as_mut().take_output()
    {
        host::log("token-limiter admitted a request too late; the reservation is given back");
        after::give_back(reservation);
    }
}

async fn reserve(told: Fields, body: Bytes) -> Admission {
    let Some(answer) = post(&TOKEN_LIMITER, limiter::RESERVE_PATH, told, body).await else {
        return Admission::Unavailable;
    };
    match answer.status {
        204 => Admission::Admitted {
            reservation: answer.text(headers::RESERVATION).map(str::to_owned),
            prompt_tokens: answer.text(headers::PROMPT_TOKENS).and_then(|tokens| tokens.parse().ok()),
            observed: (answer.text(headers::OBSERVED).into_iter())
                .flat_map(|names| names.split(',').map(str::to_owned))
                .collect(),
            uncounted: answer.text(headers::UNCOUNTED).is_some(),
            headers: for_client(&answer),
        },
        // A 500 without the limiter's own word on retries is the platform's: the limiter trapped.
        status @ (400 | 429 | 500 | 503)
            if status != 500 || answer.text(crate::reply::X_SHOULD_RETRY.as_str()).is_some() =>
        {
            let headers = for_client(&answer);
            match answer.read_whole(MAX_PEER_BYTES).await {
                Ok(body) => Admission::Refused { status, headers, body },
                Err(_) => Admission::Unavailable,
            }
        }
        status => {
            host::log(&format!("token-limiter answered {status} to a reservation"));
            Admission::Unavailable
        }
    }
}

async fn look_up(told: Fields, body: Bytes) -> Lookup {
    let Some(answer) = post(&SEMANTIC_CACHE, cache::LOOKUP_PATH, told, body).await else {
        return Lookup::Bypass { key: None };
    };
    let key = answer.text(headers::CACHE_KEY).map(str::to_owned);
    match answer.status {
        200 => {
            let usage = answer.text(headers::CACHED_USAGE).and_then(parse_usage).unwrap_or_default();
            let kept = [header::CONTENT_TYPE.as_str(), headers::CACHE, headers::CACHE_AGE];
            let headers = answer.headers(|name| kept.contains(&name));
            // Read here rather than handed on as a handle: only what is held whole leaves in one segment.
            match answer.read_whole(MAX_PEER_BYTES).await {
                Ok(body) => Lookup::Hit { headers, body, usage },
                Err(_) => Lookup::Bypass { key: None },
            }
        }
        204 if answer.text(headers::CACHE) == Some(CacheOutcome::Miss.as_str()) => match key {
            Some(key) => Lookup::Miss { key },
            None => Lookup::Bypass { key: None },
        },
        204 => Lookup::Bypass { key },
        status => {
            host::log(&format!("semantic-cache answered {status} to a lookup"));
            Lookup::Bypass { key: None }
        }
    }
}

/// Hands a batch of complete answers to the cache, which decides what to keep; false when it did not take them.
pub async fn store(batch: Vec<u8>) -> bool {
    let stored = post_afterwards(&SEMANTIC_CACHE, cache::STORE_BATCH_PATH, batch);
    stored.await.is_some_and(|answer| answer.status == 204)
}

/// Settles a batch; false when the limiter did not confirm it. Never sent twice: its increments are not idempotent.
pub async fn settle(batch: &[Entry]) -> bool {
    /// A [`limiter::SettleBatch`] whose settlements are JSON already.
    #[derive(Serialize)]
    struct Body<'a> {
        settlements: Vec<&'a RawValue>,
    }
    let Ok(body) = serde_json::to_vec(&Body { settlements: texts(batch) }) else { return false };
    let settled = post_afterwards(&TOKEN_LIMITER, limiter::SETTLE_PATH, body);
    settled.await.is_some_and(|answer| answer.status == 204)
}

/// Records a batch; false when it is neither written nor printed.
pub async fn record(batch: &[Entry]) -> bool {
    let Ok(body) = serde_json::to_vec(&texts(batch)) else { return false };
    let recorded = post_afterwards(&USAGE_LOGGER, record::RECORDS_PATH, body);
    match recorded.await.map(|answer| answer.status) {
        Some(204) => true,
        // Its database failed; by its contract it has printed the batch.
        Some(503) => {
            host::log("usage-logger could not write a batch, and has printed it");
            true
        }
        Some(_) | None => false,
    }
}

fn texts(batch: &[Entry]) -> Vec<&RawValue> {
    batch.iter().map(|entry| &*entry.json).collect()
}

/// Posts what only this request says, within the time for after-work.
async fn post_afterwards(component: &Component, path: &str, body: Vec<u8>) -> Option<ComponentAnswer> {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let answer = post(component, path, raw_http::fields(&headers), body.into());
    host::within(AFTERWARDS_WITHIN, answer).await.flatten()
}

async fn post(component: &Component, path: &str, headers: Fields, body: Bytes) -> Option<ComponentAnswer> {
    match component.post(path, headers, body).await {
        Ok(answer) => Some(answer),
        Err(failed) => {
            host::log(&format!("{}{path} did not answer: {failed:?}", component.origin));
            None
        }
    }
}

/// What of the limiter's headers concerns the client: those that it names, whatever they are called.
fn for_client(answer: &ComponentAnswer) -> HeaderMap {
    let named = answer.text(headers::FOR_CLIENT).unwrap_or_default();
    answer.headers(|name| {
        name == header::RETRY_AFTER.as_str()
            || name == header::CONTENT_TYPE.as_str()
            || name == crate::reply::X_SHOULD_RETRY.as_str()
            || named.split(',').any(|for_client| name == for_client)
    })
}

fn parse_usage(header: &str) -> Option<Usage> {
    let mut figures = header.split(',').map(|figure| figure.trim().parse::<u64>());
    let mut next = || figures.next()?.ok();
    Some(Usage {
        prompt_tokens: next()?,
        completion_tokens: next()?,
        cached_tokens: next()?,
        reasoning_tokens: next()?,
    })
}
