//! The command line of the limiter's benchmark: starts the hosts, measures every cell in each round, prints the table.

// A command-line tool: the terminal is where it speaks.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::{Context as _, ensure};
use bench::limiter::{
    CONSUMERS, Cell, Figures, Held, LIMITS, LimiterStore, PROMPTS, Rig, held, measure, text,
};
use clap::Parser;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Measures the token limiter alone: reserve and settle, by store, matching limits and distinct consumers; then the memory
/// that an instance takes.
#[derive(Debug, Parser)]
#[command(version)]
struct Settings {
    /// One short round; its figures mean little.
    #[arg(long)]
    quick: bool,

    /// Only these stores: sqlite, wal, memory, redis, script.
    #[arg(long, value_delimiter = ',', value_parser = store)]
    stores: Vec<LimiterStore>,

    /// Only these numbers of limits that match every request: 1, 3, 8.
    #[arg(long, value_delimiter = ',', value_parser = |number: &str| one_of(number, &LIMITS))]
    limits: Vec<usize>,

    /// Only these numbers of consumers: 10, 100000.
    #[arg(long, value_delimiter = ',', value_parser = |number: &str| one_of(number, &CONSUMERS))]
    consumers: Vec<u32>,

    /// The host.
    #[arg(long, default_value = "target/native/dev-host")]
    dev_host: PathBuf,

    /// The component.
    #[arg(long, default_value = "target/wasm32-wasip2/release/token_limiter.wasm")]
    component: PathBuf,

    /// Where the hosts' state lives during the run, on a real disk; emptied first.
    #[arg(long, default_value = "target/bench-limiter-state")]
    state: PathBuf,
}

impl Settings {
    /// What is to be measured, in the order of the table.
    fn cells(&self) -> Vec<Cell> {
        let is_wanted = |cell: &Cell| {
            (self.stores.is_empty() || self.stores.contains(&cell.store))
                && (self.limits.is_empty() || self.limits.contains(&cell.limits))
                && (self.consumers.is_empty() || self.consumers.contains(&cell.consumers))
        };
        Cell::all().filter(is_wanted).collect()
    }
}

fn store(name: &str) -> Result<LimiterStore, String> {
    let names = LimiterStore::ALL.map(LimiterStore::option).join(", ");
    LimiterStore::named(name).ok_or_else(|| format!("the stores are {names}"))
}

fn one_of<T: Copy + ToString>(number: &str, known: &[T]) -> Result<T, String> {
    let names: Vec<_> = known.iter().map(T::to_string).collect();
    let found = known.iter().zip(&names).find(|(_, name)| *name == number);
    found.map(|(number, _)| *number).ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(&settings))
}

async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    let measured = measure_cells(settings, &mut rounds).await;
    // Also where some of it failed: what was measured stays true.
    println!("{}", text(&rounds));
    println!(
        "Memory for each live instance, beside the code: of its own, and with the pages that instances share"
    );
    for prompt_bytes in PROMPTS {
        let held = held(&settings.dev_host, &settings.component, &settings.state, prompt_bytes);
        let Held { own, resident } = held.await.context("memory of instances")?;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        println!("  after a prompt of {prompt_bytes} bytes: {:.2} MiB, {:.2} MiB", mib(own), mib(resident));
    }
    measured
}

/// Adds what it measures to `rounds` as it goes. A cell that fails, because its store cannot bear the load, leaves the others as they
/// are, and is an error in the end.
async fn measure_cells(settings: &Settings, rounds: &mut Vec<BTreeMap<Cell, Figures>>) -> anyhow::Result<()> {
    let cells = settings.cells();
    let (count, one_ms, load_ms) = if settings.quick { (1, 100, 300) } else { (3, 500, 2000) };
    let (one, load) = (Duration::from_millis(one_ms), Duration::from_millis(load_ms));
    let rig = Rig::start(&settings.dev_host, &settings.component, &settings.state, &cells)?;
    let mut failed = BTreeSet::new();
    for number in 1..=count {
        eprintln!("round {number} of {count}");
        let mut round = BTreeMap::new();
        for cell in &cells {
            match measure(*cell, rig.host(*cell)?, one, load).await {
                Ok(figures) => {
                    round.insert(*cell, figures);
                }
                Err(why) => {
                    eprintln!("{cell:?} failed: {why:#}");
                    failed.insert(*cell);
                }
            }
        }
        rounds.push(round);
    }
    ensure!(failed.is_empty(), "these failed, at least once: {failed:?}");
    Ok(())
}
