//! Breakers of several instances, through a key-value store that can add to counters and has no transactions.
//!
//! | when | operations |
//! |---|---|
//! | an answer | none |
//! | once a second and instance, while there is traffic; each of those that come before the first has read | one read of [`OPENINGS`] |
//! | a failure that counts | two adds and two reads with a ratio, one of each without; then, if it opens, a read and a write |
//! | a failure that says when to come back, or that too much is asked | a read and a write |
//! | asking for a probe | four reads and an add; another add if somebody else has it. Once a second and instance at most |
//! | a probe ends | a read, a write and an add; the add comes last, so that whoever claims next finds what came of it |
//!
//! **Openings** live under one key, for the whole gateway. A writer reads, joins and writes; two writers at once can lose one's news.
//! It is not lost for long: whoever knows of an opening that it does not find at its next refresh writes it again. So an opening
//! is in force at the instance that made it at once, at the others within two refreshes of theirs and its own, and
//! an instance that knows of a longer one never goes back to a shorter.
//!
//! **Failures** are counted per interval, under keys that name it. **Requests** are told only together with a failure, each
//! instance's own since its last: an answer writes nothing. So the store's count of requests lacks what instances that saw no failure
//! served, and what the others served since their last one: the ratio is never underestimated, and the minimum throughput is
//! reached late rather than early.
//!
//! **Probes** are in `probe`.

use super::instance::{Breakers, Failing, Probe, RETRY_AFTER_MAX_MS, Tally};
use super::opening::{Reason, State};
use crate::DeploymentId;
use crate::window::sliding;
use gateway_config::Breaker;
use std::cell::RefCell;

/// Where the openings of all deployments are. Never expires: there is one, and it is overwritten.
pub const OPENINGS: &str = "rt:1:openings:never";

/// Begins every key.
const PREFIX: &str = "rt:1:";

/// Whether nobody will look at the key again, for whoever sweeps the store; hosts' clocks may differ by a minute.
pub fn is_expired(key: &str, now_ms: u64) -> bool {
    let expires = key.strip_prefix(PREFIX).and_then(|rest| rest.rsplit(':').next());
    let expires_minute = expires.and_then(|minute| minute.parse::<u64>().ok());
    expires_minute.is_some_and(|minute| now_ms / 60_000 > minute.saturating_add(1))
}

/// A key-value store that instances share.
///
/// `add` is atomic; a read that begins after a write or add has ended sees it. Keys that are added to are never
/// written otherwise. Keys are `rt:1:<deployment>:<what>:<minute since the epoch from which it is of no use>`.
#[expect(async_fn_in_trait, reason = "every caller drives its own store on one thread; no bound is missing")]
pub trait SharedStore {
    /// A text; `None` where there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// Writes a text.
    ///
    /// # Errors
    /// The store cannot be written; whether it was is then unknown.
    async fn write(&self, key: &str, text: &str) -> Result<(), StoreError>;

    /// A counter; 0 where there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn count(&self, key: &str) -> Result<i64, StoreError>;

