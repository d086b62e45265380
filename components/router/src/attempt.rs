//! One attempt at one deployment: what is sent, and what came of it.

mod failed;

use crate::call::Call;
use crate::error::UpstreamFailed;
use crate::host::{self, BodyReader, Incoming, Outgoing};
use bytes::Bytes;
use gateway_config::{Deployment, Settings};
use http::{HeaderMap, HeaderValue, Method, header};
use openai_types::{Answer, Prefill, ReportedError};
use relay::{Decoded, Joint, Limits, Opened, Options, Resumed, Source, SourceFailed, Spent, Spoken};
use routing::{Attempt, Failure, NoAnswer};
use std::time::Duration;

pub use failed::{Failed, broke_off};
use failed::{bad, in_another_form, no_answer, not_opened, nothing, reported};

/// Largest error body of a provider that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// The stream of a backend.
pub enum Stream {
    /// As it comes, decompressed.
    Coming(Decoded<BodyReader>),
    /// Made of a whole answer that came in its place; `None` once it has been read.
    Made(Option<Vec<u8>>),
}

impl Source for Stream {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        match self {
            Stream::Coming(source) => source.next().await,
            Stream::Made(stream) => Ok(stream.take()),
        }
    }
}

/// What a deployment gave.
pub enum Given {
    /// A stream of events that has begun to answer.
    Stream { headers: HeaderMap, source: Box<Opened<Stream>> },
    /// A whole answer, checked to be one.
    Whole { headers: HeaderMap, body: Vec<u8> },
    /// The provider's own error, to be passed on.
    Error { status: u16, headers: HeaderMap, body: Vec<u8> },
    /// Nothing usable.
    Nothing(UpstreamFailed),
}

/// What begins to come back.
enum Head {
    Stream { headers: HeaderMap, source: Stream },
    Whole { headers: HeaderMap, incoming: Incoming },
}

/// Asks a deployment for the whole request.
pub async fn ask(call: &Call, attempt: &Attempt<'_, '_>, settings: &Settings) -> Result<Given, Box<Failed>> {
    if call.is_streamed() {
        return ask_for_stream(call, attempt, settings).await;
    }
    let body = call.chat.upstream_body(Some(attempt.upstream_model));
    let max_bytes = limits(call, settings).max_stream_bytes;
    let whole = async {
        match send(call, attempt, settings, body).await? {
            Head::Whole { headers, incoming } => {
                let body = read_whole(settings, &headers, incoming, max_bytes).await?;
                Ok(Given::Whole { headers, body })
            }
            Head::Stream { .. } => Err(in_another_form("an event stream, though none was asked for")),
        }
    };
    in_time(u64::MAX, attempt.left_ms, whole).await
}

/// Waits until a stream has begun to answer; one that is gathered, until it is whole.
async fn ask_for_stream(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
) -> Result<Given, Box<Failed>> {
    let body = call.chat.upstream_body_of_stream(Some(attempt.upstream_model));
    let limits = limits(call, settings);
    let asked_ms = call.clock.elapsed_ms();
    let sent = send(call, attempt, settings, body);
    // The first token cannot come before the head.
    let head = in_time(limits.first_token_ms, attempt.left_ms, sent).await?;
    let (headers, source, limits) = match head {
        Head::Stream { headers, source } => (headers, source, limits),
        Head::Whole { mut headers, incoming } => {
            let body = read_in_place_of_stream(call, attempt, settings, &headers, incoming, asked_ms).await?;
            if call.is_gathered.get() {
                return Ok(Given::Whole { headers, body });
            }
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            (headers, made_of(&body, attempt)?, unbounded_in_bytes(limits))
        }
    };
    let options = Options { limits, ..call.options };
    match relay::open(source, asked_ms, &options, &call.clock, &call.heard).await {
        Ok(opened) if call.is_gathered.get() => gathered(call, attempt, headers, opened),
        Ok(opened) => Ok(Given::Stream { headers, source: Box::new(opened) }),
        Err(unopened) => {
            let mut failed = not_opened(unopened.failure, settings, headers);
            failed.spent = unopened.spent;
            Err(failed)
        }
    }
}

/// What this deployment's answer may take: by its own model, which after a fallback is not the one that was asked for. Not cut to
/// what is left of the total, for a wait that the total ends says nothing of the deployment.
fn limits(call: &Call, settings: &Settings) -> Limits {
    Limits {
        first_token_ms: settings.timeouts.first_token_ms,
        idle_ms: settings.timeouts.idle_ms,
        max_stream_bytes: settings.response_bytes.unwrap_or(call.config.bounds.response_bytes),
        ..call.options.limits
    }
}

