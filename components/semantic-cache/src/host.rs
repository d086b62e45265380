//! The platform: the configuration variable, the clock, the log, tasks, the key-value store and the response.

mod keys;

use crate::error::Cause;
use cache_policy::{Entries, StoreError};
use gateway_config::{CacheConfig, Problems};
use spin_sdk::experimental::wasi::keyvalue::{batch, store as wasi_store};
use spin_sdk::key_value::{Error, Store};
use spin_sdk::variables;
use std::io::Write;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub use spin_sdk::wasip3::spawn;

/// The validated configuration, parsed once per instance; a variable that cannot be read is tried again.
pub async fn config() -> Result<&'static CacheConfig, Cause> {
    static CONFIG: OnceLock<Result<CacheConfig, Problems>> = OnceLock::new();
    let parsed = match CONFIG.get() {
        Some(parsed) => parsed,
        None => {
            let gateway = variables::get("gateway").await.map_err(|error| {
                log(&format!("the variable `gateway` cannot be read: {error:?}"));
                Cause::VariableUnreadable { name: "gateway" }
            })?;
            // Two first requests may both get here; one result is kept, and they are equal.
            CONFIG.get_or_init(|| CacheConfig::parse(&gateway))
        }
    };
    parsed.as_ref().map_err(Cause::Configuration)
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Prints one line to the component's log.
pub fn log(line: &str) {
    // Not `eprintln!`, which panics when standard error cannot be written to.
    let _unheard = writeln!(std::io::stderr(), "semantic-cache: {line}");
}

/// The key-value store of label `default`.
pub struct KeyValue;

impl Entries for KeyValue {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Store::open_default().await.map_err(failed)?.get(key).await.map_err(failed)
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        Store::open_default().await.map_err(failed)?.set(key, value).await.map_err(failed)
    }
}

impl KeyValue {
    /// Sets several keys in one write: one transaction in SQLite, one command on Redis.
    ///
    /// Only this interface has it, and it blocks the requests of this instance while it runs; a write for each key would
    /// wait for the disk as often.
    pub fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        if pairs.is_empty() {
            return Ok(());
        }
        let failed = |error: wasi_store::Error| StoreError(format!("{error:?}"));
        batch::set_many(&wasi_store::open("default").map_err(failed)?, pairs).map_err(failed)
    }

    /// Deletes a key; not an error if there is none.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        Store::open_default().await.map_err(failed)?.delete(key).await.map_err(failed)
    }
}

fn failed(error: Error) -> StoreError {
    StoreError(error.to_string())
}
