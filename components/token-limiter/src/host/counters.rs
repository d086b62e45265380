//! The counters in Spin's key-value store.

use super::within;
use quota::{CounterStore, StoreError, Sweepable, decode_counter};
use spin_sdk::experimental::wasi::keyvalue::{atomics, batch, store as wasi_store};
use spin_sdk::key_value::Store;
use spin_sdk::time::sleep;
use std::cell::OnceCell;
use std::fmt::Debug;
use std::time::Duration;

/// The store's label: the one that every Spin application has without a runtime config.
const STORE: &str = "default";

/// How long the store may take to open or to answer a read. The router waits 5 s for the whole reservation, and
/// `on_store_error` must have its say before; the host's Redis client goes on trying to connect for longer.
const STORE_WITHIN: Duration = Duration::from_secs(3);

/// The counters, opened when first used. One value serves one request.
pub struct Counters {
    /// Reads go this way: asynchronous, so that the instance's other requests run meanwhile.
    reader: OnceCell<Store>,
    /// The only interface with an atomic increment; it blocks the instance while it runs.
    writer: OnceCell<wasi_store::Bucket>,
}

impl Counters {
    /// Opens nothing yet.
    pub fn new() -> Self {
        Counters { reader: OnceCell::new(), writer: OnceCell::new() }
    }

    async fn reader(&self) -> Result<&Store, StoreError> {
        if self.reader.get().is_none() {
            let opened = within(STORE_WITHIN, Store::open(STORE)).await.ok_or_else(too_slow_to("open"))?;
            let store = opened.map_err(failed_to("open"))?;
            return Ok(self.reader.get_or_init(|| store));
        }
        self.reader.get().ok_or_else(|| failed_to("open")("not kept"))
    }

    fn writer(&self) -> Result<&wasi_store::Bucket, StoreError> {
        if self.writer.get().is_none() {
            let bucket = wasi_store::open(STORE).map_err(failed_to("open"))?;
            return Ok(self.writer.get_or_init(|| bucket));
        }
        self.writer.get().ok_or_else(|| failed_to("open")("not kept"))
    }
}

impl CounterStore for Counters {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        let read = within(STORE_WITHIN, self.reader().await?.get(key)).await;
        match read.ok_or_else(too_slow_to("read a counter"))?.map_err(failed_to("read a counter"))? {
            None => Ok(0),
            Some(stored) => decode_counter(&stored)
                .ok_or_else(|| failed_to("read a counter")(format!("{key} holds something else"))),
        }
    }

    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        let read = within(STORE_WITHIN, self.reader().await?.get(key)).await;
        match read.ok_or_else(too_slow_to("read a text"))?.map_err(failed_to("read a text"))? {
            None => Ok(None),
            Some(stored) => String::from_utf8(stored)
                .map(Some)
                .map_err(|_| failed_to("read a text")(format!("{key} holds something else"))),
        }
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.reader().await?.set(key, text.as_bytes()).await.map_err(failed_to("write a text"))
    }

    async fn pause(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        atomics::increment(self.writer()?, key, delta).map_err(failed_to("add to a counter"))
    }
}

/// These calls block the instance's other requests while they run, and the listing must all the same not go the
/// asynchronous way: Spin's SQLite store holds its lock until the last key was taken from the stream, and a request of
/// this instance that asks the store meanwhile would wait for it on the very thread that would take the keys.
impl Sweepable for Counters {
    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        // Spin gives all at once and knows no cursor.
        Ok(self.writer()?.list_keys(None).map_err(failed_to("list the keys"))?.keys)
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        batch::delete_many(self.writer()?, &keys).map_err(failed_to("delete old keys"))
    }
}

fn failed_to<E: Debug>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError { operation, reason: format!("{error:?}") }
}

fn too_slow_to(operation: &'static str) -> impl Fn() -> StoreError {
    move || StoreError { operation, reason: format!("no answer within {} ms", STORE_WITHIN.as_millis()) }
}
