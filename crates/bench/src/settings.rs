//! The command line, and what follows from it: which paths, how often, how long.

use crate::scenario::Scenario;
use clap::Parser;
use serde::Serialize;
use std::path::PathBuf;

/// Measures the gateway's whole path against the mock provider, beside the direct call and a bare pass-through.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Settings {
    /// A smoke run of less than a minute; its figures mean little.
    #[arg(long)]
    pub quick: bool,

    /// End with an error when a bar does not hold.
    #[arg(long)]
    pub enforce: bool,

    /// Rounds, in each of which every path is measured once [default: 3, quick: 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,

    /// Only these paths, and `direct`, which all are compared with.
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    pub only: Vec<Scenario>,

    /// Streams to hold open at once [default: 1000, quick: 100].
    #[arg(long)]
    pub streams: Option<usize>,

    /// Where the results go.
    #[arg(long, default_value = "bench-results.json")]
    pub output: PathBuf,

    /// The gateway's manifest.
    #[arg(long, default_value = "spin.toml")]
    pub manifest: PathBuf,

    /// The pass-through probe.
    #[arg(long, default_value = "target/wasm32-wasip2/release/probe_pass_through.wasm")]
    pub pass_through: PathBuf,

    /// The probe that makes the gateway's calls.
    #[arg(long, default_value = "target/wasm32-wasip2/release/probe_same_calls.wasm")]
    pub same_calls: PathBuf,

    /// The host.
    #[arg(long, default_value = "target/native/dev-host")]
    pub dev_host: PathBuf,

    /// The upstream.
    #[arg(long, default_value = "target/native/mock-provider")]
    pub mock_provider: PathBuf,

    /// Where the hosts' state lives during the run; emptied first, removed afterwards. On a real disk: in a file system
    /// that lives in memory, a durable write costs nothing.
    #[arg(long, default_value = "target/bench-state")]
    pub state: PathBuf,
}

/// How long each part of a round takes, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Durations {
    /// Before each part, unmeasured: instances start, connections open.
    pub warm_up_ms: u64,
    /// One connection.
    pub one_ms: u64,
    /// Many connections.
    pub load_ms: u64,
    /// Streams.
    pub stream_ms: u64,
}

impl Settings {
    /// The paths to measure, in the order of the report.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let is_wanted = |scenario: &Scenario| {
            self.only.is_empty() || self.only.contains(scenario) || *scenario == Scenario::Direct
        };
        Scenario::ALL.into_iter().filter(is_wanted).collect()
    }

    /// How many rounds.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How many streams to hold.
    pub fn streams_to_hold(&self) -> usize {
        self.streams.unwrap_or(if self.quick { 100 } else { 1000 })
    }

    /// How long each part takes.
    pub fn durations(&self) -> Durations {
        if self.quick {
            Durations { warm_up_ms: 100, one_ms: 400, load_ms: 1000, stream_ms: 500 }
        } else {
            Durations { warm_up_ms: 300, one_ms: 2000, load_ms: 4000, stream_ms: 2000 }
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names = Scenario::ALL.map(Scenario::name).join(", ");
    Scenario::named(name).ok_or_else(|| format!("the paths are {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Settings, clap::Error> {
        Settings::try_parse_from([&["bench"], arguments].concat())
    }

    #[test]
    fn all_paths_are_measured_unless_some_are_named() {
        assert_eq!(parse(&[]).unwrap().scenarios(), Scenario::ALL);
        let some = parse(&["--only", "cache-hit,pass-through"]).unwrap().scenarios();
        assert_eq!(some, [Scenario::Direct, Scenario::PassThrough, Scenario::CacheHit]);
    }

    #[test]
    fn an_unknown_path_is_answered_with_the_known_ones() {
        let error = parse(&["--only", "nginx"]).unwrap_err().to_string();
        assert!(error.contains("pass-through"), "{error}");
    }

    #[test]
    fn quick_shortens_what_is_not_set() {
        let settings = parse(&["--quick", "--streams", "7"]).unwrap();
        assert_eq!((settings.rounds(), settings.streams_to_hold()), (1, 7));
        assert!(settings.durations().load_ms < parse(&[]).unwrap().durations().load_ms);
    }
}
