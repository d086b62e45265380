//! Answers a chat completion: in order, the model name, the delay, the refusals, then the answer itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::answer::Answer;
use crate::behaviour::{Behaviour, Delivery, Refusal};
use crate::body::MockBody;
use crate::completion;
use crate::errors::ApiError;
use crate::exchange::{Ending, Exchange};
use crate::gzip::{self, Gzipped};
use crate::memory::Memory;
use crate::model_name;
use crate::request::ChatRequest;
use crate::respond;
use crate::script::{Script, Step};
use crate::stable_hash::stable_hash;
use crate::stream::AnswerStream;
use crate::wire::Control;

/// Tells apart the flaky models of different tests.
const MOCK_ID: &str = "x-mock-id";

/// What an answer needs beside the request.
pub struct Context {
    /// Counts the requests of flaky models.
    pub memory: Arc<Memory>,
    /// The connection.
    pub control: Arc<Control>,
    /// `created` of every answer, in Unix seconds.
    pub created: u64,
}

/// Answers the request with these headers and this body.
///
/// # Errors
/// If the model name asks for the connection to be broken.
pub async fn complete(
    context: Context,
    mut exchange: Exchange,
    headers: &HeaderMap,
    body: &Bytes,
) -> io::Result<Response<MockBody>> {
    let (request, behaviour) = match read(body) {
        Ok(read) => read,
        Err(error) => return Ok(respond::error(&error, exchange)),
    };
    let model = request.model.as_ref().map_or("", |model| &model.0);
    let behaviour = settle_flaky(behaviour, model, headers, &context.memory);
    if behaviour.slow > Duration::ZERO {
        tokio::time::sleep(behaviour.slow).await;
    }
    if let Some(split_bytes) = behaviour.split_bytes {
        context.control.split(split_bytes.get());
    }
    let mut response = match behaviour.refusal {
        Some(Refusal::Silence) => std::future::pending().await,
        Some(Refusal::Reset) => {
            context.control.reset_on_close();
            exchange.end(Ending::CutByMock);
            return Err(io::Error::other("reset, as the model name asks"));
        }
        Some(Refusal::Status(status)) => {
            let error = ApiError::with_status(status, model).with_code(behaviour.error_code.clone());
            let mut response = respond::error(&error, exchange);
            let now = SystemTime::now();
            let headers = behaviour.retry_headers.iter().map(|(name, text)| (name.clone(), text.at(now)));
            response.headers_mut().extend(headers);
            response
        }
        Some(Refusal::ErrorWith200) => {
            let error = ApiError::in_stream().with_code(behaviour.error_code.clone());
            respond::error(&error, exchange)
        }
        Some(Refusal::NotJson) => {
            let html = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in</body></html>";
            respond::whole(StatusCode::OK, "text/html; charset=utf-8", html, exchange, behaviour.split_bytes)
        }
        None => match Answer::plan(&request, body, &behaviour.answer, context.created) {
            Ok(answer) if request.is_streaming() => {
                stream(answer, request.includes_usage(), &behaviour, exchange, context.control)
            }
            Ok(answer) => whole(&answer, &behaviour, exchange, context.control),
            Err(range) => respond::error(&ApiError::out_of_range(range), exchange),
        },
    };
    if let Ok(id) = HeaderValue::from_str(&format!("req_{:016x}", stable_hash(body))) {
        response.headers_mut().insert("x-request-id", id);
    }
    let now = SystemTime::now();
    for (name, text) in behaviour.headers {
        response.headers_mut().append(name, text.at(now));
    }
    Ok(response)
}

fn read(body: &[u8]) -> Result<(ChatRequest<'_>, Behaviour), ApiError> {
    let request: ChatRequest<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() { ApiError::invalid_type(&error) } else { ApiError::unparsable_body() }
    })?;
    let model = request.model.as_ref().ok_or_else(ApiError::missing_model)?;
    if model.0.starts_with("nope") {
        return Err(ApiError::model_not_found(&model.0));
    }
    let behaviour = model_name::parse(&model.0).map_err(|error| ApiError::bad_model_name(&error))?;
    if request.messages.is_none() {
        return Err(ApiError::missing_messages());
    }
    Ok((request, behaviour))
}

/// Decides whether this is one of the requests that a flaky model fails.
fn settle_flaky(mut behaviour: Behaviour, model: &str, headers: &HeaderMap, memory: &Memory) -> Behaviour {
    let Some(failing) = behaviour.flaky_requests else { return behaviour };
    let mock_id = headers.get(MOCK_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if memory.count_flaky(model, mock_id) >= failing {
        return behaviour.without_faults();
    }
    if !behaviour.is_faulty() {
        behaviour.refusal = Some(Refusal::Status(StatusCode::SERVICE_UNAVAILABLE));
    }
    behaviour
}

fn stream(
    answer: Answer,
    is_usage_wanted: bool,
    behaviour: &Behaviour,
    mut exchange: Exchange,
    control: Arc<Control>,
) -> Response<MockBody> {
    exchange.answer(StatusCode::OK, true);
    let mut script: Script = Box::new(AnswerStream::new(answer, behaviour.stream, is_usage_wanted));
    if behaviour.gzip {
        script = Box::new(Gzipped::new(script));
    }
    let body = MockBody::scripted(script, exchange, control, behaviour.split_bytes);
    encoded(respond::with_type("text/event-stream; charset=utf-8", body), behaviour)
}

fn whole(
    answer: &Answer,
    behaviour: &Behaviour,
    mut exchange: Exchange,
    control: Arc<Control>,
) -> Response<MockBody> {
    let mut json = Bytes::from(completion::render(answer));
    if behaviour.gzip {
        json = Bytes::from(gzip::whole(&json));
    }
    let script: Vec<Step> = match behaviour.delivery {
        Delivery::Whole => {
            let response = respond::json(StatusCode::OK, json, exchange, behaviour.split_bytes);
            return encoded(response, behaviour);
        }
        Delivery::Chunked => vec![Step::send(json.clone())],
        Delivery::Truncated => vec![Step::send(json.slice(..json.len() / 2)), Step::Cut],
    };
    exchange.answer(StatusCode::OK, false);
    let body = MockBody::scripted(Box::new(script.into_iter()), exchange, control, behaviour.split_bytes);
    let mut response = respond::with_type(respond::JSON, body);
    if behaviour.delivery == Delivery::Truncated {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(json.len()));
    }
    encoded(response, behaviour)
}

fn encoded(mut response: Response<MockBody>, behaviour: &Behaviour) -> Response<MockBody> {
    if behaviour.gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
