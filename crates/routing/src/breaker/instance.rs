//! The breakers as one instance of the router sees them: what it counted itself, and what it knows of the others.
//!
//! Nothing here touches the store: `shared` does, and is told here what to ask it. While the store is out of reach an
//! instance goes on alone with its own counts.

use super::opening::{Opening, Openings, Reason, State};
use crate::window::SlidingCount;
use crate::{ById, DeploymentId};
use gateway_config::Breaker;
use std::collections::BTreeMap;

/// How long a view of the shared openings counts as fresh.
pub const REFRESH_MS: u64 = 1_000;

/// The longest time that a provider may ask to be left alone: an hour.
pub const RETRY_AFTER_MAX_MS: u64 = 3_600_000;

/// Most deployments that are counted for at once. A pool `*` has one for each name that is asked for.
const COUNTED_MAX: usize = 4_096;

/// A failure, as far as breakers care.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failing {
    /// Whether the breaker's settings call it a failure.
    pub counts: bool,
    /// How long the provider asks to be left alone, in ms.
    pub retry_after_ms: Option<u64>,
    /// Whether too much was asked of it, and others can take over: that opens it at once, where it does not say for how long for as long as a trip.
    pub is_rate_limit: bool,
    /// Whether its answer had begun: then the request is counted already.
    pub had_begun: bool,
}

/// The right to ask a half-open deployment. `released` gives it back, when what came of it has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The opening that it tries to close.
    pub(super) until_ms: u64,
    pub(super) held: Held,
}

/// What is given back when a probe ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// A lease of the store: its length in ms, and its number.
    Lease(u64, u64),
    /// This instance's own; the store was out of reach.
    Own,
    /// Nothing: a health check disturbs nobody.
    Nothing,
}

/// What one instance knows.
#[derive(Debug, Default)]
pub struct Breakers {
    openings: Openings,
    counted: ById<Counted>,
    refreshed_at_ms: Option<u64>,
}

/// What one instance counted at one deployment.
#[derive(Debug, Default)]
struct Counted {
    /// The close since which was counted: counts begin anew when a breaker closes.
    closed_ms: u64,
    /// For each length of interval: pools that share a deployment may look back differently far.
    counts: BTreeMap<u64, Counts>,
    /// Until when the probe is taken, here or elsewhere, as far as is known.
    probe_taken_until_ms: u64,
    checked_at_ms: Option<u64>,
}

/// In the intervals of one length, by requests of the pools that have it.
#[derive(Debug, Default)]
struct Counts {
    interval_ms: u64,
    failures: SlidingCount,
    requests: SlidingCount,
    /// In which interval requests ended that the store has not been told of, and how many.
    untold: (u64, u64),
}

/// What a failure asks of the store: where the failures and the requests of this interval and the last are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub interval_ms: u64,
    pub interval: u64,
    /// The close since which is counted.
    pub closed_ms: u64,
    /// Requests to be told, the failed one included.
    pub requests: u64,
}

impl Breakers {
    /// Every opening that this instance knows of.
    pub fn openings(&self) -> &Openings {
        &self.openings
    }

    /// The state of a deployment's breaker.
    pub fn state(&self, id: DeploymentId, now_ms: u64) -> State {
        self.openings.get(id).map_or(State::Closed, |opening| opening.state(now_ms))
    }

    /// Whether every breaker is closed, as on most days: then no state needs to be looked up.
    pub fn are_all_closed(&self) -> bool {
        self.openings.is_empty()
    }

    /// Whether a half-open deployment's probe is, as far as is known, not taken.
    pub fn is_probe_free(&self, id: DeploymentId, now_ms: u64) -> bool {
        self.counted.get(&id).is_none_or(|counted| now_ms >= counted.probe_taken_until_ms)
    }

    /// Notes an answer. Nothing is written anywhere else.
    pub fn count_success(&mut self, id: DeploymentId, policy: &Breaker, now_ms: u64) {
        if policy.enabled {
            self.count_request(id, policy, now_ms);
        }
    }

