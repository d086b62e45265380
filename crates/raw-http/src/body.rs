//! Bodies as they come in.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::{Body, Frame, SizeHint};
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response, Trailers};
use spin_sdk::wasip3::wit_future;
use spin_sdk::wit_bindgen::{FutureReader, StreamReader, StreamResult};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Most bytes read at once from a body of unknown length: most answers and most pieces of a stream fit.
const READ_BYTES: usize = 32 * 1024;
/// Most bytes read at once from a body of declared length. The host gives no more than it has at hand.
const READ_DECLARED_BYTES: usize = 256 * 1024;

/// How a body ended: its trailers, or what broke it off.
pub type End = FutureReader<Result<Option<Trailers>, ErrorCode>>;

/// The length that a message declares; none where a transfer coding overrides it (RFC 9112 §6.3).
pub fn declared_length(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH).filter(|_| !headers.contains_key(TRANSFER_ENCODING))?;
    length.to_str().ok()?.parse().ok()
}

/// A body that the host gives, read as it comes.
pub struct IncomingBody {
    stream: StreamReader<u8>,
    trailers: End,
    /// Bytes that were declared and have not come yet; `None` without a declaration.
    missing: Option<usize>,
}

impl IncomingBody {
    /// The reading side of a body that this component writes itself.
    pub fn new(stream: StreamReader<u8>, trailers: End) -> Self {
        IncomingBody { stream, trailers, missing: None }
    }

    /// The body of a request. `declared` is its `content-length`.
    pub fn of_request(request: Request, declared: Option<usize>) -> Self {
        let (taken, result) = wit_future::new(|| Ok(()));
        let (stream, trailers) = Request::consume_body(request, result);
        // Written only now that the host waits for it, which takes no turn of its own.
        drop(taken);
        IncomingBody { stream, trailers, missing: declared }
    }

    /// The body of an answer. `declared` is its `content-length`.
    pub fn of_response(response: Response, declared: Option<usize>) -> Self {
        let (taken, result) = wit_future::new(|| Ok(()));
        let (stream, trailers) = Response::consume_body(response, result);
        drop(taken);
        IncomingBody { stream, trailers, missing: declared }
    }

    /// What the host needs to send it.
    pub fn into_parts(self) -> (StreamReader<u8>, End) {
        (self.stream, self.trailers)
    }

    /// The next bytes; `None` at the end, and then at every further call.
    ///
    /// # Errors
    /// When the body ends before its end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ErrorCode> {
        let most = match self.missing {
            // The end of the stream and the trailers are not asked for: they could say nothing more.
            Some(0) => return Ok(None),
            Some(missing) => missing.min(READ_DECLARED_BYTES),
            None => READ_BYTES,
        };
        let (result, piece) = self.stream.read(Vec::with_capacity(most)).await;
        if !piece.is_empty() {
            self.missing = self.missing.map(|missing| missing.saturating_sub(piece.len()));
            return Ok(Some(piece));
        }
        match result {
            StreamResult::Complete(_) => Ok(Some(piece)),
            StreamResult::Dropped | StreamResult::Cancelled => self.end().await,
        }
    }

    /// How a stream ended is known from its trailers only.
    async fn end(&mut self) -> Result<Option<Vec<u8>>, ErrorCode> {
        // The future can be read once; a second call reads the one put in its place, which says the same as a clean end.
        let (_, used_up) = wit_future::new(|| Ok(None));
        std::mem::replace(&mut self.trailers, used_up).await?;
        match self.missing {
            None => Ok(None),
            Some(_) => Err(ErrorCode::HttpResponseIncomplete),
        }
    }

    /// The same as an [`http_body::Body`].
    pub fn into_frames(self) -> Frames {
        Frames(State::Idle(self))
    }
}

/// An [`IncomingBody`] as an [`http_body::Body`].
pub struct Frames(State);

type Piece = Result<Option<Vec<u8>>, ErrorCode>;

enum State {
    Idle(IncomingBody),
    Reading(Pin<Box<dyn Future<Output = (Piece, IncomingBody)>>>),
    Ended,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ErrorCode>>> {
        let mut reading = match std::mem::replace(&mut self.0, State::Ended) {
            State::Idle(IncomingBody { missing: Some(0), .. }) | State::Ended => return Poll::Ready(None),
            State::Idle(mut body) => Box::pin(async move { (body.next().await, body) }),
            State::Reading(reading) => reading,
        };
        let Poll::Ready((piece, body)) = reading.as_mut().poll(cx) else {
            self.0 = State::Reading(reading);
            return Poll::Pending;
        };
        Poll::Ready(match piece {
            Ok(Some(piece)) => {
                self.0 = State::Idle(body);
                Some(Ok(Frame::data(piece.into())))
            }
            Ok(None) => None,
            Err(code) => Some(Err(code)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended | State::Idle(IncomingBody { missing: Some(0), .. }))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Idle(IncomingBody { missing: Some(missing), .. }) => {
                SizeHint::with_exact(u64::try_from(*missing).unwrap_or(u64::MAX))
            }
            State::Idle(_) | State::Reading(_) | State::Ended => SizeHint::default(),
        }
    }
}
