//! Windows at an instant: which counters matter, how much of them counts as used, and when an amount will fit.
//!
//! **Any 60 seconds.** Time is cut into minutes counted from the Unix epoch. What is used at an instant is all of the
//! current minute's plus the previous minute's, weighted by the share of it that still lies within the last 60 seconds:
//!
//! ```text
//! used = current + ⌈older × (60,000 − elapsed_ms) ÷ 60,000⌉
//! ```
//!
//! This is the approximation of <https://blog.cloudflare.com/counting-things-a-lot-of-different-things/>, rounded up so
//! that it errs to the strict side. It takes two counters however many requests there are, and no boundary admits double.
//!
//! **A calendar's or rolling window**: one counter, used in full until the window ends.
//!
//! **While requests run**: time is cut into buckets of a quarter of the lease. A request is counted in the bucket in
//! which it began until it gives its place back, or until that bucket is five back: one lease at least, a quarter more at most.
//!
//! Without other traffic what is used never grows with time: the search for a retry relies on it.

use crate::counter::{Counter, Slot};
use gateway_config::{Check, Window};

/// Length of a minute in milliseconds.
pub(crate) const MINUTE_MS: u64 = 60_000;

/// Buckets in a lease.
const BUCKETS: u64 = 4;

/// Length of one of them.
pub(crate) fn bucket_ms(lease_s: u64) -> u64 {
    lease_s.saturating_mul(1_000).div_ceil(BUCKETS).max(1)
}

/// The window of one check at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Any 60 seconds.
    Minute {
        /// Index of the current minute.
        index: u64,
    },
    /// One counter until the window ends.
    Until {
        /// What the window is called in the key.
        window: u64,
        /// The first millisecond after it.
        ends_ms: u64,
        /// The last minute in which anybody looks at its key; `None` when it rolls from first use in a store of scripts.
        expires: Option<u64>,
    },
    /// From first use, in a store of counters: see `rolling`.
    Rolling {
        /// The slot in which the window began, which is what it is called.
        window: u64,
        /// The slot of now: the same or the next.
        slot: u64,
        /// When it began.
        start_ms: u64,
        /// How long it and every slot is.
        length_ms: u64,
        /// Whether what the window before holds counts as well.
        with_before: bool,
    },
    /// While requests run.
    Lease {
        /// Index of the current bucket.
        bucket: u64,
        /// Its length.
        bucket_ms: u64,
    },
}

impl Frame {
    /// The window at `now_ms` of a check whose windows the clock alone decides; `None` for one that rolls from first use.
    pub fn by_the_clock(check: &Check, now_ms: u64) -> Option<Self> {
        match &check.window {
            Window::SlidingMinute => Some(Frame::Minute { index: now_ms / MINUTE_MS }),
            Window::Calendar(period, zone) => Some(match crate::calendar::stretch(*period, zone, now_ms) {
                Some(stretch) => Frame::Until {
                    window: stretch.start_ms / 1_000,
                    ends_ms: stretch.end_ms,
                    expires: Some(stretch.end_ms.div_ceil(MINUTE_MS)),
                },
                // Beyond the year 9999: one window to the end of time.
                None => Frame::Until { window: u64::MAX, ends_ms: u64::MAX, expires: Some(u64::MAX) },
            }),
            Window::Rolling(_) => None,
            Window::Lease { lease_s } => {
                let bucket_ms = bucket_ms(*lease_s);
                Some(Frame::Lease { bucket: now_ms / bucket_ms, bucket_ms })
            }
        }
    }

    /// The key that is charged.
    pub fn current(&self, counter: &Counter) -> Slot {
        match *self {
            Frame::Minute { index } => self.at(counter, index),
            Frame::Until { window, expires, .. } => Slot { counter: counter.clone(), window, expires },
            Frame::Rolling { window, .. } => self.at(counter, window),
            Frame::Lease { bucket, .. } => self.at(counter, bucket),
        }
    }

    /// The keys of before that count as well, newest first.
    pub fn older(&self, counter: &Counter) -> Vec<Slot> {
        let back = |from: u64, count: u64| {
            (1..=count).filter_map(|by| from.checked_sub(by)).map(|at| self.at(counter, at)).collect()
        };
        match *self {
            Frame::Minute { index } => back(index, 1),
            Frame::Until { .. } => Vec::new(),
            Frame::Rolling { window, with_before, .. } => back(window, u64::from(with_before)),
            Frame::Lease { bucket, .. } => back(bucket, BUCKETS),
        }
    }

