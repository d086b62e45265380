//! The sliding window: what counts at an instant, and when an amount will fit.
//!
//! Time is cut into minutes counted from the Unix epoch. What is used at an instant is all of the current minute's
//! tokens plus the previous minute's, weighted by the share of it that still lies within the last 60 seconds:
//!
//! ```text
//! used = current + ⌈previous × (60,000 − elapsed_ms) ÷ 60,000⌉
//! ```
//!
//! This is the approximation of <https://blog.cloudflare.com/counting-things-a-lot-of-different-things/>, rounded up so
//! that it errs to the strict side. It takes two counters however many requests there are, and no boundary
//! admits double. Without other traffic `used` never grows with time: the search for a retry relies on it.

/// Length of a window in milliseconds.
pub const WINDOW_MS: u64 = 60_000;

/// Index of the window that `now_ms` (since the Unix epoch) lies in.
pub fn window_of(now_ms: u64) -> u64 {
    now_ms / WINDOW_MS
}

/// Milliseconds of the current window that have passed, below [`WINDOW_MS`].
fn elapsed_ms(now_ms: u64) -> u64 {
    now_ms % WINDOW_MS
}

/// What the two counters that matter at an instant hold, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens of the window that the instant lies in.
    pub current: u64,
    /// Tokens of the window before.
    pub previous: u64,
}

impl Counts {
    /// Tokens that count as used at `now_ms`.
    pub fn used(self, now_ms: u64) -> u64 {
        let share = u128::from(self.previous) * u128::from(WINDOW_MS.saturating_sub(elapsed_ms(now_ms)));
        let weighted = u64::try_from(share.div_ceil(u128::from(WINDOW_MS))).unwrap_or(u64::MAX);
        self.current.saturating_add(weighted)
    }

    /// Whether `amount` more tokens stay within `limit_tokens` at `now_ms`.
    pub fn fits(self, amount: u64, limit_tokens: u64, now_ms: u64) -> bool {
        self.used(now_ms).saturating_add(amount) <= limit_tokens
    }

    /// Whole seconds, at least 1, until `amount` fits if nobody else asks; `None` when it never will, because it is
    /// more than the limit.
    pub fn retry_after_s(self, amount: u64, limit_tokens: u64, now_ms: u64) -> Option<u64> {
        if amount > limit_tokens {
            return None;
        }
        // Two windows on, nothing of today's counts is left: the search always ends.
        (1..=2 * WINDOW_MS / 1000).find(|seconds| {
            let later_ms = now_ms.saturating_add(seconds * 1000);
            self.seen_from(now_ms, later_ms).fits(amount, limit_tokens, later_ms)
        })
    }

    /// Milliseconds until nothing counts as used if nobody asks.
    pub fn reset_ms(self, now_ms: u64) -> u64 {
        let to_next_window = WINDOW_MS.saturating_sub(elapsed_ms(now_ms));
        match self {
            Counts { current: 1.., .. } => to_next_window.saturating_add(WINDOW_MS),
            Counts { previous: 1.., .. } => to_next_window,
            Counts { .. } => 0,
        }
    }

    /// The counts as they stand at `later_ms` if nothing is added to those of `now_ms`.
    fn seen_from(self, now_ms: u64, later_ms: u64) -> Counts {
        match window_of(later_ms).saturating_sub(window_of(now_ms)) {
            0 => self,
            1 => Counts { current: 0, previous: self.current },
            _ => Counts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START_MS: u64 = 29_000_000 * WINDOW_MS;

    #[test]
    fn the_previous_window_fades_and_rounds_up() {
        let counts = Counts { current: 10, previous: 100 };
        for (elapsed_ms, used) in
            [(0, 110), (1, 110), (600, 109), (30_000, 60), (59_400, 11), (59_401, 11), (59_999, 11)]
        {
            assert_eq!(counts.used(START_MS + elapsed_ms), used, "{elapsed_ms}");
        }
    }

    #[test]
    fn extreme_counts_saturate() {
        let counts = Counts { current: u64::MAX, previous: u64::MAX };
        assert_eq!(counts.used(START_MS), u64::MAX);
        assert!(!counts.fits(1, u64::MAX - 1, START_MS));
        assert_eq!(counts.retry_after_s(1, 1, u64::MAX), None, "time itself ends");
    }

    #[test]
    fn an_amount_over_the_limit_has_no_retry() {
        assert_eq!(Counts::default().retry_after_s(11, 10, START_MS), None);
        assert_eq!(Counts::default().retry_after_s(10, 10, START_MS), Some(1));
    }

    #[test]
    fn the_reset_is_when_the_window_is_back_to_full() {
        for (current, previous, reset_ms) in [(0, 0, 0), (0, 1, 59_000), (1, 0, 119_000), (1, 1, 119_000)] {
            assert_eq!(Counts { current, previous }.reset_ms(START_MS + 1_000), reset_ms);
        }
    }

    prop_compose! {
        fn situation()(limit in 1_u64..5_000)(
            limit in Just(limit), amount in 1..=limit, current in 0..=3 * limit, previous in 0..=3 * limit,
            elapsed in 0..WINDOW_MS,
        ) -> (Counts, u64, u64, u64) {
            (Counts { current, previous }, amount, limit, START_MS + elapsed)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_retry_is_refused_at_every_second_before_and_admitted_exactly_then(
            (counts, amount, limit, now_ms) in situation(),
        ) {
            let wait_s = counts.retry_after_s(amount, limit, now_ms).unwrap();
            prop_assert!((1..=120).contains(&wait_s));
            for second in 1..=wait_s {
                // What the two counters hold then, said the long way: by window index.
                let later_ms = now_ms + second * 1000;
                let held = |window| match window {
                    w if w == now_ms / 60_000 => counts.current,
                    w if w + 1 == now_ms / 60_000 => counts.previous,
                    _ => 0,
                };
                let window = later_ms / 60_000;
                let then = Counts { current: held(window), previous: held(window - 1) };
                prop_assert_eq!(then.fits(amount, limit, later_ms), second == wait_s, "after {} s", second);
            }
        }

        #[test]
        fn use_never_grows_on_its_own_and_ends_at_the_reset(
            (counts, _, _, now_ms) in situation(), step_ms in 1_usize..30_000,
        ) {
            let reset_ms = counts.reset_ms(now_ms);
            let mut used = counts.used(now_ms);
            for later_ms in (now_ms..=now_ms + reset_ms).step_by(step_ms) {
                let then = counts.seen_from(now_ms, later_ms).used(later_ms);
                prop_assert!(then <= used);
                used = then;
            }
            let at_end = now_ms + reset_ms;
            prop_assert_eq!(counts.seen_from(now_ms, at_end).used(at_end), 0);
            if reset_ms > 0 {
                let before = at_end - 1;
                prop_assert!(counts.seen_from(now_ms, before).used(before) > 0);
            }
        }
    }
}
