//! The limits by their definition, for requests that come one after the other: a list of what was admitted, summed.

use gateway_config::{Measure, Mode, Window};
use quota::{Counter, Demand};

/// What was admitted, when, and what it came to.
#[derive(Default)]
pub struct Model {
    entries: Vec<(Counter, u64, u64)>,
    /// When the windows from first use began.
    begun: Vec<(Counter, u64)>,
}

impl Model {
    /// Whether the request is admitted; if it is, what it takes stays.
    pub fn ask(&mut self, demands: &[Demand<'_>], now_ms: u64, settle_to: Option<Option<u64>>) -> bool {
        let mut deciding = demands.iter().filter(|demand| demand.limit.mode == Mode::Enforce);
        if !deciding.all(|demand| self.used(demand, now_ms) + demand.amount <= demand.check.size) {
            return false;
        }
        for demand in demands {
            if matches!(demand.check.window, Window::Rolling(_)) && self.begun(demand, now_ms).is_none() {
                self.begun.push((demand.counter.clone(), now_ms));
            }
            let amount = match (settle_to, demand.check.measure) {
                (None, _) | (Some(Some(_)), Measure::Requests) => demand.amount,
                (Some(_), Measure::Parallel) | (Some(None), _) => 0,
                (Some(Some(used)), _) => used,
            };
            self.entries.push((demand.counter.clone(), now_ms, amount));
        }
        true
    }

    fn begun(&self, demand: &Demand<'_>, now_ms: u64) -> Option<u64> {
        let Window::Rolling(period) = demand.check.window else { return None };
        let last = self.begun.iter().rfind(|(counter, _)| *counter == demand.counter)?.1;
        (now_ms < last + period.rolling_ms()).then_some(last)
    }

    fn used(&self, demand: &Demand<'_>, now_ms: u64) -> u64 {
        let sum = |is_inside: &dyn Fn(u64) -> bool| -> u64 {
            let mine = self.entries.iter().filter(|(counter, ..)| *counter == demand.counter);
            mine.filter(|(_, at_ms, _)| is_inside(*at_ms)).map(|(_, _, amount)| amount).sum()
        };
        match &demand.check.window {
            Window::SlidingMinute => {
                let minute = now_ms / 60_000;
                let previous = sum(&|at_ms| at_ms / 60_000 + 1 == minute);
                let weighted = (previous * (60_000 - now_ms % 60_000)).div_ceil(60_000);
                sum(&|at_ms| at_ms / 60_000 == minute) + weighted
            }
            Window::Calendar(period, zone) => {
                let window = quota::stretch(*period, zone, now_ms).unwrap();
                sum(&|at_ms| window.start_ms <= at_ms && at_ms < window.end_ms)
            }
            Window::Rolling(_) => match self.begun(demand, now_ms) {
                Some(start_ms) => sum(&|at_ms| at_ms >= start_ms),
                None => 0,
            },
            Window::Lease { lease_s } => {
                let bucket_ms = lease_s * 250;
                sum(&|at_ms| at_ms / bucket_ms + 4 >= now_ms / bucket_ms)
            }
        }
    }
}