    fn at(&self, counter: &Counter, window: u64) -> Slot {
        let expires = match *self {
            Frame::Minute { .. } => Some(window.saturating_add(1)),
            Frame::Until { expires, .. } => expires,
            Frame::Rolling { length_ms, .. } => return crate::rolling::slot_of(counter, length_ms, window),
            Frame::Lease { bucket_ms, .. } => {
                let last_ms = window.saturating_add(BUCKETS + 1).saturating_mul(bucket_ms);
                Some(last_ms.div_ceil(MINUTE_MS))
            }
        };
        Slot { counter: counter.clone(), window, expires }
    }

    /// The first millisecond after a window that ends by itself; the end of time for those that fade.
    fn ends_ms(&self) -> u64 {
        match *self {
            Frame::Until { ends_ms, .. } => ends_ms,
            Frame::Rolling { start_ms, length_ms, .. } => start_ms.saturating_add(length_ms),
            Frame::Minute { .. } | Frame::Lease { .. } => u64::MAX,
        }
    }

    /// Whether this is still the window at `now_ms`, or its slot the slot, for those that look at what came before; a
    /// calendar's counts what was charged by the clock when it was asked for.
    pub fn is_current(&self, now_ms: u64) -> bool {
        match *self {
            Frame::Minute { index } => now_ms / MINUTE_MS == index,
            Frame::Until { .. } => true,
            Frame::Rolling { slot, length_ms, .. } => now_ms / length_ms.max(1) == slot,
            Frame::Lease { bucket, bucket_ms } => now_ms / bucket_ms == bucket,
        }
    }

    /// How much counts as used at `now_ms`.
    pub fn used(&self, counts: Counts, now_ms: u64) -> u64 {
        match self {
            Frame::Minute { .. } => counts.in_any_minute(now_ms),
            Frame::Until { .. } | Frame::Rolling { .. } | Frame::Lease { .. } => {
                counts.current.saturating_add(counts.older)
            }
        }
    }

    /// Whole seconds, at least 1, until `amount` fits if nobody else asks; `None` when it never will, because it is
    /// more than `size`. For requests that run it is 1: nobody knows when one ends.
    pub fn retry_after_s(&self, counts: Counts, amount: u64, size: u64, now_ms: u64) -> Option<u64> {
        match *self {
            _ if amount > size => None,
            Frame::Minute { .. } => counts.retry_in_any_minute_s(amount, size, now_ms),
            Frame::Until { .. } | Frame::Rolling { .. } => {
                Some(self.ends_ms().saturating_sub(now_ms).div_ceil(1_000).max(1))
            }
            Frame::Lease { .. } => Some(1),
        }
    }

    /// Milliseconds until nothing counts as used if nobody asks; 0 when nothing does. For requests that run it is a
    /// second, for want of knowledge.
    pub fn reset_ms(&self, counts: Counts, now_ms: u64) -> u64 {
        match *self {
            _ if counts == Counts::default() => 0,
            Frame::Minute { .. } => counts.reset_of_minutes_ms(now_ms),
            Frame::Until { .. } | Frame::Rolling { .. } => self.ends_ms().saturating_sub(now_ms),
            Frame::Lease { .. } => 1_000,
        }
    }
}

/// What the counters that matter at an instant hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The current window's.
    pub current: u64,
    /// That of the minute before, or of all older buckets of a lease together.
    pub older: u64,
}

impl Counts {
    fn in_any_minute(self, now_ms: u64) -> u64 {
        let left_ms = MINUTE_MS.saturating_sub(now_ms % MINUTE_MS);
        let share = u128::from(self.older) * u128::from(left_ms);
        let weighted = u64::try_from(share.div_ceil(u128::from(MINUTE_MS))).unwrap_or(u64::MAX);
        self.current.saturating_add(weighted)
    }

    fn retry_in_any_minute_s(self, amount: u64, size: u64, now_ms: u64) -> Option<u64> {
        // Two minutes on, nothing of today's counts is left: the search always ends.
        (1..=2 * MINUTE_MS / 1_000).find(|seconds| {
            let later_ms = now_ms.saturating_add(seconds * 1_000);
            self.seen_from(now_ms, later_ms).in_any_minute(later_ms).saturating_add(amount) <= size
        })
    }

