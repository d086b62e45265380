//! The call to a backend: one deployment after another, while nothing has been sent to the client.

use crate::error::UpstreamFailed;
use crate::host::{self, Arrival, BodyReader, Outgoing};
use bytes::Bytes;
use gateway_config::{Deployment, Model};
use http::{HeaderMap, HeaderValue, Method, header};
use openai_types::{Answer, ChatRequest, ReportedError};
use relay::{Clock, Decoded, Failure, Late, Opened, Options, SourceFailed};
use routing::Verdict;

/// Largest error body of a provider that is passed on, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

/// What came of the attempts.
pub struct Outcome<'a> {
    /// The deployment that gave this, or the last one tried.
    pub deployment: Option<&'a Deployment>,
    /// Attempts made.
    pub attempts: u32,
    /// What it gave.
    pub given: Given,
}

/// What a deployment gave.
pub enum Given {
    /// A stream of events, its first bytes read.
    Stream { headers: HeaderMap, source: Box<Opened<Decoded<BodyReader>>> },
    /// A whole answer, checked to be one.
    Whole { headers: HeaderMap, body: Vec<u8> },
    /// The provider's own error, to be passed on.
    Error { status: u16, headers: HeaderMap, body: Vec<u8> },
    /// Nothing usable.
    Nothing(UpstreamFailed),
}

/// Asks the deployments of `model` in order until one gives an answer.
///
/// `original` is the client's body, which `request` was parsed from. When none answers, the last error counts: a
/// provider's own before a connection's.
pub async fn ask<'a>(
    model: &'a Model,
    request: &ChatRequest<'_>,
    original: &Bytes,
    client_headers: &HeaderMap,
    options: &Options,
    arrival: &Arrival,
) -> Outcome<'a> {
    let mut outcome =
        Outcome { deployment: None, attempts: 0, given: Given::Nothing(UpstreamFailed::NoneLeft) };
    for deployment in routing::candidates(model) {
        outcome.attempts += 1;
        let given = attempt(model, deployment, request, original, client_headers, options, arrival).await;
        let (settled, worth_keeping) = match &given {
            Given::Stream { .. } | Given::Whole { .. } => (true, true),
            Given::Error { status, .. } => (routing::verdict(*status) == Verdict::PassOn, true),
            Given::Nothing(failed) => {
                host::log(&format!("{} gave no answer: {failed:?}", deployment.label));
                (false, !matches!(outcome.given, Given::Error { .. }))
            }
        };
        if worth_keeping {
            outcome.deployment = Some(deployment);
            outcome.given = given;
        }
        if settled {
            break;
        }
    }
    outcome
}

async fn attempt(
    model: &Model,
    deployment: &Deployment,
    request: &ChatRequest<'_>,
    original: &Bytes,
    client_headers: &HeaderMap,
    options: &Options,
    arrival: &Arrival,
) -> Given {
    let Ok(uri) = deployment.backend.base_url.uri("/chat/completions") else {
        return Given::Nothing(UpstreamFailed::Connect("its base_url is no address".to_owned()));
    };
    let mut headers = client_headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = &deployment.backend.api_key {
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", key.expose())) else {
            return Given::Nothing(UpstreamFailed::Connect("its api_key is no header value".to_owned()));
        };
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    // The client may have asked under an alias, which the backend does not know.
    let own_name = Some(model.name.as_str()).filter(|name| *name != "*");
    let body = request.upstream_body(original, deployment.model.as_deref().or(own_name));
    let timeouts = model.settings.timeouts;
    let outgoing = Outgoing { method: Method::POST, uri, headers, body, timeouts };
    let asked_ms = arrival.now_ms();
    let incoming = match host::send(outgoing).await {
        Ok(incoming) => incoming,
        Err(failed) => return Given::Nothing(failed),
    };
    let status = incoming.status;
    match status {
        401 => return Given::Nothing(UpstreamFailed::CredentialRefused),
        // Followed by the client it would lead around the gateway, perhaps with the client's key.
        300..=399 => return Given::Nothing(UpstreamFailed::BadReply("a redirect")),
        _ => {}
    }
    let mut headers = door::for_client(&incoming.headers);
    headers.remove(header::CONTENT_ENCODING); // undone below
    if routing::verdict(status) != Verdict::Answer {
        return match incoming.read_whole(MAX_ERROR_BYTES).await {
            Ok(body) => Given::Error { status, headers, body },
            Err(failed) => Given::Nothing(failed),
        };
    }
    let is_stream = media_type(&incoming.headers) == "text/event-stream";
    match (request.stream, is_stream) {
        (true, true) => {
            let body = match incoming.into_decoded_body() {
                Ok(body) => body,
                Err(failed) => return Given::Nothing(failed),
            };
            match relay::open(body, asked_ms, options, arrival).await {
                Ok(opened) => Given::Stream { headers, source: Box::new(opened) },
                Err(unopened) => not_opened(unopened.failure, headers),
            }
        }
        (false, true) => {
            Given::Nothing(UpstreamFailed::BadReply("an event stream, though none was asked for"))
        }
        (is_stream_wanted, false) => match incoming.read_whole(options.limits.max_stream_bytes).await {
            Err(failed) => Given::Nothing(failed),
            Ok(body) => match Answer::parse(&body) {
                Ok(answer) if answer.has_choices() && !answer.is_error() => {
                    if is_stream_wanted {
                        Given::Nothing(UpstreamFailed::BadReply(
                            "not an event stream, though one was asked for",
                        ))
                    } else {
                        Given::Whole { headers, body }
                    }
                }
                _ => match ReportedError::parse(&body) {
                    Some(error) => reported(error, headers),
                    None => Given::Nothing(UpstreamFailed::BadReply("not a chat completion")),
                },
            },
        },
    }
}

/// A provider's error with a success status: with the status that it means.
fn reported(error: ReportedError, mut headers: HeaderMap) -> Given {
    if error.status == 401 {
        return Given::Nothing(UpstreamFailed::CredentialRefused);
    }
    if error.to_sse_event().is_none() {
        return Given::Nothing(UpstreamFailed::BadReply("an error with a success status"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Given::Error { status: error.status, headers, body: error.body }
}

/// A stream that failed before any of it was sent.
fn not_opened(failure: Failure, headers: HeaderMap) -> Given {
    Given::Nothing(match failure {
        Failure::Reported(error) => return reported(*error, headers),
        Failure::Source(SourceFailed::Idle) | Failure::Late(Late::FirstToken | Late::Idle | Late::Total) => {
            UpstreamFailed::Timeout
        }
        Failure::Truncated | Failure::Empty => UpstreamFailed::Truncated,
        Failure::Malformed => UpstreamFailed::BadReply("a malformed event"),
        failure => UpstreamFailed::BrokeOff(failure.to_string()),
    })
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
