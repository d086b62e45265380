//! How long a client is left without a byte.

use crate::Clock;
use crate::alarm::Alarm;
use std::pin::Pin;

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