/// For a stream made of an answer whose bytes were bounded as they came.
fn unbounded_in_bytes(limits: Limits) -> Limits {
    Limits { max_event_bytes: usize::MAX, max_stream_bytes: usize::MAX, ..limits }
}

/// What comes of `work`, unless it takes longer than `wait_ms`, which is the deployment's silence, or than `left_ms` of the request's
/// time, which is not.
async fn in_time<T>(
    wait_ms: u64,
    left_ms: u64,
    work: impl Future<Output = Result<T, Box<Failed>>>,
) -> Result<T, Box<Failed>> {
    let why = if left_ms < wait_ms { NoAnswer::TooLong } else { NoAnswer::Silent };
    let done = host::within(Duration::from_millis(wait_ms.min(left_ms)), work).await;
    done.unwrap_or_else(|| Err(no_answer(why, UpstreamFailed::Timeout)))
}

/// Makes the whole answer of a whole stream. Where that cannot be done, this request is not asked for as a stream again.
fn gathered(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    mut headers: HeaderMap,
    opened: Opened<Stream>,
) -> Result<Given, Box<Failed>> {
    let Some((stream, spent)) = opened.into_whole() else { return Err(bad("a stream without an end")) };
    match cache_policy::assemble(&stream) {
        Ok(body) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(Given::Whole { headers, body })
        }
        Err(why) => {
            let label = &attempt.choice.deployment.label;
            host::log(&format!("{label}: `cancel_whole` cannot make a whole answer of its stream: {why}"));
            call.is_gathered.set(false);
            let mut failed = bad("a stream that cannot be put together");
            failed.spent = spent;
            Err(failed)
        }
    }
}

/// Asks a deployment to go on with what the client has got so far; the stream is handed on unread.
pub async fn go_on(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
    spoken: &Spoken,
) -> Result<Resumed<Stream>, Box<Failed>> {
    let body = call.chat.upstream_body(Some(attempt.upstream_model));
    let style = attempt.choice.deployment.prefill.map(prefill);
    // About four bytes a token, as everywhere where nobody has counted.
    let said_tokens = u64::try_from(spoken.text_bytes().div_ceil(4)).unwrap_or(u64::MAX);
    // Told to go on with one choice, it would not begin the others.
    let prefill = spoken.prefill().filter(|_| call.chat.choices == 1);
    let told = style.zip(prefill).and_then(|(style, text)| {
        let body = style.apply(&body, text, said_tokens)?;
        // Of those that take a marked message some say it again, and their manuals do not tell.
        let may_echo = style == Prefill::MarkedMessage;
        Some((body, if may_echo { Joint::AppendUnlessEchoed } else { Joint::Append }))
    });
    let (body, joint) = told.unwrap_or((body, Joint::Cut));
    let limits = limits(call, settings);
    let asked_ms = call.clock.elapsed_ms();
    let sent = send(call, attempt, settings, body);
    match in_time(limits.first_token_ms, attempt.left_ms, sent).await? {
        Head::Stream { source, .. } => Ok(Resumed { source, joint, asked_ms, limits }),
        Head::Whole { headers, incoming } => {
            let body = read_in_place_of_stream(call, attempt, settings, &headers, incoming, asked_ms).await?;
            let source = made_of(&body, attempt)?;
            Ok(Resumed { source, joint, asked_ms, limits: unbounded_in_bytes(limits) })
        }
    }
}

/// A whole answer to who was asked for a stream at `asked_ms`, in what is left of the request's time.
async fn read_in_place_of_stream(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
    headers: &HeaderMap,
    incoming: Incoming,
    asked_ms: u64,
) -> Result<Vec<u8>, Box<Failed>> {
    let took_ms = call.clock.elapsed_ms().saturating_sub(asked_ms);
    let left_ms = attempt.left_ms.saturating_sub(took_ms);
    let whole = read_whole(settings, headers, incoming, limits(call, settings).max_stream_bytes);
    in_time(u64::MAX, left_ms, whole).await
}

/// The stream that a whole answer would have been: a server may not know streams, and what it said is paid for.
fn made_of(answer: &[u8], attempt: &Attempt<'_, '_>) -> Result<Stream, Box<Failed>> {
    match cache_policy::replay(answer, true) {
        Ok(stream) => Ok(Stream::Made(Some(stream))),
        Err(why) => {
            let label = &attempt.choice.deployment.label;
            host::log(&format!(
                "{label}: its whole answer cannot be made the stream that was asked for: {why}"
            ));
            let mut failed = in_another_form("a whole answer, though a stream was asked for");
            failed.spent = spent_on(answer);
            Err(failed)
        }
    }
}

