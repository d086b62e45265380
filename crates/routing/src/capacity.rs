//! Tokens per minute of deployments that have a capacity, of all instances together.
//!
//! | when | operations |
//! |---|---|
//! | a request ends at a deployment with a capacity | an add |
//! | once a second and instance, while there are requests for its pool | two reads for each of the pool's |
//!
//! Deployments without a capacity cost nothing. What others have under way is not known: each instance adds what it has reserved
//! itself to what all have told, so together they may be over a capacity by what the others reserve. Where the store is out of reach an
//! instance goes by its own count.

use crate::breaker::{SharedStore, StoreError, Told};
use crate::load::MINUTE_MS;
use crate::{DeploymentId, Loads};
use std::cell::RefCell;

/// Tells the others what a request took that is over.
///
/// # Errors
/// The store failed; the others do not learn of it.
pub async fn tell(
    loads: &RefCell<Loads>,
    store: &impl SharedStore,
    id: DeploymentId,
    tokens: u64,
    now_ms: u64,
) -> Told {
    let (minute, amount) = (now_ms / MINUTE_MS, i64::try_from(tokens).unwrap_or(i64::MAX));
    let current = store.add(&key(id, minute), amount).await?;
    loads.borrow_mut().all_took(id, minute, count(current), None);
    Ok(())
}

/// Reads what all have told of these deployments, each at most once a second.
///
/// # Errors
/// The store failed; this instance goes on with what it knows.
pub async fn look(
    loads: &RefCell<Loads>,
    store: &impl SharedStore,
    ids: impl Iterator<Item = DeploymentId>,
    now_ms: u64,
) -> Told {
    for id in ids {
        if loads.borrow_mut().begin_look(id, now_ms) {
            let seen = read(store, id, now_ms / MINUTE_MS).await;
            let mut loads = loads.borrow_mut();
            loads.end_look(id, now_ms);
            let (current, previous) = seen?;
            loads.all_took(id, now_ms / MINUTE_MS, current, Some(previous));
        }
    }
    Ok(())
}

async fn read(store: &impl SharedStore, id: DeploymentId, minute: u64) -> Result<(u64, u64), StoreError> {
    let current = store.count(&key(id, minute)).await?;
    let previous = store.count(&key(id, minute.saturating_sub(1))).await?;
    Ok((count(current), count(previous)))
}

fn key(id: DeploymentId, minute: u64) -> String {
    format!("rt:1:{id}:t.{minute}:{}", minute.saturating_add(3))
}

fn count(counter: i64) -> u64 {
    u64::try_from(counter).unwrap_or(0)
}
