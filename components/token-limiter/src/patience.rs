//! How long one piece of work may wait for its store, and when the store may be added to.
//!
//! The store's reads can be given up on; its increments cannot: the only interface that has them blocks the whole
//! instance until the store answers. So a piece of work has one deadline for all that it asks, and adds only to a store
//! that has answered this very piece of work a moment ago. What another one heard does not count: under load somebody
//! always has just heard from a store that hangs now.

use std::cell::Cell;
use std::time::Duration;

/// How long an answer says that the store is there.
const FRESH: Duration = Duration::from_secs(1);

/// One read, however much time the piece of work has: the host's Redis client goes on trying to connect for longer.
const READ_WITHIN: Duration = Duration::from_secs(3);

/// The patience of one piece of work. Times are since any moment that stays the same, and never go back.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    /// When the time is up; set by the first operation, so that counting a long prompt takes nothing of it.
    until: Cell<Option<Duration>>,
    answered_at: Cell<Option<Duration>>,
}

impl Patience {
    /// For so long in all, from the first operation on.
    pub fn of(limit: Duration) -> Self {
        Patience { limit, until: Cell::new(None), answered_at: Cell::new(None) }
    }

    /// How long the next operation may take; `None` when the time is up.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        let until = self.until.get().unwrap_or(now.saturating_add(self.limit));
        self.until.set(Some(until));
        let left = until.saturating_sub(now).min(READ_WITHIN);
        (!left.is_zero()).then_some(left)
    }

    /// Notes that the store has answered.
    pub fn has_answered(&self, now: Duration) {
        self.answered_at.set(Some(now));
    }

    /// Whether the store has answered a moment ago, so that an operation that cannot be given up on may be tried.
    pub fn is_fresh(&self, now: Duration) -> bool {
        self.answered_at.get().is_some_and(|at| now.saturating_sub(at) <= FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn all_operations_together_have_the_time_that_the_first_one_begins() {
        let patience = Patience::of(ms(3_000));
        for (now, left) in
            [(70_000, Some(3_000)), (72_900, Some(100)), (72_999, Some(1)), (73_000, None), (99_000, None)]
        {
            assert_eq!(patience.left(ms(now)), left.map(ms), "{now}");
        }
    }

    #[test]
    fn one_read_has_three_seconds_at_most() {
        assert_eq!(Patience::of(ms(8_000)).left(ms(0)), Some(ms(3_000)));
        assert_eq!(Patience::of(Duration::MAX).left(ms(1)), Some(ms(3_000)));
    }

    #[test]
    fn a_store_is_added_to_for_a_second_after_its_answer() {
        let patience = Patience::of(ms(3_000));
        assert!(!patience.is_fresh(ms(0)), "it has not answered yet");
        patience.has_answered(ms(500));
        for (now, is_fresh) in [(500, true), (1_500, true), (1_501, false), (9_000, false)] {
            assert_eq!(patience.is_fresh(ms(now)), is_fresh, "{now}");
        }
    }
}
