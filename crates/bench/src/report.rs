//! The results, for people and for programs.

use crate::bars::{Bar, Bound, bars, cpu_relative_to_floor, cpu_relative_to_same_calls};
use crate::procfs;
use crate::round::{LOAD_CONNECTIONS, STREAM_CONNECTIONS};
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::summary::Summary;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything that a run found.
pub struct Report<'a> {
    /// When it started: seconds since the Unix epoch.
    pub started_at_unix_s: u64,
    /// How it ran.
    pub settings: &'a Settings,
    /// What was measured.
    pub summary: &'a Summary,
    /// What went wrong without making a figure wrong.
    pub notes: &'a [String],
}

const MIB: f64 = 1024.0 * 1024.0;

/// A column: its two-line title, and the figure with the factor that makes it readable.
type Column = (&'static str, &'static str, &'static str, f64, usize);

const REQUESTS: [Column; 11] = [
    ("added ms", "p50", "added_one_p50_us", 1e-3, 2),
    ("added ms", "p99", "added_one_p99_us", 1e-3, 2),
    ("CPU µs", "at one", "cpu_host_us_per_request_at_one_connection", 1.0, 0),
    ("req/s", "", "load_per_s", 1.0, 0),
    ("CPU µs", "host", "cpu_host_us_per_request", 1.0, 0),
    ("CPU µs", "mock", "cpu_mock_us_per_request", 1.0, 0),
    ("CPU µs", "redis", "cpu_redis_us_per_request", 1.0, 0),
    ("calls", "before", "calls_before", 1.0, 2),
    ("calls", "after", "calls_after", 1.0, 2),
    ("writes", "kv", "key_value_writes", 1.0, 2),
    ("writes", "database", "database_writes", 1.0, 3),
];

const STREAMS: [Column; 12] = [
    ("TTFT +ms", "p50", "added_ttft_p50_us", 1e-3, 2),
    ("TTFT +ms", "p99", "added_ttft_p99_us", 1e-3, 2),
    ("gap +ms", "p50", "added_gap_p50_us", 1e-3, 2),
    ("gap +ms", "p99", "added_gap_p99_us", 1e-3, 2),
    ("to floor", "TTFT p50", "over_floor_ttft_p50_us", 1e-3, 2),
    ("to floor", "gap p99", "over_floor_gap_p99_us", 1e-3, 2),
    ("CPU µs", "/token", "cpu_host_us_per_token", 1.0, 0),
    ("held", "served", "held_complete", 1.0, 0),
    ("held", "at once", "held_at_once", 1.0, 0),
    ("MiB", "idle", "idle_rss_bytes", 1.0 / MIB, 0),
    ("MiB", "loaded", "load_rss_bytes", 1.0 / MIB, 0),
    ("MiB", "holding", "held_rss_bytes", 1.0 / MIB, 0),
];

impl Report<'_> {
    /// The tables and the bars.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let direct = |name| self.summary.median(Scenario::Direct, name).unwrap_or_default() / 1e3;
        let _ = writeln!(
            text,
            "\nWhole answers: latency and CPU at one connection, latency added to the direct call's p50 {:.2} ms and p99 {:.2} ms;\n\
             the rest at {LOAD_CONNECTIONS} connections, CPU, calls and writes per request.\n",
            direct("one_p50_us"),
            direct("one_p99_us"),
        );
        text.push_str(&self.table(&REQUESTS));
        let _ = writeln!(
            text,
            "\nStreams on {STREAM_CONNECTIONS} connections, added to the direct call's TTFT {:.2} / {:.2} ms and gap \
             {:.2} / {:.2} ms,\nand to the bare pass-through's (`to floor`); {} streams opened to be held at once; resident memory of the host.\n",
            direct("ttft_p50_us"),
            direct("ttft_p99_us"),
            direct("gap_p50_us"),
            direct("gap_p99_us"),
            self.settings.streams_to_hold(),
        );
        text.push_str(&self.table(&STREAMS));
        text.push_str(
            "\nCPU per request, Redis' own included: relative to the bare pass-through, and to the same calls on the same store\n\n",
        );
        let mut rows = Vec::new();
        for scenario in self.settings.scenarios() {
            let relative = [cpu_relative_to_floor, cpu_relative_to_same_calls];
            let cells = relative.map(|to| {
                to(self.summary, scenario).map_or_else(|| "–".to_owned(), |times| format!("{times:.2}"))
            });
            rows.push(std::iter::once(scenario.name().to_owned()).chain(cells).collect());
        }
        text.push_str(&aligned(&rows));
        text.push_str("\nBars\n\n");
        for bar in self.bars() {
            let verdict = if bar.holds() { "holds" } else { "FAILS" };
            let value = bar.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2}"));
            let _ = writeln!(text, "  {verdict}  {:<16}{}: {value} ({})", bar.path, bar.what, bar.bound);
        }
        for note in self.notes {
            let _ = writeln!(text, "\nNote: {note}");
        }
        text
    }

    /// Everything.
    pub fn json(&self) -> Value {
        let scenarios = self.settings.scenarios();
        let relative = |to: fn(&Summary, Scenario) -> Option<f64>| {
            let paths = scenarios.iter().filter_map(|&path| Some((path.name(), to(self.summary, path)?)));
            json!(paths.collect::<BTreeMap<_, _>>())
        };
        let bars: Vec<_> = self
            .bars()
            .into_iter()
            .map(|bar| {
                let (name, bound) = match bar.bound {
                    Bound::AtMost(most) => ("at_most", most),
                    Bound::AtLeast(least) => ("at_least", least),
                };
                json!({"what": bar.what, "path": bar.path, "value": bar.value, name: bound, "holds": bar.holds()})
            })
            .collect();
        json!({
            "started_at_unix_s": self.started_at_unix_s,
            "machine": {
                "processor": procfs::processor(),
                "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            },
            "settings": {
                "rounds": self.settings.rounds(),
                "durations": self.settings.durations(),
                "load_connections": LOAD_CONNECTIONS,
                "stream_connections": STREAM_CONNECTIONS,
                "streams_to_hold": self.settings.streams_to_hold(),
                "prompt_bytes": crate::questions::TEXT_BYTES,
                "answer_bytes": crate::questions::TEXT_BYTES,
            },
            "paths": self.summary,
            "cpu_relative_to_pass_through": relative(cpu_relative_to_floor),
            "cpu_relative_to_same_calls": relative(cpu_relative_to_same_calls),
            "bars": bars,
            "notes": self.notes,
        })
    }

    /// The bars of what was measured.
    pub fn bars(&self) -> Vec<Bar> {
        bars(self.summary, &self.settings.scenarios())
    }

    fn table(&self, columns: &[Column]) -> String {
        let mut rows = vec![vec![String::new()], vec![String::new()]];
        for (above, below, ..) in columns {
            for (row, title) in rows.iter_mut().zip([above, below]) {
                row.push((*title).to_owned());
            }
        }
        for scenario in self.settings.scenarios() {
            let cells = columns.iter().map(|(_, _, figure, factor, decimals)| {
                let value = self.summary.median(scenario, figure);
                value.map_or_else(|| "–".to_owned(), |value| format!("{:.decimals$}", value * factor))
            });
            rows.push(std::iter::once(scenario.name().to_owned()).chain(cells).collect());
        }
        aligned(&rows)
    }
}

