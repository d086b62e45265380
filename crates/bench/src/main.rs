//! The command line: starts everything, measures in rounds, prints the tables, writes the results.

// A command-line tool: the terminal is where it speaks.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::{Context as _, ensure};
use bench::procfs::open_files_limit;
use bench::questions::Questions;
use bench::report::Report;
use bench::rig::Rig;
use bench::round::{CACHE_BYPASSED, Figures, Path};
use bench::scenario::Scenario;
use bench::settings::Settings;
use bench::summary::Summary;
use clap::Parser as _;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;

/// Longer than the platform keeps an idle instance.
const UNTIL_IDLE: Duration = Duration::from_millis(1500);
/// Files that a benchmark needs besides one per held stream.
const OTHER_FILES: u64 = 200;

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let held = u64::try_from(settings.streams_to_hold())?;
    ensure!(
        open_files_limit()? >= 2 * held + OTHER_FILES,
        "holding {held} streams takes {} open files: raise the limit (ulimit -n) or pass --streams",
        2 * held + OTHER_FILES
    );
    let started = Instant::now();
    let started_at_unix_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (summary, notes) = LocalSet::new().block_on(&runtime, run(&settings))?;
    let report = Report { started_at_unix_s, settings: &settings, summary: &summary, notes: &notes };
    println!("{}", report.text());
    let json = serde_json::to_string_pretty(&report.json())?;
    std::fs::write(&settings.output, json + "\n").with_context(|| settings.output.display().to_string())?;
    eprintln!("{} s; all figures are in {}", started.elapsed().as_secs(), settings.output.display());
    let failed = report.bars().iter().filter(|bar| !bar.holds()).count();
    ensure!(!settings.enforce || failed == 0, "{failed} bars do not hold");
    Ok(())
}

async fn run(settings: &Settings) -> anyhow::Result<(Summary, Vec<String>)> {
    let scenarios = settings.scenarios();
    let rig = Rig::start(settings, &scenarios)?;
    let questions = Rc::new(Questions::default());
    let mut paths = BTreeMap::new();
    for &scenario in &scenarios {
        let path = Path::prepare(scenario, &rig, &questions).await;
        paths.insert(scenario, path.with_context(|| format!("{} does not answer rightly", scenario.name()))?);
    }
    sleep(UNTIL_IDLE).await;
    let mut once: BTreeMap<Scenario, Figures> = BTreeMap::new();
    for (scenario, path) in &paths {
        if let Some(rss) = path.rss_bytes()? {
            once.entry(*scenario).or_default().insert("idle_rss_bytes".to_owned(), rss as f64);
        }
    }
    let mut rounds = Vec::new();
    for round in 1..=settings.rounds() {
        eprintln!("round {round} of {}", settings.rounds());
        let mut order: Vec<_> = paths.iter().collect();
        if round % 2 == 0 {
            // So that a machine that gets slower does not always do so at the same path's expense.
            order.reverse();
        }
        let mut figures = BTreeMap::new();
        for (scenario, path) in order {
            figures.insert(*scenario, path.measure(settings.durations()).await?);
        }
        rounds.push(figures);
    }
    let mut notes = Vec::new();
    eprintln!("holding {} streams", settings.streams_to_hold());
    for (scenario, path) in paths.iter().filter(|(scenario, _)| scenario.has_paced_streams()) {
        let (figures, failure) = path.hold_streams(settings.streams_to_hold()).await?;
        once.entry(*scenario).or_default().extend(figures);
        notes.extend(failure.map(|why| format!("{}: a held stream failed: {why}", scenario.name())));
    }
    for (scenario, figures) in rounds.iter().flatten() {
        let count = |name| figures.get(name).copied().unwrap_or_default();
        let (bypassed, answers) = (count(CACHE_BYPASSED), count("load_answers"));
        if bypassed > 0.0 {
            notes.push(format!(
                "{}: the cache was too slow to be waited for in {bypassed} of {answers} answers of a round",
                scenario.name()
            ));
        }
    }
    notes.extend(rig.complaints()?);
    let mut summary = Summary::of(&rounds);
    for (scenario, figures) in once {
        summary.add(scenario, figures);
    }
    Ok((summary, notes))
}
