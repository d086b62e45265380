//! How long a client is left without a byte, and without being looked for.

use crate::alarm::Alarm;
use crate::pulse::Pulse;
use crate::{Beat, Clock, End, Heard, Late, Options, Sink};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// The result of `work` if it comes before `at_ms`, else the work itself, still under way: then the client is told that
/// an answer comes, and [`relay`](crate::relay) waits for it with signs of life.
///
/// # Errors
/// The work, when the client's patience is over first.
pub async fn within_patience<F: Future + Unpin>(
    mut work: F,
    at_ms: u64,
    clock: &impl Clock,
) -> Result<F::Output, F> {
    match Alarm::default().race(Pin::new(&mut work), at_ms, clock).await {
        Some(result) => Ok(result),
        None => Err(work),
    }
}

/// The result of `work` if it comes before anything is heard, else the work itself, still under way: then the client can be
/// told that an answer comes, and [`attended`] waits for it.
///
/// # Errors
/// The work, once an upstream has begun to answer. `work` must be what tells `heard`.
pub async fn until_heard<F: Future + Unpin>(mut work: F, heard: &Heard) -> Result<F::Output, F> {
    let ready = poll_fn(|cx| match Pin::new(&mut work).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if heard.has_spoken() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match ready.await {
        Some(result) => Ok(result),
        None => Err(work),
    }
}

/// The result of `work`, for which a client waits that is told nothing meanwhile but is looked for every
/// [`probe_ms`](Beat::probe_ms).
///
/// # Errors
/// How it ended instead, and `work` was dropped: the client has gone, or [`total_ms`](crate::Limits::total_ms) is over.
pub async fn attended<T>(
    work: impl Future<Output = T>,
    client: &mut impl Sink,
    options: &Options,
    clock: &impl Clock,
) -> Result<T, End> {
    let beat = Beat { keepalive_ms: 0, ..options.beat };
    let mut pulse = Pulse::new(client, clock, beat, options.limits.client_ms);
    pulse.wait(work, (options.limits.total_ms, Late::Total)).await.map_err(End::from)
}