    /// Whether the shared openings should be read again; if so, the caller does it now, and then [`Self::end_refresh`].
    ///
    /// The first to find a view that has aged reads, and the others go by that view meanwhile. An instance that has none yet would go by
    /// nothing: there each reads for itself until one of them has, for they cannot wait for each other where tasks cannot wake each other.
    pub(super) fn begin_refresh(&mut self, now_ms: u64) -> bool {
        let Some(refreshed_at_ms) = &mut self.refreshed_at_ms else { return true };
        let is_fresh = now_ms >= *refreshed_at_ms && now_ms - *refreshed_at_ms < REFRESH_MS;
        if !is_fresh {
            *refreshed_at_ms = now_ms;
        }
        !is_fresh
    }

    /// Notes that the shared openings were read, or cannot be: then this instance goes on alone for as long.
    pub(super) fn end_refresh(&mut self, now_ms: u64) {
        self.refreshed_at_ms.get_or_insert(now_ms);
    }

    /// Takes in what is shared; returns what is to be shared instead, if this instance knows more.
    pub(super) fn meet(&mut self, shared: Option<&str>, now_ms: u64) -> Option<String> {
        self.openings.forget_stale(now_ms);
        let shared = shared.map(Openings::from_text).unwrap_or_default();
        let is_news = self.openings.knows_more_than(&shared);
        self.openings.join_all(&shared, now_ms);
        is_news.then(|| self.openings.to_text())
    }

    /// Opens a deployment until a moment, unless it is open for longer already. True if that is news.
    pub(super) fn open(&mut self, id: DeploymentId, until_ms: u64, reason: Reason) -> bool {
        let known = self.openings.get(id).copied();
        // Beyond what is closed already, or it would not be open at all: after an early close it is open for at
        // least as long as the opening that was cut short. Only what tripped is closed early, so that is the longest
        // `trip_duration` of its pools at most.
        let until_ms = known.map_or(until_ms, |known| until_ms.max(known.closed_ms.saturating_add(1)));
        let closed_ms = known.map_or(0, |known| known.closed_ms);
        self.openings.join(id, Opening { until_ms, reason, closed_ms });
        self.openings.get(id).copied() != known
    }

    /// Closes the opening until `until_ms`, and earlier ones. True if that is news.
    pub(super) fn close(&mut self, id: DeploymentId, until_ms: u64) -> bool {
        let known = self.openings.get(id).copied();
        if known.is_none_or(|known| known.closed_ms >= until_ms) {
            return false;
        }
        self.openings.join(id, Opening { until_ms, reason: Reason::Tripped, closed_ms: until_ms });
        true
    }

    /// Counts a failure here, and says what to tell the store.
    pub(super) fn count_failure(
        &mut self,
        id: DeploymentId,
        policy: &Breaker,
        failing: Failing,
        now_ms: u64,
    ) -> Tally {
        let interval_ms = interval_ms(policy);
        let counted = self.counted_mut(id);
        let closed_ms = counted.closed_ms;
        let counts = counted.counts_mut(interval_ms);
        counts.move_to(now_ms);
        if !failing.had_begun {
            counts.add_request(now_ms);
        }
        counts.failures.add(1, now_ms, interval_ms);
        let (interval, requests) = std::mem::replace(&mut counts.untold, (now_ms / interval_ms, 0));
        Tally { interval_ms, interval, closed_ms, requests }
    }

    /// Whether the failures and requests of the last interval open the breaker: all instances' as far as they told, or,
    /// where the store is out of reach, this one's.
    pub(super) fn is_too_much(
        &self,
        id: DeploymentId,
        policy: &Breaker,
        told: Option<(u64, u64)>,
        now_ms: u64,
    ) -> bool {
        let interval_ms = interval_ms(policy);
        let own = || {
            let counts = self.counted.get(&id)?.counts.get(&interval_ms)?;
            Some((counts.failures.count(now_ms, interval_ms), counts.requests.count(now_ms, interval_ms)))
        };
        let (failures, requests) = told.or_else(own).unwrap_or_default();
        policy.enabled && should_trip(policy, failures, requests)
    }

