//! Where the counters are, and so how they are decided on: one by one in a key-value store, or by a script in Redis.
//!
//! Both decide alike; `quota` says what either promises.

use gateway_config::LimiterConfig;
use quota::{
    Alert, Corrections, CounterStore, Demand, Outcome, Pace, ScriptStore, Slot, Standing, StoreError,
    Stretch, Unapplied,
};
use std::collections::BTreeSet;

/// How slow the key-value store is. Holds a figure only.
static PACE: Pace = Pace::new();

/// One of the two.
pub enum Keeper<'s, C, S> {
    /// A store that can add to a counter.
    Counters(&'s C),
    /// A store that runs scripts.
    Scripts(&'s S),
}

impl<C: CounterStore, S: ScriptStore> Keeper<'_, C, S> {
    /// Takes all of `demands`, or nothing.
    pub async fn reserve<'c>(
        &self,
        clock: impl Fn() -> u64,
        demands: &[Demand<'c>],
    ) -> Result<Outcome<'c>, StoreError> {
        match self {
            Keeper::Counters(counters) => quota::reserve(*counters, &PACE, clock, demands).await,
            Keeper::Scripts(scripts) => quota::reserve_by_script(*scripts, clock, demands).await,
        }
    }

    /// Makes corrections; the thresholds whose alert may be due.
    pub async fn settle<'c>(
        &self,
        config: &'c LimiterConfig,
        corrections: &Corrections,
        unchanged: &BTreeSet<Slot>,
    ) -> Result<Vec<Alert<'c>>, Unapplied<'c>> {
        match self {
            Keeper::Counters(counters) => quota::settle(*counters, config, corrections, unchanged).await,
            Keeper::Scripts(scripts) => {
                let all = corrections.len();
                let settled = quota::settle_by_script(*scripts, config, corrections, unchanged).await;
                settled.map_err(|first| Unapplied { failed: all, all, first, alerts: Vec::new() })
            }
        }
    }

    /// Whether this alert is now to be told.
    pub async fn latch(
        &self,
        config: &LimiterConfig,
        alert: &Alert<'_>,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        match self {
            Keeper::Counters(counters) => quota::latch(*counters, alert).await,
            Keeper::Scripts(scripts) => quota::latch_by_script(*scripts, config, alert, now_ms).await,
        }
    }

    /// When a charge's window begins and ends.
    pub async fn bounds(&self, config: &LimiterConfig, slot: &Slot) -> Result<Option<Stretch>, StoreError> {
        match self {
            Keeper::Counters(counters) => quota::bounds(*counters, config, slot).await,
            Keeper::Scripts(_) => Ok(quota::bounds_by_script(config, slot)),
        }
    }

    /// How counters stand.
    pub async fn inspect<'c>(
        &self,
        now_ms: u64,
        counters: &[Demand<'c>],
    ) -> Result<Vec<Standing<'c>>, StoreError> {
        match self {
            Keeper::Counters(store) => quota::inspect(*store, now_ms, counters).await,
            Keeper::Scripts(scripts) => quota::inspect_by_script(*scripts, now_ms, counters).await,
        }
    }

    /// Sets counters to zero.
    pub async fn reset(&self, now_ms: u64, counters: &[Demand<'_>]) -> Result<(), StoreError> {
        match self {
            Keeper::Counters(store) => quota::reset(*store, now_ms, counters).await,
            Keeper::Scripts(scripts) => quota::reset_by_script(*scripts, now_ms, counters).await,
        }
    }
}
