//! The same decisions on a store that runs scripts: one atomic step for a reservation and one for a batch of settlements.
//!
//! Nobody sees another's half-made reservation, so there is nothing to take back and nothing to ask twice: a request is
//! refused exactly if it does not fit. Keys expire by themselves. What is used and how long a refusal lasts is computed
//! here, from what the script read, by the code that computes it for counters; the script's own arithmetic decides, and
//! the tests hold both against each other.
//!
//! The clock is looked at again after the step, as in `reserve`: one that came too late for its minute or bucket is
//! settled to nothing and asked again.

use crate::alerts::Alert;
use crate::bounds::bounds_by_script;
use crate::corrections::Corrections;
use crate::counter::Slot;
use crate::demand::Demand;
use crate::level::{Level, never_fits, refusal};
use crate::outcome::{Admission, Outcome, Standing};
use crate::reservation::{Charge, Reservation};
use crate::reserve::not_negative;
use crate::settle::alerts_after;
use crate::store::StoreError;
use crate::window::{Counts, Frame, MINUTE_MS};
use gateway_config::{LimiterConfig, Window};
use std::collections::BTreeSet;

/// A store that runs Lua scripts as Redis does, <https://redis.io/docs/latest/develop/programmability/eval-intro/>.
#[expect(async_fn_in_trait, reason = "every caller drives its own store on one thread; no bound is missing")]
pub trait ScriptStore {
    /// Runs a script, which answers with a list of integers. Nothing else happens in the store meanwhile.
    ///
    /// # Errors
    /// The store cannot be reached, or the script failed. Whether it ran is then unknown.
    async fn eval(&self, script: &str, keys: &[String], args: &[String]) -> Result<Vec<i64>, StoreError>;
}

const RESERVE: &str = include_str!("redis/reserve.lua");
const SETTLE: &str = include_str!("redis/settle.lua");
/// Sets a key unless it is there.
const LATCH: &str =
    "if redis.call('SET', KEYS[1], '1', 'NX', 'PXAT', ARGV[1]) then return {1} end return {0}";
const RESET: &str = include_str!("redis/reset.lua");

/// Only the end of a minute or a bucket during the step makes another attempt.
const MAX_ATTEMPTS: u32 = 3;
/// For a window whose rule is gone, so that its end is not known: longer than any.
const LATCHED_MS: u64 = 400 * 24 * 3_600_000;
/// Clocks may differ by this much: what Redis expires is kept so much longer. `reserve.lua` knows the same.
const SLACK_MS: u64 = 2 * MINUTE_MS;

/// Takes all of `demands`, or nothing: [`crate::reserve`] in one step.
///
/// # Errors
/// The store failed. If it was the answer that was lost, what was taken stays charged until its window has passed.
pub async fn reserve_by_script<'c, S: ScriptStore>(
    store: &S,
    clock: impl Fn() -> u64,
    demands: &[Demand<'c>],
) -> Result<Outcome<'c>, StoreError> {
    let enforced: Vec<_> = demands.iter().filter(|demand| demand.is_enforced()).collect();
    if let Some(never) = never_fits(&enforced) {
        return Ok(never);
    }
    if demands.is_empty() {
        return Ok(Outcome::Admitted(Admission::new(Reservation::default(), &[], Vec::new())));
    }
    for _ in 0..MAX_ATTEMPTS {
        let now_ms = clock();
        let (is_admitted, levels) = ask(store, demands, now_ms, "take").await?;
        let (deciding, observed): (Vec<_>, Vec<_>) =
            levels.iter().cloned().partition(|level| level.demand.is_enforced());
        if !is_admitted {
            let refused = refusal(&deciding).ok_or_else(|| misunderstood("refused what fits"))?;
            return Ok(Outcome::Refused(refused));
        }
        let checked_ms = clock();
        let charges: Vec<Charge> = deciding.iter().chain(&observed).map(Level::charge).collect();
        if deciding.iter().all(|level| level.frame.is_current(checked_ms)) {
            let standings: Vec<_> = deciding.iter().map(Level::standing_after).collect();
            let alerts = levels.iter().flat_map(Level::alerts).collect();
            let mut admission = Admission::new(Reservation { charges }, &standings, alerts);
            admission.would_refuse =
                observed.iter().filter(|level| !level.fits()).map(Level::standing).collect();
            return Ok(Outcome::Admitted(admission));
        }
        let back = charges
            .iter()
            .map(|charge| (&charge.slot, crate::reserve::signed(charge.amount).saturating_neg()));
        add(store, back).await?;
    }
    Err(StoreError {
        operation: "reserve within one window",
        reason: format!("the window ended during each of {MAX_ATTEMPTS} attempts"),
    })
}

/// Makes the corrections in one step, and returns the thresholds whose alert may be due: [`crate::settle`].
///
/// # Errors
/// The store failed; then none was made, or all, and which is not known: they are not safe to repeat.
pub async fn settle_by_script<'c, S: ScriptStore>(
    store: &S,
    config: &'c LimiterConfig,
    corrections: &Corrections,
    unchanged: &BTreeSet<Slot>,
) -> Result<Vec<Alert<'c>>, StoreError> {
    let corrected = corrections.iter().map(|(_, slot, delta)| (slot, delta));
    let changes: Vec<_> = corrected.chain(unchanged.iter().map(|slot| (slot, 0))).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let sums = add(store, changes.iter().copied()).await?;
    Ok(changes.iter().zip(sums).flat_map(|((slot, _), sum)| alerts_after(config, slot, sum)).collect())
}

