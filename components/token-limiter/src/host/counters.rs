//! The counters in Spin's key-value store.

use super::{monotonic as now, within};
use crate::patience::Patience;
use quota::{CounterStore, StoreError, Sweepable, decode_counter};
use spin_sdk::experimental::wasi::keyvalue::{atomics, batch, store as wasi_store};
use spin_sdk::key_value::{Error, Store};
use spin_sdk::time::sleep;
use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

/// The store's label: the one that every Spin application has without a runtime config.
const STORE: &str = "default";

thread_local! {
    /// The instance's handle for reads: asynchronous, so that its other requests run meanwhile. Opening is a command to
    /// Redis or a change of threads on SQLite, each time.
    static READER: RefCell<Option<Rc<Store>>> = const { RefCell::new(None) };
    /// The same for the only interface with an atomic increment, which blocks the instance while it runs.
    static WRITER: RefCell<Option<Rc<wasi_store::Bucket>>> = const { RefCell::new(None) };
}

/// The counters, as one piece of work sees them: it has a time for all that it asks. See [`Patience`].
pub struct Counters {
    patience: Patience,
}

impl Counters {
    /// For a piece of work that may wait so long in all, from its first operation on. Opens nothing yet.
    pub fn within(limit: Duration) -> Self {
        Counters { patience: Patience::of(limit) }
    }

    /// Does something with the reader, if the time allows.
    async fn read<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&Store) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let Some(left) = self.patience.left(now()) else {
            return Err(failed_to(operation)("the time for the store is up"));
        };
        let Some(done) = within(left, with_reader(work)).await else {
            // Its connection may be the one that hangs.
            forget_handles();
            return Err(failed_to(operation)(format!("no answer within {} ms", left.as_millis())));
        };
        let done = done.map_err(failed_to(operation))?;
        self.patience.has_answered(now());
        Ok(done)
    }

    /// Does something that cannot be given up on.
    fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&wasi_store::Bucket) -> Result<T, wasi_store::Error>,
    ) -> Result<T, StoreError> {
        let done = with_writer(work).map_err(failed_to(operation))?;
        self.patience.has_answered(now());
        Ok(done)
    }
}

fn forget_handles() {
    READER.set(None);
    WRITER.set(None);
}

/// Does something with the instance's reader; after a failure the next one opens it anew.
async fn with_reader<T>(work: impl AsyncFnOnce(&Store) -> Result<T, Error>) -> Result<T, Error> {
    let store = match READER.with_borrow(Clone::clone) {
        Some(store) => store,
        None => {
            let store = Rc::new(Store::open(STORE).await?);
            // Two first requests may both open it; the later handle stays.
            READER.set(Some(Rc::clone(&store)));
            store
        }
    };
    work(&store).await.inspect_err(|_| forget_handles())
}

fn with_writer<T>(
    work: impl FnOnce(&wasi_store::Bucket) -> Result<T, wasi_store::Error>,
) -> Result<T, wasi_store::Error> {
    let bucket = match WRITER.with_borrow(Clone::clone) {
        Some(bucket) => bucket,
        None => {
            let bucket = Rc::new(wasi_store::open(STORE)?);
            WRITER.set(Some(Rc::clone(&bucket)));
            bucket
        }
    };
    work(&bucket).inspect_err(|_| forget_handles())
}

impl CounterStore for Counters {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        match self.read("read a counter", async |store| store.get(key).await).await? {
            None => Ok(0),
            Some(stored) => decode_counter(&stored)
                .ok_or_else(|| failed_to("read a counter")(format!("{key} holds something else"))),
        }
    }

    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        match self.read("read a text", async |store| store.get(key).await).await? {
            None => Ok(None),
            Some(stored) => String::from_utf8(stored)
                .map(Some)
                .map_err(|_| failed_to("read a text")(format!("{key} holds something else"))),
        }
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.read("write a text", async |store| store.set(key, text.as_bytes()).await).await
    }

    async fn pause(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    /// Only right after an answer of the store: else it is read first, which can be given up on. So it is tried even when the
    /// time is up, as long as the store goes on answering.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        if !self.patience.is_fresh(now()) {
            self.get(key).await?;
        }
        self.write("add to a counter", |bucket| atomics::increment(bucket, key, delta))
    }

    async fn take(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        if self.patience.left(now()).is_none() {
            return Err(failed_to("add to a counter")("the time for the store is up"));
        }
        self.increment(key, amount).await
    }
}

/// These calls block the instance's other requests while they run, and the listing must all the same not go the
/// asynchronous way: Spin's SQLite store holds its lock until the last key was taken from the stream, and a request of
/// this instance that asks the store meanwhile would wait for it on the very thread that would take the keys.
impl Sweepable for Counters {
    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        // Spin gives all at once and knows no cursor.
        self.write("list the keys", |bucket| Ok(bucket.list_keys(None)?.keys))
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.write("delete old keys", |bucket| batch::delete_many(bucket, &keys))
    }
}

fn failed_to<E: Debug>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError { operation, reason: format!("{error:?}") }
}