/// Asks whether a deployment is well.
pub async fn is_well(deployment: &Deployment, path: &str, timeouts: gateway_config::Timeouts) -> bool {
    let Ok(outgoing) = outgoing(deployment, Method::GET, path, HeaderMap::new(), Bytes::new(), timeouts)
    else {
        return false;
    };
    matches!(host::send(outgoing).await, Ok(Incoming { status: 200..=299, .. }))
}

async fn send(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
    body: Bytes,
) -> Result<Head, Box<Failed>> {
    let mut headers = call.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let deployment = attempt.choice.deployment;
    let outgoing = outgoing(deployment, Method::POST, "/chat/completions", headers, body, settings.timeouts);
    let incoming = host::send(outgoing.map_err(nothing)?).await.map_err(nothing)?;
    let status = incoming.status;
    // Followed by the client it would lead around the gateway, perhaps with the client's key.
    if (300..=399).contains(&status) {
        return Err(bad("a redirect"));
    }
    let mut headers = door::for_client(&incoming.headers);
    headers.remove(header::CONTENT_ENCODING); // undone when it is read
    if !(200..=299).contains(&status) {
        return Err(refused(status, headers, incoming, settings).await);
    }
    if media_type(&incoming.headers) == "text/event-stream" {
        let source = incoming.into_decoded_body().map_err(nothing)?;
        return Ok(Head::Stream { headers, source: Stream::Coming(source) });
    }
    Ok(Head::Whole { headers, incoming })
}

fn outgoing(
    deployment: &Deployment,
    method: Method,
    path: &str,
    mut headers: HeaderMap,
    body: Bytes,
    timeouts: gateway_config::Timeouts,
) -> Result<Outgoing, UpstreamFailed> {
    let uri = deployment.backend.base_url.uri(path);
    let uri = uri.map_err(|_| UpstreamFailed::Connect("its base_url is no address".to_owned()))?;
    if let Some(key) = &deployment.backend.api_key {
        let value = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
        let mut value =
            value.map_err(|_| UpstreamFailed::Connect("its api_key is no header value".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(Outgoing { method, uri, headers, body, timeouts })
}

/// A status that is no success.
async fn refused(status: u16, headers: HeaderMap, incoming: Incoming, settings: &Settings) -> Box<Failed> {
    let told = incoming.headers.clone();
    let body = match incoming.read_whole(MAX_ERROR_BYTES).await {
        Ok(body) => body,
        Err(failed) => return nothing(failed),
    };
    let text = |name: &str| told.get(name).and_then(|value| value.to_str().ok());
    let failure = Failure::answered(status, text, &body, settings, host::epoch_ms());
    let given = match status {
        401 => Given::Nothing(UpstreamFailed::CredentialRefused),
        _ => Given::Error { status, headers, body },
    };
    Box::new(Failed { failure, given, spent: Spent::default() })
}

/// A whole answer, checked to be one. Fewer choices than were asked for make it no less: its end was seen, and some providers give one
/// whatever was asked.
async fn read_whole(
    settings: &Settings,
    headers: &HeaderMap,
    incoming: Incoming,
    max_bytes: usize,
) -> Result<Vec<u8>, Box<Failed>> {
    let body = incoming.read_whole(max_bytes).await.map_err(nothing)?;
    if Answer::parse(&body).is_ok_and(|answer| answer.is_whole()) {
        return Ok(body);
    }
    let mut failed = match ReportedError::parse(&body) {
        Some(error) => reported(error, settings, headers.clone()),
        None => bad("not a chat completion"),
    };
    failed.spent = spent_on(&body);
    Err(failed)
}

fn spent_on(answer: &[u8]) -> Spent {
    match Answer::parse(answer) {
        Ok(answer) => Spent { usage: answer.usage(), generated: answer.generated() },
        Err(_) => Spent::default(),
    }
}

fn prefill(style: gateway_config::PrefillStyle) -> Prefill {
    match style {
        gateway_config::PrefillStyle::LastMessage => Prefill::LastMessage,
        gateway_config::PrefillStyle::MarkedMessage => Prefill::MarkedMessage,
        gateway_config::PrefillStyle::ContinueFinalMessage => Prefill::ContinueFinalMessage,
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
