//! Alerts: told once for each threshold and window, by whichever request or settlement finds it reached first.
//!
//! What is told must be so: an estimate that turns out too large must not set off an alert, and so hide the one that is
//! due later. So a threshold of requests or prompt tokens, which are known beforehand, is reached when they are taken; one
//! of completions or money when a settlement corrects them, which tells of all that the window holds then, with what
//! requests that still run have reserved. And a limit that refuses is used up, however large the request and whatever is
//! left: that is what the threshold of its whole size means.
//!
//! Whoever finds thresholds reached names all of them, so that none is lost with a request that gave back what reached it; a
//! counter of its own beside the window's latches each. A settlement sees the window that it corrects alone, without the
//! minute before.

use crate::counter::Slot;
use crate::kind::{Kind, Unit};
use crate::read_first::fnv1a;
use crate::store::{CounterStore, StoreError};
use gateway_config::{Check, Limit};
use std::sync::atomic::{AtomicU64, Ordering};

/// The threshold of a limit that is used up, in thousandths.
const WHOLE: u64 = 1_000;

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

/// Whether what is reserved of this kind is what will be used.
pub(crate) fn is_known_beforehand(kind: Kind) -> bool {
    match kind.unit {
        Unit::Requests | Unit::Slots | Unit::PromptTokens => true,
        Unit::TotalTokens | Unit::CompletionTokens | Unit::WeightedTokens | Unit::NanoUsd => false,
    }
}

/// The thresholds that are reached when `used` is, and the whole size if the limit `has_refused`.
pub(crate) fn due<'c>(
    limit: &'c Limit,
    check: &Check,
    slot: &Slot,
    used: u64,
    has_refused: bool,
) -> Vec<Alert<'c>> {
    let is_due = |permille: u64| {
        (has_refused && permille == WHOLE)
            || u128::from(used) * u128::from(WHOLE) >= u128::from(permille) * u128::from(check.size)
    };
    let thresholds = limit.alert_at_permille.iter().copied();
    let alert = |permille| Alert { limit: &limit.name, slot: slot.clone(), permille, used, size: check.size };
    thresholds.filter(|permille| is_due(*permille)).map(alert).collect()
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

/// Which alerts are told, so that nobody asks the store again: a hint for one instance, of the alerts that it met last.
///
/// It holds hashes, never a name, so that it may outlive a request. Two alerts of one hash would lose one: a chance of 1 in
/// 2⁶⁴ for each that is told.
#[derive(Debug)]
pub struct Told([AtomicU64; PLACES]);

/// Two alerts that share a place ask the store in turn.
const PLACES: usize = 512;

impl Told {
    /// Nothing was told yet.
    pub const fn new() -> Self {
        Told([const { AtomicU64::new(0) }; PLACES])
    }

    /// Whether the alert is known to be told.
    pub fn knows(&self, alert: &Alert<'_>) -> bool {
        let hash = fnv1a(&alert.key());
        self.place(hash).is_some_and(|told| told.load(Ordering::Relaxed) == hash)
    }

    /// Remembers that it was.
    pub fn learn(&self, alert: &Alert<'_>) {
        let hash = fnv1a(&alert.key());
        if let Some(place) = self.place(hash) {
            place.store(hash, Ordering::Relaxed);
        }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(hash % PLACES as u64).unwrap_or(0))
    }
}

impl Default for Told {
    fn default() -> Self {
        Told::new()
    }
}
