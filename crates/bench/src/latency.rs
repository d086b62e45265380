//! How long things took, as a histogram with three significant digits.

use anyhow::Context as _;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest duration that is told apart: a minute, in nanoseconds.
const MAX_NS: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Durations.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never with these bounds, which the histogram checks.
    pub fn new() -> anyhow::Result<Self> {
        let histogram =
            Histogram::new_with_bounds(1, MAX_NS, SIGNIFICANT_DIGITS).context("histogram bounds")?;
        Ok(Self { histogram })
    }

    /// Adds one; what exceeds a minute counts as a minute.
    pub fn record(&mut self, duration: Duration) {
        self.histogram.saturating_record(u64::try_from(duration.as_nanos()).unwrap_or(MAX_NS));
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The value that the given share, 0 to 1, does not exceed: in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        // Nanoseconds up to a minute are exact in a double.
        self.histogram.value_at_quantile(share) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_true_to_a_thousandth() {
        let mut latencies = Latencies::new().unwrap();
        for us in 1..=1000 {
            latencies.record(Duration::from_micros(us));
        }
        assert_eq!(latencies.count(), 1000);
        for (share, us) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = latencies.quantile_us(share);
            assert!((found - us).abs() <= us / 500.0, "{share}: {found}");
        }
    }

    #[test]
    fn an_hour_counts_as_a_minute() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(3600));
        assert!(latencies.quantile_us(1.0) >= 59e6);
    }
}