/// The first column to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "  {cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::Figures;
    use clap::Parser as _;

    #[test]
    fn columns_line_up() {
        let rows = [["", "µs", "x"], ["long", "1", "22"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "        µs   x\n  long   1  22\n");
    }

    #[test]
    fn the_report_names_every_path_and_says_which_bars_fail() {
        let settings = Settings::parse_from(["bench", "--only", "gateway-wal,pass-through,same-calls-wal"]);
        let mut summary = Summary::default();
        summary.add(Scenario::PassThrough, Figures::from([("cpu_host_us_per_request".to_owned(), 100.0)]));
        summary.add(Scenario::SameCallsWal, Figures::from([("cpu_host_us_per_request".to_owned(), 200.0)]));
        summary.add(Scenario::GatewayWal, Figures::from([("cpu_host_us_per_request".to_owned(), 500.0)]));
        let notes = ["a note".to_owned()];
        let report = Report { started_at_unix_s: 0, settings: &settings, summary: &summary, notes: &notes };
        let text = report.text();
        for part in ["direct", "pass-through", "gateway-wal", "5.00", "2.50 (at most 2)", "FAILS", "a note"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("gateway-redis"), "{text}");
        assert_eq!(report.json()["cpu_relative_to_pass_through"]["gateway-wal"], 5.0);
        assert_eq!(report.json()["cpu_relative_to_same_calls"], json!({"gateway-wal": 2.5}));
    }
}
