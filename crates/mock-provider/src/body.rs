//! Sends a script: the response body that hyper polls.
//!
//! Invariant: dropping the body before its end is reported as the client having gone.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::{Ending, Exchange};
use crate::script::{Script, Step};
use crate::wire::Control;

/// A response body.
pub enum MockBody {
    /// All bytes at once.
    Whole {
        /// What is left to send.
        bytes: Bytes,
        /// The most bytes of a frame.
        split_bytes: Option<NonZeroUsize>,
        /// Recorded request, if the answer is to one.
        exchange: Option<Exchange>,
    },
    /// Step by step.
    Scripted(Box<ScriptedBody>),
}

/// A body that plays a script.
pub struct ScriptedBody {
    script: Script,
    exchange: Exchange,
    control: Arc<Control>,
    split_bytes: Option<NonZeroUsize>,
    /// Frames of an event that is sent in several.
    ready: VecDeque<Bytes>,
    started: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    state: State,
}

enum State {
    Playing,
    Cutting,
    Stalled,
}

impl MockBody {
    /// A body outside any exchange.
    pub fn plain(bytes: impl Into<Bytes>) -> Self {
        Self::Whole { bytes: bytes.into(), split_bytes: None, exchange: None }
    }

    /// A body that plays `script` on the connection of `control`.
    pub fn scripted(
        script: Script,
        exchange: Exchange,
        control: Arc<Control>,
        split_bytes: Option<NonZeroUsize>,
    ) -> Self {
        Self::Scripted(Box::new(ScriptedBody {
            script,
            exchange,
            control,
            split_bytes,
            ready: VecDeque::new(),
            started: Instant::now(),
            sleep: None,
            state: State::Playing,
        }))
    }
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole { bytes, split_bytes, exchange } => {
                let frame = take_frame(bytes, *split_bytes);
                if let (Some(frame), Some(exchange)) = (&frame, exchange) {
                    exchange.count(frame.len(), false);
                    if bytes.is_empty() {
                        exchange.end(Ending::Completed);
                    }
                }
                Poll::Ready(frame.map(|frame| Ok(Frame::data(frame))))
            }
            Self::Scripted(body) => body.poll_step(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole { bytes, .. } if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Self::Scripted(_) => SizeHint::default(),
        }
    }
}

fn take_frame(bytes: &mut Bytes, split_bytes: Option<NonZeroUsize>) -> Option<Bytes> {
    if bytes.is_empty() {
        return None;
    }
    let most = split_bytes.map_or(bytes.len(), |most| most.get().min(bytes.len()));
    Some(bytes.split_to(most))
}

impl ScriptedBody {
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.state {
                State::Playing => {}
                State::Stalled => return Poll::Pending,
                // Without the wait the last chunks would be lost with hyper's buffer.
                State::Cutting if !self.control.is_flushed() => return Poll::Pending,
                State::Cutting => {
                    self.exchange.end(Ending::CutByMock);
                    return Poll::Ready(Some(Err(io::Error::other("cut, as the model name asks"))));
                }
            }
            if let Some(frame) = self.ready.pop_front() {
                self.exchange.count(frame.len(), false);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            match self.script.next() {
                Some(Step::Send { mut bytes, is_content }) => {
                    self.exchange.count(0, is_content);
                    while let Some(frame) = take_frame(&mut bytes, self.split_bytes) {
                        self.ready.push_back(frame);
                    }
                }
                Some(Step::WaitUntil(due)) => self.sleep = Some(Box::pin(sleep_until(self.started + due))),
                Some(Step::Cut) => {
                    self.state = State::Cutting;
                    self.control.await_flush();
                    return Poll::Pending;
                }
                Some(Step::Stall) => self.state = State::Stalled,
                None => {
                    self.exchange.end(Ending::Completed);
                    return Poll::Ready(None);
                }
            }
        }
    }
}
