//! What the history of a run says that the limits owe: computed from what was admitted and settled, not from the
//! counters, and by the definition of the sliding window alone.

use crate::world::{Phase, Written};
use quota::{Counter, Reservation};
use std::collections::BTreeMap;

const WINDOW_MS: u64 = 60_000;

/// A request that was admitted.
pub struct Admitted {
    pub task: usize,
    pub reservation: Reservation,
}

/// One admitted amount on one counter.
struct Entry {
    counter: Counter,
    window: u64,
    reserved: i64,
    /// Place in the history of the write that took it, and the clock then.
    taken_at: usize,
    taken_at_ms: u64,
    /// Place in the history of the write that settled it, and by how much.
    settled: Option<(usize, i64)>,
}

pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// Finds, for every charge of every admitted request, the write that took it and the one that settled it.
    pub fn new(history: &[Written], admitted: &[Admitted]) -> Self {
        let mut entries = Vec::new();
        for Admitted { task, reservation } in admitted {
            for charge in &reservation.charges {
                let key = charge.counter.key(charge.window);
                let reserved = charge.amount as i64;
                let writes = |phase| {
                    let is_mine = move |w: &Written| w.task == *task && w.phase == phase;
                    history.iter().enumerate().filter(move |(_, w)| is_mine(w))
                };
                // Earlier attempts took and gave back; the last one kept.
                let mut taking =
                    writes(Phase::Reserving).filter(|(_, w)| w.key == key && w.delta == reserved);
                let (taken_at, taken) = taking.next_back().expect("charged");
                let settled =
                    writes(Phase::Settling).find(|(_, w)| w.key == key).map(|(at, w)| (at, w.delta));
                entries.push(Entry {
                    counter: charge.counter.clone(),
                    window: charge.window,
                    reserved,
                    taken_at,
                    taken_at_ms: taken.at_ms,
                    settled,
                });
            }
        }
        Ledger { entries }
    }

    /// For every admission: what was admitted up to then, in the sliding window that ends then, is within the limit.
    pub fn check_never_over(&self, limits: &BTreeMap<Counter, u64>) {
        for this in &self.entries {
            let same = |entry: &&Entry| entry.counter == this.counter;
            let delta =
                |entry: &Entry| entry.settled.filter(|(at, _)| *at <= this.taken_at).map_or(0, |s| s.1);
            let current: i64 = (self.entries.iter().filter(same))
                .filter(|entry| entry.window == this.window && entry.taken_at <= this.taken_at)
                .map(|entry| entry.reserved + delta(entry))
                .sum();
            // All that was ever admitted in the window before, also what was taken late. Debt that was settled there
            // at this very moment may have been missed: it is no admission.
            let previous: i64 = (self.entries.iter().filter(same))
                .filter(|entry| entry.window + 1 == this.window)
                .map(|entry| entry.reserved + delta(entry).min(0))
                .sum();
            let left_ms = (this.window + 1) * WINDOW_MS - this.taken_at_ms;
            let weighted = (previous as u64 * left_ms).div_ceil(WINDOW_MS);
            let limit = limits[&this.counter];
            assert!(
                current as u64 + weighted <= limit,
                "{current} + {previous} weighted {weighted} > {limit} for {} at {}",
                this.counter,
                this.taken_at_ms
            );
        }
    }

    /// What every counter should hold once all is quiet.
    pub fn sums(&self) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for entry in &self.entries {
            *sums.entry(entry.counter.key(entry.window)).or_default() +=
                entry.reserved + entry.settled.map_or(0, |settled| settled.1);
        }
        sums
    }
}
