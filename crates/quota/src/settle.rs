//! Makes corrections, and says whose alerts are due by them.

use crate::alerts::{Alert, due};
use crate::corrections::{Corrections, rule};
use crate::counter::Slot;
use crate::kind::Unit;
use crate::reserve::not_negative;
use crate::store::{CounterStore, StoreError, change};
use gateway_config::LimiterConfig;
use std::collections::BTreeSet;

/// Some corrections were not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failed} of {all} counters could not be corrected: {first}")]
pub struct Unapplied<'c> {
    /// Counters that were not corrected.
    pub failed: usize,
    /// Counters to correct.
    pub all: usize,
    /// The first failure.
    pub first: StoreError,
    /// The thresholds whose alert may be due by the corrections that were made.
    pub alerts: Vec<Alert<'c>>,
}

/// Makes the corrections, each in one write, and returns the thresholds whose alert may be due; those of the counters
/// that are [`crate::unchanged`], too, each for one read. One that fails does not keep the others from being made.
///
/// What makes limits stricter comes first, in case the store's time runs out: debts, then what is given back, and last the
/// reads, of which none depends on another.
///
/// # Errors
/// How many failed. They are not safe to repeat: a failed write may have been made all the same.
pub async fn settle<'c, S: CounterStore>(
    store: &S,
    config: &'c LimiterConfig,
    corrections: &Corrections,
    unchanged: &BTreeSet<Slot>,
) -> Result<Vec<Alert<'c>>, Unapplied<'c>> {
    let mut failures = Vec::new();
    let mut alerts = Vec::new();
    let (debts, given_back): (Vec<_>, Vec<_>) = corrections.iter().partition(|(.., delta)| *delta > 0);
    for (key, slot, delta) in debts.into_iter().chain(given_back) {
        match change(store, key, delta).await {
            Ok(sum) => alerts.extend(alerts_after(config, slot, sum)),
            Err(error) => failures.push(error),
        }
    }
    for slot in unchanged {
        // A failure costs an alert that the next request's may make up for.
        let sum = store.get(&slot.key()).await.unwrap_or(0);
        alerts.extend(alerts_after(config, slot, sum));
    }
    let (failed, all) = (failures.len(), corrections.len());
    match failures.into_iter().next() {
        None => Ok(alerts),
        Some(first) => Err(Unapplied { failed, all, first, alerts }),
    }
}

/// The thresholds that the window of a corrected counter has reached; requests had theirs told when they came.
pub(crate) fn alerts_after<'c>(config: &'c LimiterConfig, slot: &Slot, sum: i64) -> Vec<Alert<'c>> {
    match rule(config, slot) {
        Some(_) if matches!(slot.counter.kind().unit, Unit::Requests | Unit::Slots) => Vec::new(),
        Some((limit, check)) => due(limit, check, slot, not_negative(sum), false),
        None => Vec::new(),
    }
}