/// Whether this alert is now to be told: [`crate::latch`] in one step.
///
/// # Errors
/// The store failed; the alert may be lost.
pub async fn latch_by_script<S: ScriptStore>(
    store: &S,
    config: &LimiterConfig,
    alert: &Alert<'_>,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let ends_ms = || bounds_by_script(config, &alert.slot).map(|window| window.end_ms);
    let until_ms = alert
        .slot
        .expires_at_ms()
        .or_else(|| Some(ends_ms()?.saturating_add(SLACK_MS)))
        .unwrap_or_else(|| now_ms.saturating_add(LATCHED_MS));
    Ok(store.eval(LATCH, &[alert.key()], &[until_ms.to_string()]).await? == [1])
}

/// How the counters stand: [`crate::inspect`] in one step.
///
/// # Errors
/// The store cannot be read.
pub async fn inspect_by_script<'c, S: ScriptStore>(
    store: &S,
    now_ms: u64,
    counters: &[Demand<'c>],
) -> Result<Vec<Standing<'c>>, StoreError> {
    Ok(ask(store, counters, now_ms, "look").await?.1.iter().map(Level::standing).collect())
}

/// Sets the counters to zero: [`crate::reset`], with the same effect on requests that run.
///
/// # Errors
/// The store failed.
pub async fn reset_by_script<S: ScriptStore>(
    store: &S,
    now_ms: u64,
    counters: &[Demand<'_>],
) -> Result<(), StoreError> {
    let keys: Vec<String> = counters.iter().flat_map(|demand| keys(demand, now_ms).1).collect();
    if !keys.is_empty() {
        store.eval(RESET, &keys, &[]).await?;
    }
    Ok(())
}

/// The frame, if the clock alone decides it, and the keys: the current one, then the older ones.
fn keys(demand: &Demand<'_>, now_ms: u64) -> (Option<Frame>, Vec<String>) {
    let counter = &demand.counter;
    match Frame::by_the_clock(demand.check, now_ms) {
        Some(frame) => {
            let slots = std::iter::once(frame.current(counter)).chain(frame.older(counter));
            let keys = slots.map(|slot| slot.key()).collect();
            (Some(frame), keys)
        }
        None => (None, vec![counter.rolling_key()]),
    }
}

async fn ask<'d, 'c, S: ScriptStore>(
    store: &S,
    demands: &'d [Demand<'c>],
    now_ms: u64,
    mode: &str,
) -> Result<(bool, Vec<Level<'d, 'c>>), StoreError> {
    let (mut all_keys, mut args) = (Vec::new(), vec![now_ms.to_string(), mode.to_owned()]);
    let mut frames = Vec::with_capacity(demands.len());
    for demand in demands {
        let (frame, keys) = keys(demand, now_ms);
        let (span, extra) = match &demand.check.window {
            Window::SlidingMinute => ("m", MINUTE_MS.saturating_sub(now_ms % MINUTE_MS)),
            Window::Calendar(..) => ("c", 0),
            Window::Rolling(period) => ("r", period.rolling_ms()),
            Window::Lease { .. } => ("l", 0),
        };
        let expires = frame.as_ref().and_then(|frame| frame.current(&demand.counter).expires_at_ms());
        args.extend([span.to_owned(), demand.amount.to_string(), demand.check.size.to_string()]);
        args.push(u8::from(demand.is_enforced()).to_string());
        args.push(keys.len().saturating_sub(1).to_string());
        args.extend([extra.to_string(), expires.unwrap_or(0).to_string()]);
        all_keys.extend(keys);
        frames.push(frame);
    }
    let answer = store.eval(RESERVE, &all_keys, &args).await?;
    let Some((admitted, figures)) = answer.split_first() else {
        return Err(misunderstood("said nothing"));
    };
    let (figures, rest) = figures.as_chunks::<3>();
    if figures.len() != demands.len() || !rest.is_empty() {
        return Err(misunderstood("answered for other checks"));
    }
    let levels = demands.iter().zip(frames).zip(figures).map(|((demand, frame), [current, older, start])| {
        let counts = Counts { current: not_negative(*current), older: not_negative(*older) };
        let frame = frame.unwrap_or_else(|| begun(demand, not_negative(*start)));
        Level { demand, frame, counts, is_read: true, now_ms, begins: false }
    });
    Ok((*admitted == 1, levels.collect()))
}

/// The window that rolls from `start_ms`, which is also what it is called.
fn begun(demand: &Demand<'_>, start_ms: u64) -> Frame {
    let length_ms = match &demand.check.window {
        Window::Rolling(period) => period.rolling_ms(),
        Window::SlidingMinute | Window::Calendar(..) | Window::Lease { .. } => 0,
    };
    Frame::Until { window: start_ms, ends_ms: start_ms.saturating_add(length_ms), expires: None }
}

/// Adds to counters in these windows.
async fn add<'s, S: ScriptStore>(
    store: &S,
    changes: impl Iterator<Item = (&'s Slot, i64)>,
) -> Result<Vec<i64>, StoreError> {
    let (mut keys, mut args) = (Vec::new(), Vec::new());
    for (slot, delta) in changes {
        let (key, kind, third) = match slot.expires_at_ms() {
            Some(expires_ms) => (slot.key(), "n", expires_ms),
            None => (slot.counter.rolling_key(), "r", slot.window),
        };
        keys.push(key);
        args.extend([kind.to_owned(), delta.to_string(), third.to_string()]);
    }
    store.eval(SETTLE, &keys, &args).await
}

fn misunderstood(what: &str) -> StoreError {
    StoreError { operation: "run a script", reason: format!("the script {what}") }
}
