//! Listing and deleting many keys: `wasi:keyvalue`, whose calls block the requests of this instance while they run.
//!
//! Listing must not go the asynchronous way. Spin's SQLite store holds its lock until the last key was taken from the
//! stream; another request of this instance that asks the store meanwhile waits for that lock on the very thread that
//! would take the keys, and the store stands still for the whole process (read in Spin 4.1's `key-value-spin`).

use super::KeyValue;
use cache_policy::{StoreError, Sweepable};
use spin_sdk::experimental::wasi::keyvalue::{batch, store};
use spin_sdk::time::sleep;
use std::time::Duration;

/// Reading from an embedded store is done at once, so that without a pause a sweep would keep the instance to itself.
const PAUSE: Duration = Duration::from_millis(10);

impl Sweepable for KeyValue {
    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        // Spin gives all at once and knows no cursor.
        Ok(open()?.list_keys(None).map_err(failed)?.keys)
    }

    async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        batch::delete_many(&open()?, &keys).map_err(failed)
    }

    async fn pause(&self) {
        sleep(PAUSE).await;
    }
}

fn open() -> Result<store::Bucket, StoreError> {
    store::open("default").map_err(failed)
}

fn failed(error: store::Error) -> StoreError {
    StoreError(format!("{error:?}"))
}
