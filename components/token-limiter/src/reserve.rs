//! `POST /reserve`: the request's size, the limits' answer.

use crate::error::Cause;
use crate::reply::Reply;
use bounded_body::ReadError;
use bytes::Bytes;
use contracts::headers;
use gateway_config::{LimiterConfig, OnStoreError};
use http::{HeaderMap, HeaderName};
use quota::{CounterStore, Outcome, RequestSize, Subject, demands, estimated_tokens};
use std::fmt::Display;
use tokens::{ChatRequestView, InvalidRequest, count_prompt};

/// The most that the document's `bounds.request_bytes` can be. The router, which is the door, enforces the
/// configured cap; this one keeps memory bounded whoever calls.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The headers that are read: the others stay with the host.
pub const HEADERS: [HeaderName; 5] = [
    HeaderName::from_static(headers::REQUEST_ID),
    HeaderName::from_static(headers::CONSUMER),
    HeaderName::from_static(headers::TEAM),
    HeaderName::from_static(headers::APP),
    HeaderName::from_static(headers::MODEL),
];

const RESERVATION: HeaderName = HeaderName::from_static(headers::RESERVATION);
const PROMPT_TOKENS: HeaderName = HeaderName::from_static(headers::PROMPT_TOKENS);
/// Set when the counters could not be reached and the document says to go on uncounted.
const UNCOUNTED: HeaderName = HeaderName::from_static("x-tollgate-uncounted");

/// Admits a request or says why not. `pause` lets the instance's other requests run while a long prompt is counted.
pub async fn reserve<'c, B, S>(
    headers: &HeaderMap,
    body: B,
    config: &'c LimiterConfig,
    counters: &S,
    clock: impl Fn() -> u64,
    pause: impl AsyncFnMut(),
) -> Result<Reply, Cause<'c>>
where
    B: http_body::Body<Data = Bytes, Error: Display>,
    S: CounterStore,
{
    if config.limits.is_empty() {
        return Ok(Reply::no_content());
    }
    let body = bounded_body::read(body, MAX_REQUEST_BYTES).await.map_err(unreadable)?;
    let subject = subject(headers);
    let size = size(subject.model, &body, pause).await.map_err(Cause::InvalidRequest)?;
    let amount = estimated_tokens(config, size);
    let demands = demands(&config.limits, &subject, amount);
    match quota::reserve(counters, clock, &demands).await {
        Ok(Outcome::Admitted { reservation, tightest }) => {
            let reply = Reply::no_content().with(RESERVATION, &reservation.to_string());
            Ok(reply.with(PROMPT_TOKENS, &size.prompt_tokens.to_string()).with_standing(&tightest))
        }
        Ok(Outcome::Refused { by, retry_after_s }) => Err(Cause::RateExceeded { by, amount, retry_after_s }),
        Ok(Outcome::NeverFits { limit, limit_tokens }) => {
            Err(Cause::NeverFits { limit, limit_tokens, amount })
        }
        Err(failure) => match config.on_store_error {
            OnStoreError::Deny => Err(Cause::StoreFailed(failure)),
            OnStoreError::Allow => {
                let log = Some(format!("on_store_error=allow, admitted uncounted: {failure}"));
                Ok(Reply { log, ..Reply::no_content().with(UNCOUNTED, "store-error") })
            }
        },
    }
}

async fn size(model: &str, body: &[u8], pause: impl AsyncFnMut()) -> Result<RequestSize, InvalidRequest> {
    let request = ChatRequestView::parse(body)?;
    let prompt = count_prompt(model, &request, pause).await?;
    Ok(RequestSize {
        prompt_tokens: prompt.tokens,
        max_completion_tokens: request.max_completion_tokens,
        n: request.n,
    })
}

fn subject(headers: &HeaderMap) -> Subject<'_> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Subject {
        consumer: text(headers::CONSUMER),
        team: text(headers::TEAM),
        app: text(headers::APP),
        model: text(headers::MODEL),
    }
}

/// What is wrong with a body that could not be read.
pub fn unreadable<'c, E: Display>(error: ReadError<E>) -> Cause<'c> {
    match error {
        ReadError::TooLarge { max_bytes } => Cause::BodyTooLarge { max_bytes },
        ReadError::Transport(error) => Cause::BodyCutShort { reason: error.to_string() },
    }
}
