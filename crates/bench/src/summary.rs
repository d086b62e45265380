//! Figures of several rounds made into one, and what a path adds to the direct call and to the bare pass-through. What is added is taken round by
//! round, so that both sides of a difference saw the same machine.

use crate::round::Figures;
use crate::scenario::Scenario;
use serde::Serialize;
use std::collections::BTreeMap;

/// Figures of which the direct call's, and the bare pass-through's, are subtracted.
const COMPARED: [&str; 6] =
    ["one_p50_us", "one_p99_us", "ttft_p50_us", "ttft_p99_us", "gap_p50_us", "gap_p99_us"];

/// One figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = if values.len().is_multiple_of(2) { *values.get(middle - 1)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), min: *values.first()?, max: *values.last()? })
    }
}

/// All figures of all paths.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Summary {
    paths: BTreeMap<&'static str, BTreeMap<String, Spread>>,
}

impl Summary {
    /// Of the rounds' figures.
    pub fn of(rounds: &[BTreeMap<Scenario, Figures>]) -> Self {
        let mut values: BTreeMap<&'static str, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
        for round in rounds {
            let bases = [("added", Scenario::Direct), ("over_floor", Scenario::PassThrough)]
                .map(|(prefix, base)| (prefix, base, round.get(&base)));
            for (scenario, figures) in round {
                let path = values.entry(scenario.name()).or_default();
                for (name, value) in figures {
                    path.entry(name.clone()).or_default().push(*value);
                    for (prefix, _, figures) in bases.iter().filter(|(_, base, _)| base < scenario) {
                        let base = figures.and_then(|figures| figures.get(name));
                        if let Some(base) = base
                            && COMPARED.contains(&name.as_str())
                        {
                            path.entry(format!("{prefix}_{name}")).or_default().push(value - base);
                        }
                    }
                }
            }
        }
        let spreads = |figures: BTreeMap<String, Vec<f64>>| {
            figures.into_iter().filter_map(|(name, values)| Some((name, Spread::of(values)?))).collect()
        };
        Self { paths: values.into_iter().map(|(path, figures)| (path, spreads(figures))).collect() }
    }

    /// Adds figures that were taken once.
    pub fn add(&mut self, scenario: Scenario, figures: Figures) {
        let path = self.paths.entry(scenario.name()).or_default();
        path.extend(figures.into_iter().filter_map(|(name, value)| Some((name, Spread::of(vec![value])?))));
    }

    /// A figure's median.
    pub fn median(&self, scenario: Scenario, name: &str) -> Option<f64> {
        Some(self.paths.get(scenario.name())?.get(name)?.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        for (values, median, min, max) in [
            (vec![3.0], 3.0, 3.0, 3.0),
            (vec![4.0, 1.0], 2.5, 1.0, 4.0),
            (vec![9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
        ] {
            assert_eq!(Spread::of(values.clone()), Some(Spread { median, min, max }), "{values:?}");
        }
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn what_is_added_is_taken_round_by_round() {
        let round = |direct: f64, gateway: f64| {
            let figures = |us| Figures::from([("one_p50_us".to_owned(), us), ("load_per_s".to_owned(), us)]);
            BTreeMap::from([
                (Scenario::Direct, figures(direct)),
                (Scenario::PassThrough, figures(direct + 1.0)),
                (Scenario::GatewayWal, figures(gateway)),
            ])
        };
        // The machine is ten times slower in one round; the difference of medians would be 110.
        let summary = Summary::of(&[round(10.0, 20.0), round(100.0, 200.0), round(11.0, 22.0)]);
        assert_eq!(summary.median(Scenario::GatewayWal, "added_one_p50_us"), Some(11.0));
        assert_eq!(summary.median(Scenario::GatewayWal, "over_floor_one_p50_us"), Some(10.0));
        assert_eq!(summary.median(Scenario::PassThrough, "added_one_p50_us"), Some(1.0));
        assert_eq!(summary.median(Scenario::PassThrough, "over_floor_one_p50_us"), None);
        assert_eq!(summary.median(Scenario::GatewayWal, "one_p50_us"), Some(22.0));
        assert_eq!(summary.median(Scenario::GatewayWal, "added_load_per_s"), None);
        assert_eq!(summary.median(Scenario::Direct, "added_one_p50_us"), None);
    }

    #[test]
    fn figures_taken_once_join_their_path() {
        let mut summary = Summary::default();
        summary.add(Scenario::Direct, Figures::from([("held_complete".to_owned(), 5.0)]));
        assert_eq!(summary.median(Scenario::Direct, "held_complete"), Some(5.0));
    }
}
