//! An operator's look at counters, and setting them to zero.

use crate::demand::Demand;
use crate::outcome::Standing;
use crate::reserve::look;
use crate::store::{CounterStore, StoreError, change};

/// How the counters of [`crate::counters`] stand at `now_ms`, one for each check of the rule.
///
/// # Errors
/// The store cannot be read.
pub async fn inspect<'c, S: CounterStore>(
    store: &S,
    now_ms: u64,
    counters: &[Demand<'c>],
) -> Result<Vec<Standing<'c>>, StoreError> {
    let mut standings = Vec::with_capacity(counters.len());
    for demand in counters {
        standings.push(look(store, demand, now_ms, true).await?.standing());
    }
    Ok(standings)
}

/// Sets the counters to zero: takes off what each window that counts at `now_ms` holds.
///
/// Requests that run keep their reservations, and settle by the difference to what they reserved: one that takes less
/// than that gives back what others have been charged since, but nothing below zero. So their use up to the reservation is
/// forgiven, what goes beyond it is not. Of requests in parallel, those that run are forgotten: until their lease has passed, more can
/// run than the limit says.
///
/// # Errors
/// The store failed; some windows may have been set to zero. It is safe to repeat.
pub async fn reset<S: CounterStore>(
    store: &S,
    now_ms: u64,
    counters: &[Demand<'_>],
) -> Result<(), StoreError> {
    for demand in counters {
        let frame = look(store, demand, now_ms, true).await?.frame;
        let older = frame.older(&demand.counter);
        for slot in std::iter::once(frame.current(&demand.counter)).chain(older) {
            let key = slot.key();
            let held = store.get(&key).await?;
            if held != 0 {
                change(store, &key, held.saturating_neg()).await?;
            }
        }
    }
    Ok(())
}
