//! `POST /v1/chat/completions`, from the door to the books.

use crate::after;
use crate::authorize;
use crate::error::{Cause, stream_error};
use crate::host::{self, Arrival, BodyReader, BodyWriter};
use crate::ledger::{Ledger, Spent};
use crate::peers::{self, Admission, Lookup};
use crate::reply::{Reply, X_SHOULD_RETRY};
use crate::upstream::{self, Given};
use bytes::Bytes;
use contracts::{CacheOutcome, Outcome, headers};
use gateway_config::{Consumer, Model, RouterConfig};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use openai_types::{Answer, ChatRequest};
use raw_http::Frames;
use relay::{Beat, ClientGone, Decoded, End, Failure, Hold, Limits, NoResume, Opened, Options, Sink};
use std::time::Duration;

/// Largest answer that is offered to the cache, in bytes; the cache may have a smaller cap of its own.
const KEEP_BYTES: usize = 1024 * 1024;
/// Largest single event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Most of a stream that is held back under `buffer`, in bytes; a longer one is handed on from there as it comes.
const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;
/// For the client to take one write, in ms: a client that does not keeps the upstream waiting, and is let go.
const CLIENT_MS: u64 = 60_000;
/// How often a client is looked for while there is nothing to write, in ms: an upstream is to be closed within a second of
/// its client's leaving.
const PROBE_MS: u64 = 500;
const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";
/// The limiter's code for what is used up, as it stands in its answer.
const QUOTA: &[u8] = br#""code":"insufficient_quota""#;

/// Answers a chat completion, streamed or not.
pub async fn complete(headers: &HeaderMap, body: Frames, arrival: &Arrival) -> Result<Reply, Cause> {
    let (config, consumer) = match authorize::consumer(headers).await {
        Ok(known) => known,
        Err(cause) => return Err(refuse(Ledger::open(arrival, None), cause)),
    };
    let mut ledger = Ledger::open(arrival, Some(consumer));
    let body = match bounded_body::read(body, config.bounds.request_bytes).await {
        Ok(body) => body,
        Err(bounded_body::ReadError::TooLarge { max_bytes }) => {
            return Err(refuse(ledger, Cause::RequestTooLarge { max_bytes }));
        }
        Err(bounded_body::ReadError::Transport(_)) => return Err(refuse(ledger, Cause::RequestCutShort)),
    };
    let chat = match ChatRequest::parse(&body) {
        Ok(chat) => chat,
        Err(error) => return Err(refuse(ledger, Cause::Invalid(error))),
    };
    ledger.asked(&chat.model, chat.stream, &body);
    let served = Served { config, consumer, client_headers: headers, body: &body, chat: &chat };
    served.answer(ledger, arrival).await
}

fn refuse(ledger: Ledger, cause: Cause) -> Cause {
    let error = cause.to_api_error();
    ledger.close(error.status, Outcome::Refused, error.code, Spent::Nothing);
    cause
}

/// A request that has been understood, and all that answering it needs.
struct Served<'a> {
    config: &'static RouterConfig,
    consumer: &'static Consumer,
    client_headers: &'a HeaderMap,
    body: &'a Bytes,
    chat: &'a ChatRequest<'a>,
}

