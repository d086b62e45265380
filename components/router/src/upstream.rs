//! The call to a backend: one deployment after another, while nothing has been sent to the client.

use crate::error::UpstreamFailed;
use crate::host::{self, BodyReader, Outgoing, Peer};
use bytes::Bytes;
use gateway_config::{Deployment, Model};
use http::{HeaderMap, HeaderValue, Method, header};
use openai_types::{Answer, ChatRequest};
use relay::{Failure, Opened, SourceFailed};
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
    Stream { headers: HeaderMap, source: Opened<BodyReader> },
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
    max_response_bytes: usize,
) -> Outcome<'a> {
    let mut outcome =
        Outcome { deployment: None, attempts: 0, given: Given::Nothing(UpstreamFailed::NoneLeft) };
    for deployment in routing::candidates(model) {
        outcome.attempts += 1;
        let given = attempt(model, deployment, request, original, client_headers, max_response_bytes).await;
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
    max_response_bytes: usize,
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
    let outgoing =
        Outgoing { method: Method::POST, uri, headers, body, peer: Peer::Server(model.settings.timeouts) };
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
    let headers = door::for_client(&incoming.headers);
    if routing::verdict(status) != Verdict::Answer {
        return match incoming.read_whole(MAX_ERROR_BYTES).await {
            Ok(body) => Given::Error { status, headers, body },
            Err(failed) => Given::Nothing(failed),
        };
    }
    let is_stream = media_type(&incoming.headers) == "text/event-stream";
    match (request.stream, is_stream) {
        (true, true) => match relay::open(incoming.into_body()).await {
            Ok(source) => Given::Stream { headers, source },
            Err(failure) => Given::Nothing(unopened(&failure)),
        },
        (true, false) => {
            Given::Nothing(UpstreamFailed::BadReply("not an event stream, though one was asked for"))
        }
        (false, true) => {
            Given::Nothing(UpstreamFailed::BadReply("an event stream, though none was asked for"))
        }
        (false, false) => match incoming.read_whole(max_response_bytes).await {
            Err(failed) => Given::Nothing(failed),
            Ok(body) => match Answer::parse(&body) {
                Ok(answer) if answer.has_choices() && !answer.is_error() => Given::Whole { headers, body },
                Ok(answer) if answer.is_error() => {
                    Given::Nothing(UpstreamFailed::BadReply("an error with a success status"))
                }
                _ => Given::Nothing(UpstreamFailed::BadReply("not a chat completion")),
            },
        },
    }
}

fn unopened(failure: &Failure) -> UpstreamFailed {
    match failure {
        Failure::Source(SourceFailed::Idle) => UpstreamFailed::Timeout,
        Failure::Truncated => UpstreamFailed::Truncated,
        failure => UpstreamFailed::BrokeOff(failure.to_string()),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