    fn reset_of_minutes_ms(self, now_ms: u64) -> u64 {
        let to_next_minute = MINUTE_MS.saturating_sub(now_ms % MINUTE_MS);
        match self {
            Counts { current: 1.., .. } => to_next_minute.saturating_add(MINUTE_MS),
            Counts { older: 1.., .. } => to_next_minute,
            Counts { .. } => 0,
        }
    }

    /// The counts as they stand at `later_ms` if nothing is added to those of `now_ms`.
    fn seen_from(self, now_ms: u64, later_ms: u64) -> Counts {
        match (later_ms / MINUTE_MS).saturating_sub(now_ms / MINUTE_MS) {
            0 => self,
            1 => Counts { current: 0, older: self.current },
            _ => Counts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START_MS: u64 = 29_000_000 * MINUTE_MS;
    const MINUTE: Frame = Frame::Minute { index: 29_000_000 };

    #[test]
    fn the_older_window_fades_and_rounds_up() {
        let counts = Counts { current: 10, older: 100 };
        for (elapsed_ms, used) in
            [(0, 110), (1, 110), (600, 109), (30_000, 60), (59_400, 11), (59_401, 11), (59_999, 11)]
        {
            assert_eq!(MINUTE.used(counts, START_MS + elapsed_ms), used, "{elapsed_ms}");
        }
    }

    #[test]
    fn extreme_counts_saturate() {
        let counts = Counts { current: u64::MAX, older: u64::MAX };
        assert_eq!(MINUTE.used(counts, START_MS), u64::MAX);
        assert_eq!(MINUTE.retry_after_s(counts, 1, 1, u64::MAX), None, "time itself ends");
    }

    #[test]
    fn an_amount_over_the_limit_has_no_retry() {
        assert_eq!(MINUTE.retry_after_s(Counts::default(), 11, 10, START_MS), None);
        assert_eq!(MINUTE.retry_after_s(Counts::default(), 10, 10, START_MS), Some(1));
    }

    #[test]
    fn the_reset_is_when_the_window_is_back_to_full() {
        for (current, older, reset_ms) in [(0, 0, 0), (0, 1, 59_000), (1, 0, 119_000), (1, 1, 119_000)] {
            assert_eq!(MINUTE.reset_ms(Counts { current, older }, START_MS + 1_000), reset_ms);
        }
    }

    prop_compose! {
        fn situation()(limit in 1_u64..5_000)(
            limit in Just(limit), amount in 1..=limit, current in 0..=3 * limit, older in 0..=3 * limit,
            elapsed in 0..MINUTE_MS,
        ) -> (Counts, u64, u64, u64) {
            (Counts { current, older }, amount, limit, START_MS + elapsed)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_retry_is_refused_at_every_second_before_and_admitted_exactly_then(
            (counts, amount, limit, now_ms) in situation(),
        ) {
            let wait_s = MINUTE.retry_after_s(counts, amount, limit, now_ms).unwrap();
            prop_assert!((1..=120).contains(&wait_s));
            for second in 1..=wait_s {
                // What the two counters hold then, said the long way: by window index.
                let later_ms = now_ms + second * 1000;
                let held = |window| match window {
                    w if w == now_ms / 60_000 => counts.current,
                    w if w + 1 == now_ms / 60_000 => counts.older,
                    _ => 0,
                };
                let window = later_ms / 60_000;
                let then = Counts { current: held(window), older: held(window - 1) };
                prop_assert_eq!(then.in_any_minute(later_ms) + amount <= limit, second == wait_s, "after {} s", second);
            }
        }

        #[test]
        fn use_never_grows_on_its_own_and_ends_at_the_reset(
            (counts, _, _, now_ms) in situation(), step_ms in 1_usize..30_000,
        ) {
            let reset_ms = MINUTE.reset_ms(counts, now_ms);
            let mut used = counts.in_any_minute(now_ms);
            for later_ms in (now_ms..=now_ms + reset_ms).step_by(step_ms) {
                let then = counts.seen_from(now_ms, later_ms).in_any_minute(later_ms);
                prop_assert!(then <= used);
                used = then;
            }
            let at_end = now_ms + reset_ms;
            prop_assert_eq!(counts.seen_from(now_ms, at_end).in_any_minute(at_end), 0);
            if reset_ms > 0 {
                let before = at_end - 1;
                prop_assert!(counts.seen_from(now_ms, before).in_any_minute(before) > 0);
            }
        }
    }
}
