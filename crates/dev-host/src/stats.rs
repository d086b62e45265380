//! What the application did, counted for a benchmark: component calls by path, store operations, requests to the
//! network, live instances. Off unless [`turn_on`] was called; then `GET` [`PATH`] answers with the counts since the start.
//!
//! One set of counters for the process, because a process runs one application.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where the counts are read; Spin has no such path.
pub const PATH: &str = "/.well-known/dev-host/stats";

/// Most paths that are told apart: clients choose the public ones.
const MAX_PATHS: usize = 64;

/// The calls of all further paths.
const OTHER_PATHS: &str = "(other)";

static STATS: OnceLock<Stats> = OnceLock::new();

#[derive(Default)]
struct Stats {
    /// By `<component> <path>`.
    calls: Mutex<BTreeMap<String, u64>>,
    outbound: AtomicU64,
    key_value: [AtomicU64; KeyValue::NAMES.len()],
    sqlite_statements: AtomicU64,
    sqlite_writes: AtomicU64,
    /// Those that live, by component.
    instances: Mutex<BTreeMap<String, u64>>,
}

/// A key-value operation.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named as in the interfaces")]
pub enum KeyValue {
    Get,
    Set,
    Delete,
    Exists,
    GetKeys,
    GetMany,
    SetMany,
    DeleteMany,
    Increment,
    Swap,
}

impl KeyValue {
    /// In the order of the variants.
    const NAMES: [&'static str; 10] = [
        "get",
        "set",
        "delete",
        "exists",
        "get_keys",
        "get_many",
        "set_many",
        "delete_many",
        "increment",
        "swap",
    ];
}

/// Starts counting.
pub fn turn_on() {
    STATS.get_or_init(Stats::default);
}

/// Counts a request that a component answers.
pub fn call(component: &str, path: &str) {
    let Some(stats) = STATS.get() else { return };
    let mut calls = stats.calls.lock().unwrap_or_else(PoisonError::into_inner);
    let mut name = format!("{component} {path}");
    if calls.len() >= MAX_PATHS && !calls.contains_key(&name) {
        name = format!("{component} {OTHER_PATHS}");
    }
    *calls.entry(name).or_default() += 1;
}

/// Counts a request that goes to the network.
pub fn outbound() {
    if let Some(stats) = STATS.get() {
        stats.outbound.fetch_add(1, Relaxed);
    }
}

/// Counts a key-value operation.
pub fn key_value(operation: KeyValue) {
    let counter = STATS.get().and_then(|stats| stats.key_value.get(operation as usize));
    if let Some(counter) = counter {
        counter.fetch_add(1, Relaxed);
    }
}

/// Counts a SQLite statement, and whether a transaction that wrote ended with it.
pub fn sqlite(has_written: bool) {
    if let Some(stats) = STATS.get() {
        stats.sqlite_statements.fetch_add(1, Relaxed);
        stats.sqlite_writes.fetch_add(u64::from(has_written), Relaxed);
    }
}

/// Counts an instance that has been made.
pub fn instance_made(component: &str) {
    change_instances(component, |live| live + 1);
}

/// Counts an instance that has ended.
pub fn instance_ended(component: &str) {
    change_instances(component, |live| live.saturating_sub(1));
}

fn change_instances(component: &str, change: impl Fn(u64) -> u64) {
    if let Some(stats) = STATS.get() {
        let mut instances = stats.instances.lock().unwrap_or_else(PoisonError::into_inner);
        let live = instances.entry(component.to_owned()).or_default();
        *live = change(*live);
    }
}

/// The counts since the start, if anything is counted; `instances` are those that live now.
pub fn counts() -> Option<Value> {
    let stats = STATS.get()?;
    let key_value: serde_json::Map<_, _> = KeyValue::NAMES
        .iter()
        .zip(&stats.key_value)
        .map(|(name, count)| ((*name).to_owned(), count.load(Relaxed).into()))
        .collect();
    Some(json!({
        "calls": *stats.calls.lock().unwrap_or_else(PoisonError::into_inner),
        "outbound": stats.outbound.load(Relaxed),
        "key_value": key_value,
        "sqlite": {
            "statements": stats.sqlite_statements.load(Relaxed),
            "writes": stats.sqlite_writes.load(Relaxed),
        },
        "instances": *stats.instances.lock().unwrap_or_else(PoisonError::into_inner),
    }))
}
