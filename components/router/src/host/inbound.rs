//! A request's body, from a client that may take its time, but not for ever: it holds one of the places of its instance.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use raw_http::{ErrorCode, Frames};
use relay::{Clock, Sleep};
use std::pin::Pin;
use std::task::{Context, Poll};

/// All of a body may take so many times what one piece of it may.
const PIECES: u64 = 10;

/// Why a body did not come.
#[derive(Debug)]
pub enum NotCome {
    /// The client took too long.
    Late,
    /// It left, or broke off.
    Broken,
}

/// A body whose pieces come in time, or which fails.
pub struct Timely<'c, C> {
    frames: Frames,
    clock: &'c C,
    piece_ms: u64,
    until_ms: u64,
    /// Set only while a piece is waited for.
    alarm: Option<Sleep>,
}

impl<'c, C: Clock> Timely<'c, C> {
    /// `piece_ms`: for each piece.
    pub fn new(frames: Frames, clock: &'c C, piece_ms: u64) -> Self {
        let until_ms = clock.now_ms().saturating_add(piece_ms.saturating_mul(PIECES));
        Timely { frames, clock, piece_ms, until_ms, alarm: None }
    }
}

impl<C: Clock> Body for Timely<'_, C> {
    type Data = Bytes;
    type Error = NotCome;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotCome>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.frames).poll_frame(cx) {
            this.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_: ErrorCode| NotCome::Broken)));
        }
        let alarm = this.alarm.get_or_insert_with(|| {
            let left_ms = this.until_ms.saturating_sub(this.clock.now_ms());
            this.clock.sleep(this.piece_ms.min(left_ms))
        });
        alarm.as_mut().poll(cx).map(|()| Some(Err(NotCome::Late)))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.frames.size_hint()
    }
}
