//! How slow the store is and how much requests ask of it: so long may others hold what they will give back.
//!
//! A hint for one instance, of the slowest operation that it has seen lately and the most checks that a request has had.
//! It holds figures, never a name, so that it may outlive a request.

use crate::store::{CounterStore, StoreError};
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a slow operation is remembered.
const REMEMBERED_MS: u64 = 10_000;

/// Longest that is remembered: longer than a store that is fit for the purpose takes for anything.
const SLOWEST_MS: u64 = 1_000;

/// A hold lasts for an operation of each check, taken or given back, and what is in between: a look at the clock and at
/// another window's text.
const BESIDE_CHECKS: u64 = 2;

/// What was seen of the store and of requests.
#[derive(Debug, Default)]
pub struct Pace {
    /// Until when the slowest operation counts, in milliseconds since the Unix epoch, times 1,024, and what it took.
    slowest: AtomicU64,
    checks: AtomicU64,
}

impl Pace {
    /// Nothing was slow yet.
    pub const fn new() -> Self {
        Pace { slowest: AtomicU64::new(0), checks: AtomicU64::new(0) }
    }

    /// How long a hold may last, in milliseconds; 0 when no operation has taken as much as one.
    pub(crate) fn hold_ms(&self, now_ms: u64) -> u64 {
        let operations = self.checks.load(Ordering::Relaxed).saturating_add(BESIDE_CHECKS);
        self.slowest_ms(now_ms).saturating_mul(operations)
    }

    /// Notes how many checks a request has.
    pub(crate) fn note_checks(&self, checks: usize) {
        self.checks.fetch_max(u64::try_from(checks).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long the slowest operation has taken lately, rounded up; 0 when none has taken a millisecond.
    fn slowest_ms(&self, now_ms: u64) -> u64 {
        let held = self.slowest.load(Ordering::Relaxed);
        if held >> 10 < now_ms { 0 } else { held & 1_023 }
    }

    fn note(&self, began_ms: u64, now_ms: u64) {
        let took_ms = now_ms.saturating_sub(began_ms);
        // What a clock of milliseconds calls 1 may be almost 2.
        let took_ms = if took_ms == 0 { 0 } else { took_ms.saturating_add(1).min(SLOWEST_MS) };
        if took_ms > 0 && took_ms >= self.slowest_ms(now_ms) {
            self.slowest.store((now_ms.saturating_add(REMEMBERED_MS) << 10) | took_ms, Ordering::Relaxed);
        }
    }
}

/// A store whose operations are timed.
pub(crate) struct Timed<'s, S, C> {
    pub store: &'s S,
    pub pace: &'s Pace,
    pub clock: C,
}

impl<S: CounterStore, C: Fn() -> u64> Timed<'_, S, C> {
    async fn timed<T>(&self, operation: impl Future<Output = T>) -> T {
        let began_ms = (self.clock)();
        let done = operation.await;
        self.pace.note(began_ms, (self.clock)());
        done
    }
}

impl<S: CounterStore, C: Fn() -> u64> CounterStore for Timed<'_, S, C> {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        self.timed(self.store.get(key)).await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        self.timed(self.store.increment(key, delta)).await
    }

    async fn take(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        self.timed(self.store.take(key, amount)).await
    }

    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.timed(self.store.get_text(key)).await
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.timed(self.store.set_text(key, text)).await
    }

    async fn pause(&self, ms: u64) {
        self.store.pause(ms).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_operation_is_remembered_for_ten_seconds() {
        let pace = Pace::new();
        pace.note(1_000, 1_000);
        assert_eq!(pace.slowest_ms(1_000), 0);
        pace.note(1_000, 1_030);
        pace.note(1_030, 1_032);
        assert_eq!([1_032, 11_030, 11_031].map(|now_ms| pace.slowest_ms(now_ms)), [31, 31, 0]);
        pace.note(11_030, 11_032);
        assert_eq!(pace.slowest_ms(11_032), 3);
        pace.note_checks(4);
        pace.note_checks(2);
        assert_eq!(pace.hold_ms(11_032), 3 * (4 + 2));
        pace.note(0, 1_000_000_000_000_000);
        assert_eq!(pace.slowest_ms(1_000_000_000_000_000), SLOWEST_MS);
    }
}
