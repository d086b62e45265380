//! The command line of the limiter's benchmark: starts the hosts, measures every cell in each round, prints the table.

// A command-line tool: the terminal is where it speaks.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::Context as _;
use bench::limiter::{Cell, Rig, measure, text};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// Measures the token limiter alone: reserve and settle, by store, matching limits and distinct consumers.
#[derive(Debug, Parser)]
#[command(version)]
struct Settings {
    /// One short round; its figures mean little.
    #[arg(long)]
    quick: bool,

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

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(&settings))
}

async fn run(settings: &Settings) -> anyhow::Result<()> {
    let cells: Vec<Cell> = Cell::all().collect();
    let (rounds, one_ms, load_ms) = if settings.quick { (1, 100, 300) } else { (3, 500, 2000) };
    let rig = Rig::start(&settings.dev_host, &settings.component, &settings.state, &cells)?;
    let mut measured = Vec::new();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        let mut figures = BTreeMap::new();
        for cell in &cells {
            let taken = measure(
                *cell,
                rig.host(*cell)?,
                Duration::from_millis(one_ms),
                Duration::from_millis(load_ms),
            );
            figures.insert(*cell, taken.await.with_context(|| format!("{cell:?}"))?);
        }
        measured.push(figures);
    }
    println!("{}", text(&measured));
    Ok(())
}
