//! The bars: what a request through the gateway may cost at most, whatever the machine, and how fast the mock must be for
//! the rest to mean anything.
//!
//! CPU is held against the gateway's own calls and store operations, made by components that do nothing else: what they
//! cost is the platform's, and alone more than four times the bare pass-through. The ratio to that is reported.

use crate::scenario::Scenario;
use crate::summary::Summary;
use std::fmt;

/// The gateway's figures that are held against a bar.
const BARS: [(&str, f64); 3] = [
    ("component calls before the upstream call", 3.0),
    ("component calls after it, on average under load", 1.5),
    ("CPU per request, relative to the same calls on the same store", MAX_CPU_TO_SAME_CALLS),
];

/// The most CPU time of a request, in units of what its calls and store operations cost by themselves.
const MAX_CPU_TO_SAME_CALLS: f64 = 2.0;

/// Requests per second below which the mock would hide the gateway; of two processors, which it shares with the load.
const MOCK_PER_S: f64 = 20_000.0;

/// Where a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Not above this.
    AtMost(f64),
    /// Not below this.
    AtLeast(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::AtLeast(least) => write!(f, "at least {least}"),
        }
    }
}

/// One bar, for one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What is held against it.
    pub what: &'static str,
    /// On which path.
    pub path: &'static str,
    /// The figure; none if what it takes was not measured.
    pub value: Option<f64>,
    /// What it should be.
    pub bound: Bound,
}

impl Bar {
    /// Whether it is kept; an unmeasured one is not.
    pub fn holds(&self) -> bool {
        self.value.is_some_and(|value| match self.bound {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        })
    }
}

/// The bars of `scenarios`: the direct call's, and those of the gateway's paths.
pub fn bars(summary: &Summary, scenarios: &[Scenario]) -> Vec<Bar> {
    let [before, after, cpu] = BARS;
    let mut bars = Vec::new();
    if scenarios.contains(&Scenario::Direct) {
        let value = summary.median(Scenario::Direct, "load_per_s");
        let (what, path, bound) =
            ("requests per second of the mock", Scenario::Direct.name(), Bound::AtLeast(MOCK_PER_S));
        bars.push(Bar { what, path, value, bound });
    }
    for &scenario in scenarios.iter().filter(|scenario| scenario.is_gateway()) {
        let figures = [
            (before, summary.median(scenario, "calls_before")),
            (after, summary.median(scenario, "calls_after")),
            (cpu, cpu_relative_to_same_calls(summary, scenario)),
        ];
        for ((what, at_most), value) in figures {
            bars.push(Bar { what, path: scenario.name(), value, bound: Bound::AtMost(at_most) });
        }
    }
    bars
}

/// CPU time per request, in units of the bare pass-through's.
pub fn cpu_relative_to_floor(summary: &Summary, scenario: Scenario) -> Option<f64> {
    Some(cpu_us(summary, scenario)? / cpu_us(summary, Scenario::PassThrough)?)
}

/// CPU time per request, in units of what the gateway's calls and operations cost on the same store when nothing else is
/// done: how much of it is ours.
pub fn cpu_relative_to_same_calls(summary: &Summary, scenario: Scenario) -> Option<f64> {
    Some(cpu_us(summary, scenario)? / cpu_us(summary, scenario.same_calls()?)?)
}

/// CPU time per request, in microseconds: the host's, and Redis' where it is the store. The other stores are libraries in
/// the host.
fn cpu_us(summary: &Summary, scenario: Scenario) -> Option<f64> {
    let host = summary.median(scenario, "cpu_host_us_per_request")?;
    let redis = match scenario.is_on_redis() {
        true => summary.median(scenario, "cpu_redis_us_per_request")?,
        false => 0.0,
    };
    Some(host + redis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::Figures;

    fn summary(figures: &[(Scenario, &str, f64)]) -> Summary {
        let mut summary = Summary::default();
        for (scenario, name, value) in figures {
            summary.add(*scenario, Figures::from([((*name).to_owned(), *value)]));
        }
        summary
    }

    #[test]
    fn a_bar_holds_up_to_its_value() {
        let wal = Scenario::GatewayWal;
        let summary = summary(&[
            (Scenario::Direct, "load_per_s", 19_999.0),
            (Scenario::SameCallsWal, "cpu_host_us_per_request", 200.0),
            (Scenario::SameCallsMemory, "cpu_host_us_per_request", 1_000.0),
            (wal, "cpu_host_us_per_request", 402.0),
            (wal, "calls_before", 3.0),
            (wal, "calls_after", 1.4),
        ]);
        let bars = bars(&summary, &[Scenario::Direct, Scenario::PassThrough, wal, Scenario::CacheHit]);
        let values: Vec<_> = bars.iter().map(|bar| (bar.path, bar.value, bar.holds())).collect();
        let path = "gateway-wal";
        assert_eq!(
            values,
            [
                ("direct", Some(19_999.0), false),
                (path, Some(3.0), true),
                (path, Some(1.4), true),
                (path, Some(2.01), false)
            ]
        );
    }

    #[test]
    fn the_work_of_redis_counts_where_it_is_the_store() {
        let figures = [
            (Scenario::PassThrough, 100.0, 7.0),
            (Scenario::SameCallsMemory, 300.0, 7.0),
            (Scenario::SameCallsRedis, 300.0, 100.0),
            (Scenario::GatewayMemory, 600.0, 7.0),
            (Scenario::GatewayRedis, 600.0, 200.0),
        ];
        let mut summary = Summary::default();
        for (scenario, host, redis) in figures {
            let named = [("cpu_host_us_per_request", host), ("cpu_redis_us_per_request", redis)];
            summary.add(scenario, named.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let relative = |scenario| {
            [cpu_relative_to_floor, cpu_relative_to_same_calls].map(|relative| relative(&summary, scenario))
        };
        assert_eq!(relative(Scenario::GatewayMemory), [Some(6.0), Some(2.0)]);
        assert_eq!(relative(Scenario::GatewayRedis), [Some(8.0), Some(2.0)]);
        assert_eq!(relative(Scenario::SameCallsRedis), [Some(4.0), None]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let bars = bars(&Summary::default(), &[Scenario::GatewayRedis]);
        assert_eq!(bars.iter().filter(|bar| bar.value.is_none() && !bar.holds()).count(), 3);
    }
}
