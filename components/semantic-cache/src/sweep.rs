//! What follows a stored answer: expired ones are deleted, if it is time.

use crate::host::{self, KeyValue};
use cache_policy::{Sweepable, Swept};
use std::cell::Cell;

/// How soon a backlog is gone on with.
const CHECK_MS: u64 = 60_000;

thread_local! {
    /// When this instance asks the store again whether a sweep is due: milliseconds since the Unix epoch.
    static NEXT_CHECK_MS: Cell<u64> = const { Cell::new(0) };
}

/// Looks for expired entries after the answer was sent; each instance once in [`CHECK_MS`].
///
/// Whether a sweep is due stands in the store, for all instances together. This only saves it the question.
pub fn later() {
    let now_ms = host::now_ms();
    if NEXT_CHECK_MS.get() <= now_ms {
        NEXT_CHECK_MS.set(now_ms.saturating_add(CHECK_MS));
        host::spawn(sweep(now_ms));
    }
}

async fn sweep(now_ms: u64) {
    // First the answer goes out: listing the keys keeps the instance busy.
    KeyValue.pause().await;
    match cache_policy::sweep(&KeyValue, now_ms).await {
        Ok(None | Some(Swept { deleted: 0, .. })) => {}
        Ok(Some(Swept { keys, read, deleted })) => {
            host::log(&format!(
                "deleted {deleted} expired entries of {read} read; the store had {keys} keys"
            ));
        }
        Err(error) => host::log(&format!("expired entries stay, the key-value store failed: {error}")),
    }
}