impl Served<'_> {
    async fn answer(&self, mut ledger: Ledger, arrival: &Arrival) -> Result<Reply, Cause> {
        let name = self.chat.model.as_ref();
        let Some(model) = self.config.model(name) else {
            return Err(refuse(ledger, Cause::UnknownModel { model: name.to_owned() }));
        };
        if !self.consumer.may_use(name) {
            return Err(refuse(ledger, Cause::ModelNotAllowed { model: name.to_owned() }));
        }
        let (admission, lookup) = peers::ask(&self.facts(arrival, &model.name), self.body).await;
        let limit_headers = match admission {
            Admission::Admitted { reservation, prompt_tokens, headers } => {
                ledger.reserved(reservation, prompt_tokens);
                headers
            }
            Admission::Refused { status, headers, body } => {
                let code = match status {
                    429 if body.windows(QUOTA.len()).any(|part| part == QUOTA) => "insufficient_quota",
                    429 => "rate_limit_exceeded",
                    400 => "invalid_request",
                    _ => "limiter_unavailable",
                };
                ledger.close(status, Outcome::Refused, code, Spent::Nothing);
                return Ok(Reply::whole(status, headers, body));
            }
            Admission::Unavailable => return Err(refuse(ledger, Cause::LimiterUnavailable)),
        };
        let (cache, cache_key) = match lookup {
            Lookup::Hit { headers, body, usage } => {
                ledger.looked_up(CacheOutcome::Exact);
                let reply = Reply::whole(200, headers, body).with_headers(limit_headers);
                return Ok(reply.and_then(move |taken| async move {
                    ledger.close_hit(200, outcome_of(taken), usage);
                }));
            }
            Lookup::Miss { key } => (CacheOutcome::Miss, Some(key)),
            Lookup::Bypass { key } => (CacheOutcome::Bypass, key),
        };
        ledger.looked_up(cache);
        let client_headers = door::for_upstream(self.client_headers);
        let options = self.options(model, cache_key.is_some());
        let outcome = upstream::ask(model, self.chat, self.body, &client_headers, &options, arrival).await;
        ledger.asked_upstream(outcome.deployment, outcome.attempts);

        let mut extra = limit_headers;
        extra.extend(host::header(headers::CACHE, cache.as_str()));
        extra.extend(host::header(headers::ATTEMPTS, &outcome.attempts.to_string()));
        extra.extend(outcome.deployment.and_then(|d| host::header(headers::DEPLOYMENT, &d.label)));
        match outcome.given {
            Given::Whole { headers, body } => Ok(whole(ledger, cache_key, headers, body).with_headers(extra)),
            Given::Stream { headers, source } => {
                let clock = arrival.clone();
                Ok(stream(ledger, cache_key, headers, source, options, clock).with_headers(extra))
            }
            Given::Error { status, headers, body } => {
                if outcome.attempts > 1 {
                    // The gateway has retried already; an SDK's own retries would multiply with ours.
                    extra.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
                }
                ledger.close(status, Outcome::UpstreamError, "", Spent::Nothing);
                Ok(Reply::whole(status, headers, body).with_headers(extra))
            }
            Given::Nothing(failed) => {
                let cause = Cause::NoAnswer(failed);
                let error = cause.to_api_error();
                ledger.close(error.status, Outcome::UpstreamFailed, error.code, Spent::Nothing);
                if outcome.attempts > 1 {
                    extra.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
                }
                Ok(Reply::error(&cause).with_headers(extra))
            }
        }
    }

    /// What a stream may take, and how it is handed on.
    fn options(&self, model: &Model, is_kept: bool) -> Options {
        let settings = &model.settings;
        let max_stream_bytes = settings.response_bytes.unwrap_or(self.config.bounds.response_bytes);
        Options {
            strip_usage: !self.chat.include_usage,
            keep_bytes: if is_kept { KEEP_BYTES } else { 0 },
            hold: match settings.buffer {
                true => Hold::UntilWhole { max_bytes: MAX_HELD_BYTES },
                false => Hold::UntilItSpeaks,
            },
            mid_stream: relay::MidStream::Fail,
            limits: Limits {
                first_token_ms: settings.timeouts.first_token_ms,
                idle_ms: settings.timeouts.idle_ms,
                total_ms: settings.timeouts.total_ms,
                client_ms: CLIENT_MS,
                max_event_bytes: MAX_EVENT_BYTES,
                max_stream_bytes,
            },
            beat: Beat { keepalive_ms: settings.keepalive_ms, probe_ms: PROBE_MS },
        }
    }

    /// What the other components are told about the request.
    fn facts(&self, arrival: &Arrival, pool: &str) -> HeaderMap {
        let consumer = self.consumer;
        let mut facts = HeaderMap::with_capacity(8);
        facts.extend(host::header(headers::REQUEST_ID, &arrival.request_id));
        facts.extend(host::header(headers::CONSUMER, &consumer.id));
        facts.extend(host::header(headers::TEAM, consumer.team.as_deref().unwrap_or_default()));
        facts.extend(host::header(headers::APP, consumer.app.as_deref().unwrap_or_default()));
        facts.extend(host::header(headers::MODEL, &self.chat.model));
        facts.extend(host::header(headers::POOL, pool));
        facts.extend(host::header(headers::TAGS, &consumer.tags.join(",")));
        if let Some(ip) = door::client_ip(self.client_headers) {
            facts.extend(host::header(headers::CLIENT_IP, &ip.to_string()));
        }
        for name in &self.config.counted_headers {
            if let (Some(value), Ok(fact)) = (
                self.client_headers.get(name),
                HeaderName::try_from(format!("{}{name}", headers::CLIENT_HEADER_PREFIX)),
            ) {
                facts.insert(fact, value.clone());
            }
        }
        if let Some(control) = self.client_headers.get(header::CACHE_CONTROL) {
            facts.insert(header::CACHE_CONTROL, control.clone());
        }
        facts
    }
}

