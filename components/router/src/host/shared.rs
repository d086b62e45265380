//! The key-value store that the router's instances share, for breakers and capacities only.

use routing::breaker::{OPENINGS, SharedStore, StoreError};
use spin_sdk::experimental::wasi::keyvalue::{atomics, store as wasi_store};
use spin_sdk::key_value::Store;
use spin_sdk::wasip3::clocks::monotonic_clock;
use std::cell::{Cell, OnceCell};
use std::fmt::Debug;
use std::time::Duration;

/// The store's label: the one that every Spin application has without a runtime config.
const STORE: &str = "default";

/// The store, opened when first used. One value serves one piece of work, and keeps its time: when that is up, every
/// operation fails at once, so that whoever drives it goes on with what it knows, and is never dropped halfway.
pub struct Shared {
    /// In ns of the monotonic clock.
    until_ns: u64,
    /// Whether it has answered in this piece of work.
    has_answered: Cell<bool>,
    /// Texts go this way: asynchronous, so that the instance's other requests run meanwhile.
    texts: OnceCell<Store>,
    /// The only interface with an atomic increment; it blocks the instance while it runs, and has no timeout. So only
    /// failures count, and what capacities are used, and only in a store that has just answered the other way.
    counters: OnceCell<wasi_store::Bucket>,
}

impl Shared {
    /// For a piece of work that begins now, and so much time in all.
    pub fn within(limit: Duration) -> Self {
        let within_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Shared {
            until_ns: monotonic_clock::now().saturating_add(within_ns),
            has_answered: Cell::new(false),
            texts: OnceCell::new(),
            counters: OnceCell::new(),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let left = Duration::from_nanos(self.until_ns.saturating_sub(monotonic_clock::now()));
        let late = || StoreError("it takes too long".to_owned());
        if left.is_zero() {
            return Err(late());
        }
        let done = super::within(left, work).await.ok_or_else(late)??;
        self.has_answered.set(true);
        Ok(done)
    }

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
        let stored = self.in_time(async { self.texts().await?.get(key).await.map_err(failed) }).await?;
        stored.map(|bytes| String::from_utf8(bytes).map_err(failed)).transpose()
    }

    async fn write(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.in_time(async { self.texts().await?.set(key, text.as_bytes()).await.map_err(failed) }).await
    }

    /// By adding nothing: the stores keep counters each in a form of their own.
    async fn count(&self, key: &str) -> Result<i64, StoreError> {
        self.add(key, 0).await
    }

    async fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        if !self.has_answered.get() {
            self.read(OPENINGS).await?;
        }
        self.in_time(async { atomics::increment(self.counters()?, key, amount).map_err(failed) }).await
    }
}

fn failed(error: impl Debug) -> StoreError {
    StoreError(format!("{error:?}"))
}
