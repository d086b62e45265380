//! The platform: the configuration variable, the clock, the log, tasks, the key-value store and the response.

mod keys;

use crate::error::Cause;
use cache_policy::{Entries, StoreError};
use gateway_config::{CacheConfig, Problems};
use spin_sdk::experimental::wasi::keyvalue::{batch, store as wasi_store};
use spin_sdk::key_value::{Error, Store};
use spin_sdk::variables;
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
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

thread_local! {
    /// The instance's handle. Opening is a command to Redis or a change of threads on SQLite, each time.
    static STORE: RefCell<Option<Rc<Store>>> = const { RefCell::new(None) };
}

/// Does something with the store; after a failure the next one opens it anew.
async fn with_store<T>(work: impl AsyncFnOnce(&Store) -> Result<T, Error>) -> Result<T, StoreError> {
    let store = match STORE.with_borrow(Clone::clone) {
        Some(store) => store,
        None => {
            let store = Rc::new(Store::open_default().await.map_err(failed)?);
            // Two first requests may both open it; the later handle stays.
            STORE.set(Some(Rc::clone(&store)));
            store
        }
    };
    work(&store).await.map_err(|error| {
        STORE.set(None);
        failed(error)
    })
}

impl Entries for KeyValue {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        with_store(async |store| store.get(key).await).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        with_store(async |store| store.set(key, value).await).await
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
        with_store(async |store| store.delete(key).await).await
    }
}

fn failed(error: Error) -> StoreError {
    StoreError(error.to_string())
}
