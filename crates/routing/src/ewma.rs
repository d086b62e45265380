//! How soon a deployment begins to answer, of late: peak EWMA.
//!
//! As in Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`) and tower (`tower::load::PeakEwma`): the average of past
//! latencies, weighted by e^(−age ÷ decay); a latency above it takes its place at once, so that a slow-down is felt with the
//! first slow answer and forgotten gradually. What is not asked for a while drifts towards zero, and is so tried again.

/// After so long a latency counts for 1 ÷ e: Finagle's default, ten seconds.
const DECAY_MS: f64 = 10_000.0;

/// What is assumed for each request under way at a deployment that has not answered yet: tower's default, a second.
const UNKNOWN_MS: f64 = 1_000.0;

/// The average of one deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PeakEwma {
    average_ms: f64,
    updated_at_ms: Option<u64>,
}

impl PeakEwma {
    /// Takes a latency into account.
    pub fn record(&mut self, latency_ms: u64, now_ms: u64) {
        let latency_ms = approximate(latency_ms);
        let (average_ms, weight) = self.faded(now_ms);
        self.average_ms =
            if latency_ms > average_ms { latency_ms } else { average_ms + latency_ms * (1.0 - weight) };
        self.updated_at_ms = Some(self.updated_at_ms.map_or(now_ms, |at| at.max(now_ms)));
    }

    /// The average as far as it still counts, in ms; 0 of what has not answered yet.
    pub fn average_ms(&self, now_ms: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating, and never negative"
        )]
        let average_ms = self.faded(now_ms).0.ceil() as u64;
        average_ms
    }

    /// What another request would cost: the average, times the requests that would then be under way. A deployment that
    /// has not answered yet costs nothing for the first request, so that it is tried, and a second for each further one.
    pub fn cost(&self, in_flight: u32, now_ms: u64) -> f64 {
        if self.updated_at_ms.is_none() {
            return UNKNOWN_MS * f64::from(in_flight);
        }
        self.faded(now_ms).0 * (f64::from(in_flight) + 1.0)
    }

    /// The average as far as it still counts, and how far that is: 1 now, towards 0 later.
    fn faded(&self, now_ms: u64) -> (f64, f64) {
        let Some(updated_at_ms) = self.updated_at_ms else { return (0.0, 0.0) };
        let age_ms = approximate(now_ms.saturating_sub(updated_at_ms));
        let weight = (-age_ms / DECAY_MS).exp();
        (self.average_ms * weight, weight)
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 ms")]
fn approximate(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_answer_is_felt_at_once_and_forgotten_gradually() {
        let mut ewma = PeakEwma::default();
        ewma.record(100, 0);
        assert_eq!(ewma.cost(0, 0), 100.0);
        ewma.record(3_000, 10);
        assert_eq!(ewma.cost(0, 10), 3_000.0, "the peak takes the average's place");
        ewma.record(100, 20);
        assert!(ewma.cost(0, 20) > 2_900.0, "one good answer does not make up for it");
        for at in 1..=200 {
            ewma.record(100, 20 + at * 500);
        }
        let settled = ewma.cost(0, 20 + 200 * 500);
        assert!((95.0..=105.0).contains(&settled), "{settled}");
    }

    #[test]
    fn what_has_not_answered_yet_is_tried_and_not_flooded() {
        let (unknown, mut known) = (PeakEwma::default(), PeakEwma::default());
        known.record(300, 0);
        assert!(unknown.cost(0, 0) < known.cost(0, 0));
        assert!(unknown.cost(1, 0) > known.cost(2, 0));
    }

    proptest! {
        /// The definition, without the shortcut of an average: every latency with its weight by age.
        #[test]
        fn it_is_between_the_least_and_the_largest_latency_while_it_is_fed(
            latencies in prop::collection::vec((1..10_000_u64, 1..3_000_u64), 1..60),
        ) {
            let mut ewma = PeakEwma::default();
            let mut now_ms = 0;
            let (mut average, mut at) = (0.0_f64, 0_u64);
            for (latency_ms, wait_ms) in latencies {
                now_ms += wait_ms;
                ewma.record(latency_ms, now_ms);
                let weight = (-((now_ms - at) as f64) / 10_000.0).exp();
                let latency = latency_ms as f64;
                average = if latency > average * weight { latency } else { average * weight + latency * (1.0 - weight) };
                at = now_ms;
                prop_assert!((ewma.cost(0, now_ms) - average).abs() < 1e-6);
                prop_assert!(ewma.cost(0, now_ms) >= latency - 1e-9, "never below what was just seen");
                prop_assert!(ewma.cost(0, now_ms) <= 10_000.0);
                prop_assert!(ewma.cost(0, now_ms + 1_000) < ewma.cost(0, now_ms), "it fades");
                prop_assert!((ewma.cost(3, now_ms) - 4.0 * ewma.cost(0, now_ms)).abs() < 1e-6);
            }
        }

        #[test]
        fn a_clock_that_goes_back_does_no_harm(latencies in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20)) {
            let mut ewma = PeakEwma::default();
            for (latency_ms, now_ms) in latencies {
                ewma.record(latency_ms, now_ms);
                prop_assert!(ewma.cost(1, now_ms).is_finite());
            }
        }
    }
}
