//! One attempt at one deployment: what is sent, and what came of it.

use crate::call::Call;
use crate::error::UpstreamFailed;
use crate::host::{self, BodyReader, Incoming, Outgoing};
use bytes::Bytes;
use gateway_config::{Deployment, Settings};
use http::{HeaderMap, HeaderValue, Method, header};
use openai_types::{Answer, Prefill, ReportedError};
use relay::{Decoded, Late, Limits, Opened, Options, SourceFailed, Spent, Spoken};
use routing::{Attempt, Failure, NoAnswer};
use std::time::Duration;

/// Largest error body of a provider that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// A stream of a backend, decompressed.
pub type Stream = Decoded<BodyReader>;

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

/// An attempt that gave no answer.
pub struct Failed {
    /// What it means for the request and the deployment.
    pub failure: Failure,
    /// What the client can be told.
    pub given: Given,
    /// What it cost all the same.
    pub spent: Spent,
}

/// What begins to come back.
enum Head {
    Stream { headers: HeaderMap, source: Stream },
    Whole { headers: HeaderMap, incoming: Incoming },
}

/// Asks a deployment for the whole request.
pub async fn ask(call: &Call, attempt: &Attempt<'_, '_>, settings: &Settings) -> Result<Given, Box<Failed>> {
    let body = call.chat.upstream_body(Some(attempt.upstream_model));
    let asked_ms = call.arrival.elapsed_ms();
    let total = Duration::from_millis(attempt.timeouts.total_ms);
    if call.chat.stream {
        // `open` keeps its own time.
        let head = send(call, attempt, settings, body).await?;
        return begun(call, attempt, settings, asked_ms, head).await;
    }
    let whole = async {
        match send(call, attempt, settings, body).await? {
            Head::Whole { headers, incoming } => read_whole(call, settings, headers, incoming).await,
            Head::Stream { .. } => Err(bad("an event stream, though none was asked for")),
        }
    };
    host::within(total, whole).await.unwrap_or_else(|| Err(nothing(UpstreamFailed::Timeout)))
}

