//! Alerts: told once for each threshold and window, by whichever request or settlement comes first.
//!
//! A charge names the thresholds that may be due; a counter of its own beside the window's latches each. What is used
//! includes what is reserved. A settlement sees the window that it corrects alone, without the minute before.

use crate::counter::Slot;
use crate::store::{CounterStore, StoreError};
use gateway_config::{Check, Limit};

/// A threshold that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert<'c> {
    /// Name of the limit.
    pub limit: &'c str,
    /// The counter and its window.
    pub slot: Slot,
    /// The threshold, in thousandths of the size.
    pub permille: u64,
    /// How much was used.
    pub used: u64,
    /// How much the limit allows.
    pub size: u64,
}

impl Alert<'_> {
    /// The key that latches it.
    pub fn key(&self) -> String {
        self.slot.alert_key(self.permille)
    }
}

/// The thresholds that were crossed from `before` to `after`, and the highest one reached, in case that whoever crossed
/// it gave back what it took.
pub(crate) fn due<'c>(
    limit: &'c Limit,
    check: &Check,
    slot: &Slot,
    before: u64,
    after: u64,
) -> Vec<Alert<'c>> {
    let is_reached =
        |permille: u64, used: u64| u128::from(used) * 1_000 >= u128::from(permille) * u128::from(check.size);
    let reached: Vec<u64> =
        limit.alert_at_permille.iter().copied().filter(|permille| is_reached(*permille, after)).collect();
    let highest = reached.last().copied();
    reached
        .into_iter()
        .filter(|permille| Some(*permille) == highest || !is_reached(*permille, before))
        .map(|permille| Alert {
            limit: &limit.name,
            slot: slot.clone(),
            permille,
            used: after,
            size: check.size,
        })
        .collect()
}

/// Whether this alert is now to be told: true for one caller in each window, unless the store fails in between.
///
/// One read where it was told before, one more write where not.
///
/// # Errors
/// The store failed. If it was the write, the alert may be lost.
pub async fn latch<S: CounterStore>(store: &S, alert: &Alert<'_>) -> Result<bool, StoreError> {
    let key = alert.key();
    Ok(store.get(&key).await? == 0 && store.increment(&key, 1).await? == 1)
}
