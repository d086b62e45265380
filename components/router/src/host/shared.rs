//! The key-value store that the router's instances share, for breakers only.

use routing::breaker::{SharedStore, StoreError};
use spin_sdk::experimental::wasi::keyvalue::{atomics, store as wasi_store};
use spin_sdk::key_value::Store;
use std::cell::OnceCell;
use std::fmt::Debug;

/// The store's label: the one that every Spin application has without a runtime config.
const STORE: &str = "default";

/// The store, opened when first used. One value serves one piece of work.
#[derive(Default)]
pub struct Shared {
    /// Texts go this way: asynchronous, so that the instance's other requests run meanwhile.
    texts: OnceCell<Store>,
    /// The only interface with an atomic increment; it blocks the instance while it runs. Only failures count.
    counters: OnceCell<wasi_store::Bucket>,
}

impl Shared {
    async fn texts(&self) -> Result<&Store, StoreError> {
        if self.texts.get().is_none() {
            let store = Store::open(STORE).await.map_err(failed)?;
            return Ok(self.texts.get_or_init(|| store));
        }
        self.texts.get().ok_or_else(|| failed("not kept"))
    }

    fn counters(&self) -> Result<&wasi_store::Bucket, StoreError> {
        if self.counters.get().is_none() {
            let bucket = wasi_store::open(STORE).map_err(failed)?;
            return Ok(self.counters.get_or_init(|| bucket));
        }
        self.counters.get().ok_or_else(|| failed("not kept"))
    }
}

impl SharedStore for Shared {
    async fn read(&self, key: &str) -> Result<Option<String>, StoreError> {
        let stored = self.texts().await?.get(key).await.map_err(failed)?;
        stored.map(|bytes| String::from_utf8(bytes).map_err(failed)).transpose()
    }

    async fn write(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.texts().await?.set(key, text.as_bytes()).await.map_err(failed)
    }

    /// By adding nothing: the stores keep counters each in a form of their own.
    async fn count(&self, key: &str) -> Result<i64, StoreError> {
        self.add(key, 0).await
    }

    async fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        atomics::increment(self.counters()?, key, amount).map_err(failed)
    }
}

fn failed(error: impl Debug) -> StoreError {
    StoreError(format!("{error:?}"))
}