/// Asks a deployment to go on with what the client has got so far; the stream is handed on unread. The flag says whether
/// it was told where to begin.
pub async fn go_on(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
    spoken: &Spoken,
) -> Result<(Stream, bool), Box<Failed>> {
    let body = call.chat.upstream_body(Some(attempt.upstream_model));
    let style = attempt.choice.deployment.prefill.map(prefill);
    let told = style.zip(spoken.prefill()).and_then(|(style, text)| style.apply(&body, text));
    let is_told = told.is_some();
    match send(call, attempt, settings, told.unwrap_or(body)).await? {
        Head::Stream { source, .. } => Ok((source, is_told)),
        Head::Whole { .. } => Err(bad("not an event stream, though one was asked for")),
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
    let outgoing = outgoing(deployment, Method::POST, "/chat/completions", headers, body, attempt.timeouts);
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
        return Ok(Head::Stream { headers, source });
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

/// Waits until a stream has begun to answer.
async fn begun(
    call: &Call,
    attempt: &Attempt<'_, '_>,
    settings: &Settings,
    asked_ms: u64,
    head: Head,
) -> Result<Given, Box<Failed>> {
    let (headers, source) = match head {
        Head::Stream { headers, source } => (headers, source),
        Head::Whole { headers, incoming } => {
            // An error, perhaps: then it says more than we could.
            return match read_whole(call, settings, headers, incoming).await {
                Ok(_) => Err(bad("not an event stream, though one was asked for")),
                Err(failed) => Err(failed),
            };
        }
    };
    let limits = Limits {
        first_token_ms: attempt.timeouts.first_token_ms,
        idle_ms: attempt.timeouts.idle_ms,
        ..call.options.limits
    };
    let options = Options { limits, ..call.options };
    match relay::open(source, asked_ms, &options, &call.arrival).await {
        Ok(opened) => Ok(Given::Stream { headers, source: Box::new(opened) }),
        Err(unopened) => {
            let mut failed = not_opened(unopened.failure, settings, headers);
            failed.spent = unopened.spent;
            Err(failed)
        }
    }
}

async fn read_whole(
    call: &Call,
    settings: &Settings,
    headers: HeaderMap,
    incoming: Incoming,
) -> Result<Given, Box<Failed>> {
    let body = incoming.read_whole(call.options.limits.max_stream_bytes).await.map_err(nothing)?;
    match Answer::parse(&body) {
        Ok(answer) if answer.has_choices() && !answer.is_error() => Ok(Given::Whole { headers, body }),
        _ => Err(match ReportedError::parse(&body) {
            Some(error) => reported(error, settings, headers),
            None => bad("not a chat completion"),
        }),
    }
}

/// A provider's error with a success status: with the status that it means.
fn reported(error: ReportedError, settings: &Settings, mut headers: HeaderMap) -> Box<Failed> {
    let failure = Failure::in_answer(error.status, &error.body, settings);
    let given = if error.status == 401 {
        Given::Nothing(UpstreamFailed::CredentialRefused)
    } else if error.to_sse_event().is_none() {
        Given::Nothing(UpstreamFailed::BadReply("an error with a success status"))
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Given::Error { status: error.status, headers, body: error.body }
    };
    Box::new(Failed { failure, given, spent: Spent::default() })
}

/// A stream that failed before any of it was sent.
fn not_opened(failure: relay::Failure, settings: &Settings, headers: HeaderMap) -> Box<Failed> {
    let cut_off = |why, failed| {
        let (failure, given) = (Failure::no_answer(why), Given::Nothing(failed));
        Box::new(Failed { failure, given, spent: Spent::default() })
    };
    match failure {
        relay::Failure::Reported(error) => reported(*error, settings, headers),
        relay::Failure::Late(Late::Total) => cut_off(NoAnswer::TooLong, UpstreamFailed::Timeout),
        relay::Failure::TooLarge => {
            cut_off(NoAnswer::TooLarge, UpstreamFailed::BrokeOff(failure.to_string()))
        }
        relay::Failure::Source(SourceFailed::Idle) | relay::Failure::Late(Late::FirstToken | Late::Idle) => {
            nothing(UpstreamFailed::Timeout)
        }
        relay::Failure::Truncated | relay::Failure::Empty => nothing(UpstreamFailed::Truncated),
        relay::Failure::Malformed => bad("a malformed event"),
        failure => nothing(UpstreamFailed::BrokeOff(failure.to_string())),
    }
}

/// What it means for the request and the deployment that a stream broke off; `None` where it says nothing about either: a bound of ours
/// was reached, or another one had begun what this one did not go on with.
pub fn broke_off(failure: &relay::Failure, settings: &Settings) -> Option<Failure> {
    match failure {
        relay::Failure::Reported(error) => Some(Failure::in_answer(error.status, &error.body, settings)),
        relay::Failure::Source(SourceFailed::Idle) | relay::Failure::Late(Late::FirstToken | Late::Idle) => {
            Some(Failure::no_answer(NoAnswer::Silent))
        }
        relay::Failure::Truncated
        | relay::Failure::Empty
        | relay::Failure::Malformed
        | relay::Failure::Source(SourceFailed::Broken(_) | SourceFailed::Undecodable(_)) => {
            Some(Failure::no_answer(NoAnswer::Broken))
        }
        relay::Failure::Late(Late::Total)
        | relay::Failure::TooLarge
        | relay::Failure::Disagrees
        | relay::Failure::NotOpened => None,
    }
}

fn bad(what: &'static str) -> Box<Failed> {
    nothing(UpstreamFailed::BadReply(what))
}

/// No answer at all.
fn nothing(failed: UpstreamFailed) -> Box<Failed> {
    let why = match &failed {
        UpstreamFailed::Timeout => NoAnswer::Silent,
        UpstreamFailed::NotAllowed => NoAnswer::NotAllowed,
        UpstreamFailed::Connect(_) => NoAnswer::Unreachable,
        UpstreamFailed::TooLarge { .. } => NoAnswer::TooLarge,
        UpstreamFailed::NoneLeft { .. }
        | UpstreamFailed::CredentialRefused
        | UpstreamFailed::BrokeOff(_)
        | UpstreamFailed::Truncated
        | UpstreamFailed::BadReply(_) => NoAnswer::Broken,
    };
    let (failure, given) = (Failure::no_answer(why), Given::Nothing(failed));
    Box::new(Failed { failure, given, spent: Spent::default() })
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