/// Sends a whole answer, and closes the books when the client has it.
fn whole(mut ledger: Ledger, cache_key: Option<String>, headers: HeaderMap, body: Vec<u8>) -> Reply {
    ledger.first_content_at(Some(ledger.elapsed_ms()));
    let spent = match Answer::parse(&body) {
        Ok(answer) => match answer.usage() {
            Some(usage) => Spent::Counted(usage),
            None => Spent::Generated { bytes: answer.generated_bytes() },
        },
        Err(_) => Spent::Nothing, // it parsed a moment ago
    };
    let kept = cache_key.filter(|_| body.len() <= KEEP_BYTES).map(|key| (key, body.clone()));
    Reply::whole(200, headers, body).and_then(|taken| async move {
        ledger.close(200, outcome_of(taken), "", spent);
        if let Some((key, body)) = kept {
            after::keep(&key, JSON, &body);
        }
    })
}

fn outcome_of(taken: Result<(), ClientGone>) -> Outcome {
    match taken {
        Ok(()) => Outcome::Completed,
        Err(ClientGone) => Outcome::ClientGone,
    }
}

/// Hands a stream on event by event, and closes the books when it has ended, one way or another.
fn stream(
    ledger: Ledger,
    cache_key: Option<String>,
    mut headers: HeaderMap,
    source: Box<Opened<Decoded<BodyReader>>>,
    options: Options,
    clock: Arrival,
) -> Reply {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Reply::streamed(200, headers, move |writer| fill(writer, source, options, ledger, cache_key, clock))
}

async fn fill(
    mut writer: BodyWriter,
    source: Box<Opened<Decoded<BodyReader>>>,
    options: Options,
    mut ledger: Ledger,
    cache_key: Option<String>,
    clock: Arrival,
) {
    let first = std::future::ready(Some(*source));
    let report = relay::relay(first, &mut NoResume::default(), &mut writer, &options, &clock).await;
    let mut last_event = None;
    let (outcome, code) = match &report.end {
        End::Complete => (Outcome::Completed, ""),
        End::ClientGone => (Outcome::ClientGone, ""),
        End::Failed(failure) => {
            let theirs = match failure {
                Failure::Reported(error) => error.to_sse_event(),
                _ => None,
            };
            let ours = stream_error(failure);
            let (event, told) = match theirs {
                Some(event) => (event, (Outcome::UpstreamError, "")),
                None => (ours.to_sse_event().into_bytes(), (Outcome::UpstreamFailed, ours.code)),
            };
            last_event = Some(event);
            told
        }
    };
    if report.end == End::ClientGone {
        // Perhaps only stuck: what it has got must not look whole.
        drop(writer);
    } else {
        // A client that does not take the end keeps nobody waiting, the books least of all.
        let _taken = host::within(Duration::from_millis(CLIENT_MS), async move {
            if let Some(event) = last_event {
                writer.send(event).await?;
            }
            writer.end().await;
            Ok::<(), ClientGone>(())
        })
        .await;
    }
    ledger.first_content_at(report.first_content_at_ms);
    let upstream = report.spent.last().copied().unwrap_or_default();
    let spent = match (upstream.usage, &report.end) {
        (Some(usage), _) => Spent::Counted(usage),
        // A provider bills no answer that it failed to begin.
        (None, End::Failed(_)) if upstream.generated_bytes == 0 => Spent::Nothing,
        (None, _) => Spent::Generated { bytes: upstream.generated_bytes },
    };
    ledger.close(200, outcome, code, spent);
    if let (Some(key), Some(kept)) = (cache_key, report.kept) {
        after::keep(&key, EVENT_STREAM, &kept);
    }
}
