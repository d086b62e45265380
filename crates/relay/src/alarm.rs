//! Waiting for work and for a moment at once, without a new timer for every event.
//!
//! A timer is a call to the platform. Deadlines of a stream move on with every event, and almost never come, so the timer
//! is set for the earliest moment and only looked at again when it rings: then, if the deadline has moved, it is set anew.

use crate::{Clock, Sleep};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// One timer for a whole stream.
#[derive(Default)]
pub(crate) struct Alarm {
    armed: Option<(u64, Sleep)>,
}

impl Alarm {
    /// The result of `work`, or `None` once the clock says `at_ms`; work that is ready goes first, and is not dropped.
    pub(crate) async fn race<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = T>>,
        at_ms: u64,
        clock: &impl Clock,
    ) -> Option<T> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => self.poll(cx, at_ms, clock).map(|()| None),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>, at_ms: u64, clock: &impl Clock) -> Poll<()> {
        if at_ms == u64::MAX {
            return Poll::Pending;
        }
        loop {
            if let Some((armed_at_ms, sleep)) = &mut self.armed
                && *armed_at_ms <= at_ms
            {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.armed = None;
            }
            let now_ms = clock.now_ms();
            if now_ms >= at_ms {
                return Poll::Ready(());
            }
            self.armed = Some((at_ms, clock.sleep(at_ms - now_ms)));
        }
    }
}
