//! What was used in the last minute, or in any other interval, from two counters.
//!
//! The approximation of the token limiter (`quota::window`): all of the current interval's, and of the previous one's the
//! share that still lies within one interval from now.

/// A count over the last `interval_ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlidingCount {
    interval: u64,
    current: u64,
    previous: u64,
}

impl SlidingCount {
    /// Of counts that were kept elsewhere: of the interval with this number, and of the one before.
    pub fn of(interval: u64, current: u64, previous: u64) -> Self {
        SlidingCount { interval, current, previous }
    }

    /// Adds to the current interval.
    pub fn add(&mut self, amount: u64, now_ms: u64, interval_ms: u64) {
        self.move_to(now_ms, interval_ms);
        self.current = self.current.saturating_add(amount);
    }

    /// What the interval before the one with this number came to, as far as is known.
    pub(crate) fn previous_at(&self, interval: u64) -> u64 {
        match interval.checked_sub(self.interval) {
            Some(0) => self.previous,
            Some(1) => self.current,
            _ => 0,
        }
    }

    /// What counts now, rounded up.
    pub fn count(&self, now_ms: u64, interval_ms: u64) -> u64 {
        let mut moved = *self;
        moved.move_to(now_ms, interval_ms);
        sliding(moved.current, moved.previous, now_ms, interval_ms)
    }

    /// The first moment, from now on, at which no more than `most` count, if nothing is added.
    pub fn falls_to_ms(&self, most: u64, now_ms: u64, interval_ms: u64) -> u64 {
        let (mut moved, interval_ms) = (*self, interval_ms.max(1));
        moved.move_to(now_ms, interval_ms);
        let mut at_ms = now_ms;
        // This interval, the next, in which all of this one's counts as its previous, and the one after, in which nothing does.
        for _ in 0..2 {
            let end_ms = (at_ms / interval_ms).saturating_add(1).saturating_mul(interval_ms);
            if let Some(most) = most.checked_sub(moved.current) {
                // ⌈previous × left ÷ interval⌉ ≤ most, solved for what is left of the interval.
                let left_ms = (u128::from(most) * u128::from(interval_ms))
                    .checked_div(u128::from(moved.previous))
                    .map_or(u64::MAX, |left| u64::try_from(left).unwrap_or(u64::MAX));
                if left_ms > 0 {
                    return at_ms.max(end_ms.saturating_sub(left_ms));
                }
            }
            at_ms = end_ms;
            moved.move_to(at_ms, interval_ms);
        }
        at_ms
    }

    fn move_to(&mut self, now_ms: u64, interval_ms: u64) {
        let interval = now_ms / interval_ms.max(1);
        if interval == self.interval.saturating_add(1) {
            *self = SlidingCount { interval, current: 0, previous: self.current };
        } else if interval > self.interval {
            *self = SlidingCount { interval, current: 0, previous: 0 };
        }
        // A clock that went back adds to the interval that is there.
    }
}

/// All of the current interval's count, and of the previous one's what lies within `interval_ms` from `now_ms`.
pub fn sliding(current: u64, previous: u64, now_ms: u64, interval_ms: u64) -> u64 {
    let interval_ms = interval_ms.max(1);
    let left_ms = interval_ms.saturating_sub(now_ms % interval_ms);
    let share = (u128::from(previous) * u128::from(left_ms)).div_ceil(u128::from(interval_ms));
    current.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_no_less_than_the_last_interval_and_no_more_than_the_last_two(
            steps in prop::collection::vec((0..90_u64, 0..700_u64), 1..60), interval_ms in 1..500_u64,
        ) {
            let (mut count, mut events, mut now_ms) = (SlidingCount::default(), Vec::new(), 1_000_000);
            for (amount, wait_ms) in steps {
                now_ms += wait_ms;
                count.add(amount, now_ms, interval_ms);
                events.push((now_ms, amount));
                let since = |from: u64| events.iter().filter(|(at, _)| *at >= from).map(|(_, n)| n).sum::<u64>();
                let (start, counted) = (now_ms / interval_ms * interval_ms, count.count(now_ms, interval_ms));
                let (current, previous) = (since(start), since(start - interval_ms) - since(start));
                let exact = previous * (interval_ms - (now_ms - start)) ;
                prop_assert_eq!(counted, current + exact.div_ceil(interval_ms));
                prop_assert_eq!(count.count(now_ms + 2 * interval_ms, interval_ms), 0);
            }
        }
    }

    proptest! {
        #[test]
        fn it_falls_to_a_count_when_trying_every_moment_says_so(
            steps in prop::collection::vec((0..90_u64, 0..40_u64), 1..6), interval_ms in 1..50_u64, most in 0..200_u64,
        ) {
            let (mut count, mut now_ms) = (SlidingCount::default(), 1_000);
            for (amount, wait_ms) in steps {
                now_ms += wait_ms;
                count.add(amount, now_ms, interval_ms);
            }
            let tried = (now_ms..).find(|at_ms| count.count(*at_ms, interval_ms) <= most);
            prop_assert_eq!(Some(count.falls_to_ms(most, now_ms, interval_ms)), tried);
        }
    }
}
