//! What the host counted: component calls by path, store operations, requests to the network. Decides what lies before
//! the upstream call and what after it.

use crate::client::Connection;
use anyhow::Context as _;
use contracts::{cache, limiter, record};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Where `dev-host up --stats` answers with its counters.
const STATS_PATH: &str = "/.well-known/dev-host/stats";
/// Paths that are called after the answer, by the gateway and by the probe that makes its calls; everything else is
/// called before it.
const PATHS_AFTER: [&str; 4] =
    [limiter::SETTLE_PATH, cache::STORE_PATH, cache::STORE_BATCH_PATH, record::RECORDS_PATH];
/// Key-value operations that write; each is one durable write of the default store.
const WRITES: [&str; 6] = ["set", "delete", "increment", "set_many", "delete_many", "swap"];
/// Longer than the gateway waits to batch its after-work, so that no change in between means no more to come.
const QUIET: Duration = Duration::from_millis(300);
/// How long after-work may go on after the last answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counters since the host's start, or their growth over a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// Requests that a component answered, by `<component> <path>`.
    pub calls: BTreeMap<String, u64>,
    /// Requests that went to the network.
    pub outbound: u64,
    /// Key-value operations, by name.
    pub key_value: BTreeMap<String, u64>,
    /// SQLite statements.
    pub sqlite: Sqlite,
    /// Instances that live now, by component.
    #[serde(default)]
    pub instances: BTreeMap<String, u64>,
}

/// What was done on SQLite.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Sqlite {
    /// Statements of any kind.
    pub statements: u64,
    /// Transactions that wrote.
    pub writes: u64,
}

impl Counters {
    /// Reads a host's counters.
    ///
    /// # Errors
    /// If it does not count.
    pub async fn read(address: SocketAddr) -> anyhow::Result<Self> {
        let body = Connection::open(address).await?.get(STATS_PATH).await?;
        serde_json::from_slice(&body).context("the host's counters")
    }

    /// Reads them once nothing goes on any more.
    ///
    /// # Errors
    /// If it goes on and on.
    pub async fn when_quiet(address: SocketAddr) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut before = Self::read(address).await?;
        loop {
            sleep(QUIET).await;
            let now = Self::read(address).await?;
            if now.is_as_quiet_as(&before) {
                return Ok(now);
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "after-work still goes on after {PATIENCE:?}");
            before = now;
        }
    }

    /// Whether nothing was done in between; instances may have ended.
    fn is_as_quiet_as(&self, earlier: &Self) -> bool {
        Self { instances: BTreeMap::new(), ..self.clone() }
            == Self { instances: BTreeMap::new(), ..earlier.clone() }
    }

    /// How much they grew since `earlier`; instances are those of now.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            now.iter().map(|(name, count)| (name.clone(), count - before.get(name).unwrap_or(&0))).collect()
        };
        Self {
            calls: grown(&self.calls, &earlier.calls),
            outbound: self.outbound - earlier.outbound,
            key_value: grown(&self.key_value, &earlier.key_value),
            sqlite: Sqlite {
                statements: self.sqlite.statements - earlier.sqlite.statements,
                writes: self.sqlite.writes - earlier.sqlite.writes,
            },
            instances: self.instances.clone(),
        }
    }

    /// Component calls before the upstream call, the router's own included.
    pub fn calls_before(&self) -> u64 {
        self.calls_where(|path| !PATHS_AFTER.contains(&path))
    }

    /// Component calls after the answer.
    pub fn calls_after(&self) -> u64 {
        self.calls_where(|path| PATHS_AFTER.contains(&path))
    }

    /// Writes to the key-value stores.
    pub fn key_value_writes(&self) -> u64 {
        WRITES.iter().filter_map(|name| self.key_value.get(*name)).sum()
    }

    fn calls_where(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let meant = self.calls.iter().filter(|(name, _)| {
            let (_, path) = name.split_once(' ').unwrap_or(("", name));
            is_meant(path)
        });
        meant.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(json: &str) -> Counters {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn calls_are_told_apart_by_their_path() {
        let counters = counters(
            r#"{"calls":{"router /v1/chat/completions":10,"token-limiter /reserve":10,"semantic-cache /lookup":10,
                "semantic-cache /store":9,"token-limiter /settle":2,"usage-logger /records":1,"embedder /":3},
                "outbound":10,"key_value":{"get":20,"set":9,"increment":12},"sqlite":{"statements":4,"writes":1}}"#,
        );
        assert_eq!(counters.calls_before(), 33);
        assert_eq!(counters.calls_after(), 12);
        assert_eq!(counters.key_value_writes(), 21);
    }

    #[test]
    fn an_instance_that_ends_is_nothing_that_goes_on() {
        let with = |more: &str| {
            counters(&format!(
                r#"{{"calls":{{}},"outbound":0,"key_value":{{}},"sqlite":{{"statements":0,"writes":0}},{more}}}"#
            ))
        };
        let before = with(r#""instances":{"router":2}"#);
        assert!(with(r#""instances":{"router":1}"#).is_as_quiet_as(&before));
        let mut later = before.clone();
        later.outbound += 1;
        assert!(!later.is_as_quiet_as(&before));
    }

    #[test]
    fn growth_counts_what_is_new() {
        let before = counters(
            r#"{"calls":{"a /":1},"outbound":1,"key_value":{},"sqlite":{"statements":0,"writes":0}}"#,
        );
        let after = counters(
            r#"{"calls":{"a /":4,"b /":2},"outbound":3,"key_value":{"set":5},"sqlite":{"statements":2,"writes":1}}"#,
        );
        let grown = after.since(&before);
        assert_eq!(grown.calls, [("a /".to_owned(), 3), ("b /".to_owned(), 2)].into());
        assert_eq!((grown.outbound, grown.key_value_writes(), grown.sqlite.writes), (2, 5, 1));
    }
}
