//! The other components, as the router calls them.
//!
//! A slow or dead cache or logger costs the client nothing but the cache; a dead limiter refuses, because admitting
//! uncounted requests is what the gateway is there to prevent.

use crate::host::{self, Incoming, Outgoing, Peer};
use bytes::Bytes;
use contracts::limiter::SettleBatch;
use contracts::{CacheOutcome, UsageRecord, cache, headers, limiter, origins, record};
use http::{HeaderMap, HeaderName, Method, Uri};
use openai_types::Usage;
use std::time::Duration;

/// How long the limiter may take: beyond it no answer is better than an uncounted one.
const RESERVE_WITHIN: Duration = Duration::from_secs(5);
/// How long a lookup may take before the request goes on without it; a lookup normally takes about a millisecond.
const LOOKUP_WITHIN: Duration = Duration::from_millis(500);
/// How long after-work may take before it is given up and said so.
const AFTERWARDS_WITHIN: Duration = Duration::from_secs(10);

/// Largest answer of a component, in bytes: well above what the cache keeps of a stream, replayed.
const MAX_PEER_BYTES: usize = 16 * 1024 * 1024;

/// What the limiter said.
pub enum Admission {
    /// Go on; the headers are for the client, the reservation for the settlement.
    /// `prompt_tokens` if the limiter had to count.
    Admitted { reservation: Option<String>, prompt_tokens: Option<u64>, headers: HeaderMap },
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

/// Asks the limiter to admit a request.
pub async fn reserve(facts: &HeaderMap, body: Bytes) -> Admission {
    match host::within(
        RESERVE_WITHIN,
        call(origins::TOKEN_LIMITER, limiter::RESERVE_PATH, facts.clone(), body),
    )
    .await
    {
        Some(Some(Incoming { status: 204, headers, .. })) => Admission::Admitted {
            reservation: text(&headers, headers::RESERVATION).map(str::to_owned),
            prompt_tokens: text(&headers, headers::PROMPT_TOKENS).and_then(|tokens| tokens.parse().ok()),
            headers: client_headers(&headers),
        },
        Some(Some(incoming))
            if incoming.status == 429 || incoming.status == 503 || incoming.status == 400 =>
        {
            let (status, mut headers) = (incoming.status, client_headers(&incoming.headers));
            let content_type = incoming.headers.get(http::header::CONTENT_TYPE);
            headers.extend(content_type.map(|value| (http::header::CONTENT_TYPE, value.clone())));
            match incoming.read_whole(MAX_PEER_BYTES).await {
                Ok(body) => Admission::Refused { status, headers, body },
                Err(_) => Admission::Unavailable,
            }
        }
        Some(Some(incoming)) => {
            host::log(&format!("token-limiter answered {} to a reservation", incoming.status));
            Admission::Unavailable
        }
        Some(None) => Admission::Unavailable,
        None => {
            host::log("token-limiter took too long for a reservation");
            Admission::Unavailable
        }
    }
}

/// Asks the cache for an answer.
pub async fn look_up(facts: &HeaderMap, body: Bytes) -> Lookup {
    let found =
        host::within(LOOKUP_WITHIN, call(origins::SEMANTIC_CACHE, cache::LOOKUP_PATH, facts.clone(), body))
            .await;
    let Some(Some(incoming)) = found else {
        return Lookup::Bypass { key: None };
    };
    let key = text(&incoming.headers, headers::CACHE_KEY).map(str::to_owned);
    match incoming.status {
        200 => {
            let usage =
                text(&incoming.headers, headers::CACHED_USAGE).and_then(parse_usage).unwrap_or_default();
            let mut headers = HeaderMap::with_capacity(4);
            for name in ["content-type", headers::CACHE, headers::CACHE_AGE] {
                if let Some(value) = incoming.headers.get(name) {
                    headers.insert(HeaderName::from_static(name), value.clone());
                }
            }
            // Read here rather than handed on as a handle: only what is held whole leaves in one segment.
            match incoming.read_whole(MAX_PEER_BYTES).await {
                Ok(body) => Lookup::Hit { headers, body, usage },
                Err(_) => Lookup::Bypass { key: None },
            }
        }
        204 if text(&incoming.headers, headers::CACHE) == Some(CacheOutcome::Miss.as_str()) => match key {
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

/// Hands a complete answer to the cache, which decides whether to keep it.
pub async fn store(key: &str, content_type: &'static str, answer: Vec<u8>) {
    let mut headers = HeaderMap::with_capacity(4);
    headers.extend(host::header(headers::CACHE_KEY, key));
    headers.extend(host::header("content-type", content_type));
    let stored = call(origins::SEMANTIC_CACHE, cache::STORE_PATH, headers, answer.into());
    match host::within(AFTERWARDS_WITHIN, stored).await {
        // 413: larger than the document lets entries be, which is no fault.
        Some(Some(incoming)) if incoming.status < 400 || incoming.status == 413 => {}
        Some(Some(incoming)) => host::log(&format!("semantic-cache answered {} to a store", incoming.status)),
        Some(None) | None => host::log("semantic-cache did not take an answer to store"),
    }
}

/// Settles a batch; false when the limiter did not confirm it. Never sent twice: its increments are not idempotent.
pub async fn settle(batch: &SettleBatch) -> bool {
    let Ok(body) = serde_json::to_vec(batch) else { return false };
    let settled = call(origins::TOKEN_LIMITER, limiter::SETTLE_PATH, HeaderMap::new(), body.into());
    matches!(host::within(AFTERWARDS_WITHIN, settled).await, Some(Some(Incoming { status: 204, .. })))
}

/// Records a batch; false when it is neither written nor printed.
pub async fn record(batch: &[UsageRecord]) -> bool {
    let Ok(body) = serde_json::to_vec(batch) else { return false };
    let recorded = call(origins::USAGE_LOGGER, record::RECORDS_PATH, HeaderMap::new(), body.into());
    match host::within(AFTERWARDS_WITHIN, recorded).await {
        Some(Some(Incoming { status: 204, .. })) => true,
        // Its database failed; by its contract it has printed the batch.
        Some(Some(Incoming { status: 503, .. })) => {
            host::log("usage-logger could not write a batch, and has printed it");
            true
        }
        Some(_) | None => false,
    }
}

async fn call(origin: &str, path: &str, headers: HeaderMap, body: Bytes) -> Option<Incoming> {
    let uri: Uri = format!("{origin}{path}").parse().ok()?;
    let outgoing = Outgoing { method: Method::POST, uri, headers, body, peer: Peer::Component };
    match host::send(outgoing).await {
        Ok(incoming) => Some(incoming),
        Err(failed) => {
            host::log(&format!("{origin}{path} did not answer: {failed:?}"));
            None
        }
    }
}

/// What of the limiter's headers concerns the client.
fn client_headers(limiter: &HeaderMap) -> HeaderMap {
    let concerns = |name: &HeaderName| {
        name == http::header::RETRY_AFTER
            || name == crate::reply::X_SHOULD_RETRY
            || name.as_str().starts_with("x-ratelimit-")
    };
    limiter
        .iter()
        .filter(|(name, _)| concerns(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
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
