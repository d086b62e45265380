//! The limits by their definition, for what comes one after the other: sums of what was charged, by counter and window.

use gateway_config::{Check, Measure, Mode, Window};
use quota::{Counter, Demand};
use std::collections::BTreeMap;

const LEASE_BUCKETS: u64 = 4;

/// One charge of an admitted request.
#[derive(Debug, Clone)]
pub struct Charged {
    counter: Counter,
    window: u64,
    is_minute: bool,
    measure: Measure,
    amount: u64,
}

/// What every counter's windows hold.
#[derive(Default)]
pub struct Model {
    /// By the window's start, or its number.
    held: BTreeMap<(Counter, u64), u64>,
    /// When the last window from first use began.
    begun: BTreeMap<Counter, u64>,
}

impl Model {
    /// What the request is charged if it is admitted.
    pub fn ask(&mut self, demands: &[Demand<'_>], now_ms: u64) -> Option<Vec<Charged>> {
        let mut deciding = demands.iter().filter(|demand| demand.limit.mode == Mode::Enforce);
        if !deciding.all(|demand| self.used(demand, now_ms) + demand.amount <= demand.check.size) {
            return None;
        }
        let mut charges = Vec::new();
        for Demand { counter, check, amount, .. } in demands {
            if matches!(check.window, Window::Rolling(_)) && self.begun(counter, check, now_ms).is_none() {
                self.begun.insert(counter.clone(), now_ms);
            }
            let window = self.window(counter, check, now_ms);
            *self.held.entry((counter.clone(), window)).or_default() += amount;
            charges.push(Charged {
                counter: counter.clone(),
                window,
                is_minute: check.window == Window::SlidingMinute,
                measure: check.measure,
                amount: *amount,
            });
        }
        Some(charges)
    }

    /// Corrects what a request was charged to what it took: nothing, or so many tokens. A window holds no less than nothing.
    /// What goes beyond the charge of a minute that is over is of the minute of now.
    pub fn settle(&mut self, charges: &[Charged], took: Option<u64>, now_ms: u64) {
        for Charged { counter, window, is_minute, measure, amount } in charges {
            let used = match (took, measure) {
                (None, _) | (_, Measure::Parallel) => 0,
                (_, Measure::Requests) => *amount,
                (Some(tokens), _) => tokens,
            };
            let window = if *is_minute && used > *amount { now_ms / 60_000 } else { *window };
            let held = self.held.entry((counter.clone(), window)).or_default();
            *held = (*held + used).saturating_sub(*amount);
        }
    }

    /// What an operator does who sets a counter to zero.
    pub fn reset(&mut self, demands: &[Demand<'_>], now_ms: u64) {
        for Demand { counter, check, .. } in demands {
            let window = self.window(counter, check, now_ms);
            self.held.retain(|(of, at), _| of != counter || *at > window || *at + LEASE_BUCKETS < window);
        }
    }

    fn begun(&self, counter: &Counter, check: &Check, now_ms: u64) -> Option<u64> {
        let Window::Rolling(period) = check.window else { return None };
        self.begun.get(counter).copied().filter(|last| now_ms < last + period.rolling_ms())
    }

    fn window(&self, counter: &Counter, check: &Check, now_ms: u64) -> u64 {
        match &check.window {
            Window::SlidingMinute => now_ms / 60_000,
            Window::Calendar(period, zone) => quota::stretch(*period, zone, now_ms).unwrap().start_ms,
            Window::Rolling(_) => self.begun(counter, check, now_ms).unwrap_or(now_ms),
            Window::Lease { lease_s } => now_ms / (lease_s * 250),
        }
    }

    pub fn used(&self, demand: &Demand<'_>, now_ms: u64) -> u64 {
        let Demand { counter, check, .. } = demand;
        let window = self.window(counter, check, now_ms);
        let held = |window| self.held.get(&(counter.clone(), window)).copied().unwrap_or(0);
        match &check.window {
            Window::SlidingMinute => {
                held(window) + (held(window - 1) * (60_000 - now_ms % 60_000)).div_ceil(60_000)
            }
            Window::Calendar(..) | Window::Rolling(_) => held(window),
            Window::Lease { .. } => (window - LEASE_BUCKETS..=window).map(held).sum(),
        }
    }
}
