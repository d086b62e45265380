//! The table of the limiter's figures.

use super::cell::Cell;
use super::load::{BATCH, CONNECTIONS, Figures};
use crate::report::aligned;
use crate::summary::Spread;
use std::collections::BTreeMap;

const COLUMNS: [(&str, &str, &str, usize); 8] = [
    ("reserve", "p50 µs", "reserve_p50_us", 0),
    ("reserve", "p99 µs", "reserve_p99_us", 0),
    ("settle", "p50 µs", "settle_p50_us", 0),
    ("settle", "p99 µs", "settle_p99_us", 0),
    ("requests", "/s", "per_s", 0),
    ("CPU µs", "/request", "cpu_us", 0),
    ("reads", "/request", "reads", 2),
    ("writes", "/request", "writes", 2),
];

/// Medians over the rounds.
pub fn medians(rounds: &[BTreeMap<Cell, Figures>]) -> BTreeMap<Cell, BTreeMap<&'static str, f64>> {
    let mut values: BTreeMap<Cell, BTreeMap<&'static str, Vec<f64>>> = BTreeMap::new();
    for (cell, figures) in rounds.iter().flatten() {
        for (name, value) in figures {
            values.entry(*cell).or_default().entry(name).or_default().push(*value);
        }
    }
    let median = |(name, values)| Some((name, Spread::of(values)?.median));
    values
        .into_iter()
        .map(|(cell, figures)| (cell, figures.into_iter().filter_map(median).collect()))
        .collect()
}

/// The table.
pub fn text(rounds: &[BTreeMap<Cell, Figures>]) -> String {
    let mut rows = vec![vec![String::new(); 3], vec!["store".into(), "limits".into(), "consumers".into()]];
    for (above, below, ..) in COLUMNS {
        for (row, title) in rows.iter_mut().zip([above, below]) {
            row.push(title.to_owned());
        }
    }
    for (cell, figures) in medians(rounds) {
        let mut row = vec![cell.store.name().to_owned(), cell.limits.to_string(), cell.consumers.to_string()];
        for (_, _, name, decimals) in COLUMNS {
            let value = figures.get(name);
            row.push(value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}")));
        }
        rows.push(row);
    }
    format!(
        "\nThe limiter alone, over HTTP: latencies at one connection; the rest at {CONNECTIONS} connections, {BATCH} \
         reservations settled per call; CPU with Redis's own.\n\n{}",
        aligned(&rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::LimiterStore;

    #[test]
    fn the_table_has_the_median_of_the_rounds() {
        let cell = Cell { store: LimiterStore::Script, limits: 3, consumers: 10 };
        let rounds =
            [5.0, 900.0, 7.0].map(|us| BTreeMap::from([(cell, Figures::from([("reserve_p50_us", us)]))]));
        let text = text(&rounds);
        let row = text.lines().find(|line| line.contains("redis, script")).unwrap();
        assert!(row.split_whitespace().any(|field| field == "7"), "{row}");
    }
}