    /// Adds to a counter and returns the sum.
    ///
    /// # Errors
    /// The store cannot be written; whether it was is then unknown.
    async fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError>;
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the shared store failed: {0}")]
pub struct StoreError(pub String);

/// What became of telling the store. The breakers of this instance hold whatever it says.
pub type Told = Result<(), StoreError>;

/// Reads what the others know, at most once a second, but that the first requests of an instance may each do; to be called when a
/// request arrives, beside other waiting.
///
/// # Errors
/// The store failed; this instance goes on with what it knows.
pub async fn refresh(breakers: &RefCell<Breakers>, store: &impl SharedStore, now_ms: u64) -> Told {
    if !breakers.borrow_mut().begin_refresh(now_ms) {
        return Ok(());
    }
    let met = meet(breakers, store, now_ms).await;
    breakers.borrow_mut().end_refresh(now_ms);
    met
}

/// Notes a failure, and opens the breaker where it is one too many, the probe's, or says when to come back.
///
/// # Errors
/// The store failed; this instance counts on alone, and the others learn of an opening at a later refresh.
pub async fn failed(
    breakers: &RefCell<Breakers>,
    store: &impl SharedStore,
    id: DeploymentId,
    policy: &Breaker,
    failing: Failing,
    is_probe: bool,
    now_ms: u64,
) -> Told {
    if !policy.enabled {
        return Ok(());
    }
    if let Some(wait_ms) = failing.retry_after_ms.filter(|_| policy.accept_retry_after) {
        let until_ms = now_ms.saturating_add(wait_ms.min(RETRY_AFTER_MAX_MS));
        return open(breakers, store, id, until_ms, Reason::RetryAfter, now_ms).await;
    }
    if !failing.counts {
        return Ok(());
    }
    let until_ms = now_ms.saturating_add(u64::from(policy.trip_duration_s) * 1_000);
    let reason = if failing.is_rate_limit { Reason::RetryAfter } else { Reason::Tripped };
    let is_closed = matches!(breakers.borrow().state(id, now_ms), State::Closed);
    if is_probe || (is_closed && failing.is_rate_limit) {
        return open(breakers, store, id, until_ms, reason, now_ms).await;
    }
    if !is_closed {
        // It was under way when the breaker opened, and tells nothing new.
        return Ok(());
    }
    let tally = breakers.borrow_mut().count_failure(id, policy, failing, now_ms);
    let told = tell(store, id, policy, &tally, now_ms).await;
    let is_too_much = breakers.borrow().is_too_much(id, policy, told.as_ref().ok().copied(), now_ms);
    // Somebody may have opened it meanwhile.
    let is_closed = matches!(breakers.borrow().state(id, now_ms), State::Closed);
    if is_too_much && is_closed {
        open(breakers, store, id, until_ms, Reason::Tripped, now_ms).await?;
    }
    told.map(|_| ())
}

/// Closes a breaker whose deployment has answered a probe or a health check.
///
/// # Errors
/// The store failed; the others learn of it at a later refresh.
pub async fn recovered(
    breakers: &RefCell<Breakers>,
    store: &impl SharedStore,
    id: DeploymentId,
    probe: Probe,
    now_ms: u64,
) -> Told {
    let is_news = breakers.borrow_mut().close(id, probe.until_ms);
    if is_news { meet(breakers, store, now_ms).await } else { Ok(()) }
}

/// Opens a breaker here, and tells the others if that is news.
async fn open(
    breakers: &RefCell<Breakers>,
    store: &impl SharedStore,
    id: DeploymentId,
    until_ms: u64,
    reason: Reason,
    now_ms: u64,
) -> Told {
    let is_news = breakers.borrow_mut().open(id, until_ms, reason);
    if is_news { meet(breakers, store, now_ms).await } else { Ok(()) }
}

/// Reads what is shared, takes it in, and writes where this instance knows more.
pub(super) async fn meet(breakers: &RefCell<Breakers>, store: &impl SharedStore, now_ms: u64) -> Told {
    let shared = store.read(OPENINGS).await?;
    let news = breakers.borrow_mut().meet(shared.as_deref(), now_ms);
    match news {
        Some(text) => store.write(OPENINGS, &text).await,
        None => Ok(()),
    }
}

/// Tells the store of a failure; returns the failures and requests of the last interval, as far as instances told.
async fn tell(
    store: &impl SharedStore,
    id: DeploymentId,
    policy: &Breaker,
    tally: &Tally,
    now_ms: u64,
) -> Result<(u64, u64), StoreError> {
    let key = |what: char, interval: u64| {
        let Tally { interval_ms, closed_ms, .. } = tally;
        let expires_minute = interval.saturating_add(2).saturating_mul(*interval_ms) / 60_000 + 1;
        format!("rt:1:{id}:{what}.{interval_ms}.{closed_ms}.{interval}:{expires_minute}")
    };
    let before = tally.interval.saturating_sub(1);
    let sum = |current: i64, previous: i64| {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        sliding(count(current), count(previous), now_ms, tally.interval_ms)
    };
    let failures = sum(store.add(&key('f', tally.interval), 1).await?, store.count(&key('f', before)).await?);
    if policy.failure_ratio.is_none() {
        return Ok((failures, failures));
    }
    let requests = i64::try_from(tally.requests).unwrap_or(i64::MAX);
    let requests =
        sum(store.add(&key('r', tally.interval), requests).await?, store.count(&key('r', before)).await?);
    Ok((failures, requests))
}

#[cfg(test)]
mod tests {
    use super::super::probe::lease_key;
    use super::*;

    #[test]
    fn a_key_expires_a_minute_after_it_is_of_no_use_and_the_openings_never_do() {
        let lease = lease_key(DeploymentId::from_hash(7), "claims", 1_000, 600);
        assert!(lease.ends_with(":11"), "{lease}");
        for (key, now_ms, expired) in [
            (lease.as_str(), 13 * 60_000 - 1, false),
            (lease.as_str(), 13 * 60_000, true),
            (OPENINGS, u64::MAX, false),
            ("rt:1:x:", u64::MAX, false),
            ("tl:2:l:mt:a:7:8", u64::MAX, false),
        ] {
            assert_eq!(is_expired(key, now_ms), expired, "{key} {now_ms}");
        }
    }
}