    /// Takes the probe of a half-open deployment for this instance, until `until_ms` at most; false where it is taken.
    pub(super) fn take_probe(&mut self, id: DeploymentId, until_ms: u64, now_ms: u64) -> bool {
        let is_free = self.is_probe_free(id, now_ms);
        if is_free {
            self.counted_mut(id).probe_taken_until_ms = until_ms;
        }
        is_free
    }

    /// Notes until when the probe is taken: now, where it is free again.
    pub(super) fn set_probe_taken(&mut self, id: DeploymentId, until_ms: u64) {
        self.counted_mut(id).probe_taken_until_ms = until_ms;
    }

    /// Whether a deployment that failed too often, or is half-open, is to be asked now whether it is well; if so, the caller does it,
    /// and closes the opening that is returned on success. What it would be asked for says nothing about a rate limit, so
    /// one that is left alone for that is not asked before its time.
    pub fn begin_health_check(&mut self, id: DeploymentId, interval_s: u32, now_ms: u64) -> Option<Probe> {
        let (State::Open { until_ms, reason: Reason::Tripped } | State::HalfOpen { until_ms }) =
            self.state(id, now_ms)
        else {
            return None;
        };
        let interval_ms = u64::from(interval_s) * 1_000;
        let counted = self.counted_mut(id);
        let is_due = counted.checked_at_ms.is_none_or(|at| now_ms.abs_diff(at) >= interval_ms);
        if interval_s == 0 || !is_due {
            return None;
        }
        counted.checked_at_ms = Some(now_ms);
        Some(Probe { until_ms, held: Held::Nothing })
    }

    fn count_request(&mut self, id: DeploymentId, policy: &Breaker, now_ms: u64) {
        self.counted_mut(id).counts_mut(interval_ms(policy)).add_request(now_ms);
    }

    fn counted_mut(&mut self, id: DeploymentId) -> &mut Counted {
        if self.counted.len() >= COUNTED_MAX && !self.counted.contains_key(&id) {
            // Names that clients make up; what is open stays open.
            self.counted.clear();
        }
        let closed_ms = self.openings.get(id).map_or(0, |opening| opening.closed_ms);
        let counted = self.counted.entry(id).or_default();
        if counted.closed_ms != closed_ms {
            counted.counts.clear();
            counted.closed_ms = closed_ms;
        }
        counted
    }
}

impl Counted {
    fn counts_mut(&mut self, interval_ms: u64) -> &mut Counts {
        let none = || Counts { interval_ms, ..Counts::default() };
        self.counts.entry(interval_ms).or_insert_with(none)
    }
}

impl Counts {
    fn add_request(&mut self, now_ms: u64) {
        self.move_to(now_ms);
        self.requests.add(1, now_ms, self.interval_ms);
        self.untold.1 = self.untold.1.saturating_add(1);
    }

    fn move_to(&mut self, now_ms: u64) {
        let interval = now_ms / self.interval_ms.max(1);
        if self.untold.0 != interval {
            self.untold = (interval, 0);
        }
    }
}

fn interval_ms(policy: &Breaker) -> u64 {
    u64::from(policy.interval_s).max(1) * 1_000
}

/// Whether so many failures among so many requests of the interval open a breaker.
pub fn should_trip(policy: &Breaker, failures: u64, requests: u64) -> bool {
    let by_count = policy.failures.is_some_and(|most| failures >= u64::from(most));
    let by_ratio = policy.failure_ratio.is_some_and(|ratio| {
        let requests = requests.max(failures);
        let share = u128::from(failures) * 1_000_000;
        requests >= u64::from(policy.min_requests)
            && share >= u128::from(requests) * u128::from(ratio.millionths())
    });
    failures > 0 && (by_count || by_ratio)
}
