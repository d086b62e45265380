//! `POST /reserve`: the request's size, the limits' answer.

use crate::alerts;
use crate::error::Cause;
use crate::facts::Facts;
use crate::keeper::Keeper;
use crate::reply::Reply;
use bounded_body::ReadError;
use bytes::Bytes;
use contracts::headers;
use gateway_config::{LimiterConfig, OnStoreError};
use http::{HeaderMap, HeaderName};
use quota::{CounterStore, Demands, Outcome, ReadFirst, RequestSize, ScriptStore};
use std::fmt::Display;
use tokens::{ChatRequestView, InvalidRequest, count_prompt};

/// The most that the document's `bounds.request_bytes` can be. The router, which is the door, enforces the
/// configured cap; this one keeps memory bounded whoever calls.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// The headers that are read, beside those of [`crate::facts::counted_headers`]: the others stay with the host.
pub const HEADERS: [HeaderName; 10] = [
    HeaderName::from_static(headers::REQUEST_ID),
    HeaderName::from_static(headers::CONSUMER),
    HeaderName::from_static(headers::TEAM),
    HeaderName::from_static(headers::APP),
    HeaderName::from_static(headers::TAGS),
    HeaderName::from_static(headers::MODEL),
    HeaderName::from_static(headers::SERVED_MODEL),
    HeaderName::from_static(headers::UPSTREAM_MODEL),
    HeaderName::from_static(headers::POOL),
    HeaderName::from_static(headers::CLIENT_IP),
];

const PROMPT_TOKENS: HeaderName = HeaderName::from_static(headers::PROMPT_TOKENS);
/// Set when the counters could not be reached and the document says to go on uncounted.
const UNCOUNTED: HeaderName = HeaderName::from_static(headers::UNCOUNTED);

/// Which counters refused lately. Holds times only.
static READ_FIRST: ReadFirst = ReadFirst::new();

/// Admits a request or says why not. `pause` lets the instance's other requests run while a long prompt is counted.
pub async fn reserve<'c, B, C, S>(
    headers: &HeaderMap,
    body: B,
    config: &'c LimiterConfig,
    keeper: &Keeper<'_, C, S>,
    clock: impl Fn() -> u64,
    pause: impl AsyncFnMut(),
) -> Result<Reply<'c>, Cause<'c>>
where
    B: http_body::Body<Data = Bytes, Error: Display>,
    C: CounterStore,
    S: ScriptStore,
{
    if config.limits.is_empty() {
        return Ok(Reply::no_content());
    }
    let body = bounded_body::read(body, MAX_REQUEST_BYTES).await.map_err(unreadable)?;
    let facts = Facts::read(headers, &body, config);
    let subject = facts.subject();
    let size = size(facts.counted_as(), &body, pause).await.map_err(Cause::InvalidRequest)?;
    let Demands { mut demands, estimate } = quota::demands(config, &subject, size);
    READ_FIRST.mark(&mut demands, clock());
    let outcome = keeper.reserve(&clock, &demands).await;
    if let Ok(outcome) = &outcome {
        READ_FIRST.learn(outcome, clock());
    }
    match outcome {
        Ok(Outcome::Admitted(admission)) => {
            let log = alerts::observed(&admission);
            let reply =
                Reply::no_content().with_admission(&config.headers, &admission, estimate.total_tokens());
            let reply = reply.with(PROMPT_TOKENS, &estimate.prompt_tokens.to_string());
            Ok(Reply { log, alerts: admission.alerts, ..reply })
        }
        Ok(Outcome::Refused(refusal)) => {
            Err(Cause::Refused { refusal: Box::new(refusal), headers: &config.headers })
        }
        Ok(Outcome::NeverFits { limit, kind, size, amount }) => {
            Err(Cause::NeverFits { limit, kind, size, amount, headers: &config.headers })
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

/// What is wrong with a body that could not be read.
pub fn unreadable<'c, E: Display>(error: ReadError<E>) -> Cause<'c> {
    match error {
        ReadError::TooLarge { max_bytes } => Cause::BodyTooLarge { max_bytes },
        ReadError::Transport(error) => Cause::BodyCutShort { reason: error.to_string() },
    }
}
