//! Answers to the client.

use crate::error::{Cause, UpstreamFailed};
use crate::host::{self, BodyWriter};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use raw_http::Response;
use relay::ClientGone;

/// A response under construction: what the client gets, before it becomes the host's.
pub struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Body,
}

/// What fills a response.
enum Body {
    /// Held whole: goes out as one frame with its `content-length`. What follows learns whether the client took it.
    Whole(Vec<u8>, Option<Afterwards>),
    /// Written by a task while it is sent.
    Streamed(Fill),
}

type Afterwards = Box<dyn FnOnce(Result<(), ClientGone>) -> LocalBoxFuture<'static, ()>>;
type Fill = Box<dyn FnOnce(BodyWriter) -> LocalBoxFuture<'static, ()>>;

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: Vec<u8>) -> Self {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Reply::whole(status, headers, body)
    }

    /// An answer held whole, with these headers.
    pub fn whole(status: u16, headers: HeaderMap, body: Vec<u8>) -> Self {
        Reply { status, headers, body: Body::Whole(body, None) }
    }

    /// Does `work` when the client has the answer, or has left; an answer that is not held whole has its own task.
    pub fn and_then<Work>(mut self, work: impl FnOnce(Result<(), ClientGone>) -> Work + 'static) -> Self
    where
        Work: Future<Output = ()> + 'static,
    {
        if let Body::Whole(_, afterwards) = &mut self.body {
            *afterwards = Some(Box::new(move |taken| work(taken).boxed_local()));
        }
        self
    }

    /// An answer whose body `fill` writes and ends. What it writes first should be at hand: it leaves with the head.
    pub fn streamed<Work>(
        status: u16,
        headers: HeaderMap,
        fill: impl FnOnce(BodyWriter) -> Work + 'static,
    ) -> Self
    where
        Work: Future<Output = ()> + 'static,
    {
        Reply { status, headers, body: Body::Streamed(Box::new(move |writer| fill(writer).boxed_local())) }
    }

    /// An error in the shape of the OpenAI API.
    pub fn error(cause: &Cause) -> Self {
        let error = cause.to_api_error();
        let mut reply = Reply::json(error.status, error.to_json().into_bytes());
        match cause {
            Cause::MethodNotAllowed { allow } => reply.set(header::ALLOW, allow),
            Cause::LimiterUnavailable | Cause::VariableUnreadable { .. } => {
                reply.set(header::RETRY_AFTER, "1")
            }
            Cause::NoAnswer(UpstreamFailed::NoneLeft { retry_after_s: Some(seconds) }) => {
                reply.set(header::RETRY_AFTER, &seconds.to_string());
            }
            Cause::Configuration(_) => reply.set(X_SHOULD_RETRY, "false"),
            _ => {}
        }
        reply
    }

    /// Sets a header; a value that is no header value is left out.
    pub fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    /// Adds these headers, replacing those of the same name.
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Adds the request id.
    pub fn with_request_id(mut self, id: &str) -> Self {
        self.set(X_REQUEST_ID, id);
        self
    }

    /// Hands the response to the host. The body is written by a task of its own, which begins only now: head and
    /// first bytes leave in one segment, see [`host::one_segment`].
    pub async fn into_host(mut self) -> Response {
        host::one_segment().await;
        let (writer, reader) = host::body();
        match self.body {
            Body::Streamed(fill) => host::spawn(fill(writer)),
            Body::Whole(body, afterwards) => {
                self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
                host::spawn(async move {
                    let taken = writer.write_whole(body, host::client_within()).await;
                    if let Some(work) = afterwards {
                        work(taken).await;
                    }
                });
            }
        }
        host::response(self.status, &self.headers, reader)
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Tells the OpenAI SDKs whether a retry makes sense, whatever the status says.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
