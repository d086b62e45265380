//! The platform: configuration, clock, log, response, and the counters in Spin's key-value store.

use crate::error::Cause;
use futures::future::{Either, select};
use gateway_config::{LimiterConfig, Problems};
use quota::{CounterStore, StoreError, decode_counter};
use spin_sdk::experimental::wasi::keyvalue::{atomics, store as wasi_store};
use spin_sdk::key_value::Store;
use spin_sdk::variables;
use spin_sdk::wit_bindgen::yield_async;
use std::cell::OnceCell;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The store's label: the one that every Spin application has without a runtime config.
const STORE: &str = "default";

/// How long the store may take to open or to answer a read. The router waits 5 s for the whole reservation, and
/// `on_store_error` must have its say before; the host's Redis client goes on trying to connect for longer.
const STORE_WITHIN: Duration = Duration::from_secs(3);

/// The validated limits, parsed once per instance.
pub async fn config() -> Result<&'static LimiterConfig, Cause<'static>> {
    static CONFIG: OnceLock<Result<LimiterConfig, Problems>> = OnceLock::new();
    let config = match CONFIG.get() {
        Some(config) => config,
        None => {
            // An unreadable document must not pass for an empty one: that would lift every limit.
            let gateway = variables::get("gateway").await;
            let gateway = gateway.map_err(|error| Cause::NoConfiguration { reason: format!("{error:?}") })?;
            // Two first requests may both get here; one result is kept, and they are equal.
            CONFIG.get_or_init(|| LimiterConfig::parse(&gateway))
        }
    };
    config.as_ref().map_err(Cause::Configuration)
}

/// Milliseconds since the Unix epoch, by the host's wall clock.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Lets the host run this instance's other requests.
pub async fn pause() {
    yield_async().await;
}

/// Prints one line about a request to the component's log.
#[expect(clippy::print_stderr, reason = "the platform's log is standard error")]
pub fn log(request_id: &str, why: &str) {
    eprintln!("token-limiter: request_id={request_id} {why}");
}

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
        match self.reader().await?.get(key).await.map_err(failed_to("read a text"))? {
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
        spin_sdk::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        atomics::increment(self.writer()?, key, delta).map_err(failed_to("add to a counter"))
    }
}

fn failed_to<E: Debug>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError { operation, reason: format!("{error:?}") }
}

fn too_slow_to(operation: &'static str) -> impl Fn() -> StoreError {
    move || StoreError { operation, reason: format!("no answer within {} ms", STORE_WITHIN.as_millis()) }
}

/// The result of `work`, or `None` when `limit` passes first; the work is then dropped.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(spin_sdk::time::sleep(limit))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}
