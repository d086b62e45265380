//! What the history of a run says that the limits owe: computed from what was admitted and settled, not from the
//! counters, and by the definitions of the windows alone.

use crate::world::{Phase, Written};
use quota::{Reservation, Slot, Span};
use std::collections::BTreeMap;
use std::ops::Range;

const MINUTE_MS: u64 = 60_000;
/// The length of the only rolling window that is configured.
const HOUR_MS: u64 = 3_600_000;
/// Older buckets of a lease that count.
const BUCKETS: u64 = 4;

/// A request that was admitted.
pub struct Admitted {
    pub task: usize,
    pub reservation: Reservation,
}

/// One admitted amount on one counter, or the debt that its settlement left in another minute.
struct Entry {
    slot: Slot,
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
                let (key, reserved) = (charge.slot.key(), charge.amount as i64);
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
                let taken_at_ms = taken.at_ms;
                entries.push(Entry { slot: charge.slot.clone(), reserved, taken_at, taken_at_ms, settled });
                entries.extend(writes(Phase::Settling).filter_map(|(at, w)| {
                    let slot = later_minute(&charge.slot, &w.key)?;
                    Some(Entry {
                        slot,
                        reserved: 0,
                        taken_at: at,
                        taken_at_ms: w.at_ms,
                        settled: Some((at, w.delta)),
                    })
                }));
            }
        }
        Ledger { entries }
    }

    /// For every admission: what was admitted up to then, in the window that ends then, is within the limit. `texts` says
    /// when windows from first use began.
    pub fn check_never_over(&self, sizes: &BTreeMap<String, u64>, texts: &BTreeMap<String, String>) {
        for this in self.entries.iter().filter(|entry| entry.reserved > 0) {
            let Some(size) = sizes.get(this.slot.counter.limit()) else { continue };
            let delta =
                |entry: &Entry| entry.settled.filter(|(at, _)| *at <= this.taken_at).map_or(0, |s| s.1);
            let sum = |windows: Range<u64>, counts: &dyn Fn(&Entry) -> i64| -> u64 {
                let mine = self.entries.iter().filter(|entry| entry.slot.counter == this.slot.counter);
                let inside = mine.filter(|entry| windows.contains(&entry.slot.window));
                inside.map(counts).sum::<i64>().max(0) as u64
            };
            let window = this.slot.window;
            let current = sum(window..window + 1, &|entry| match entry.taken_at <= this.taken_at {
                true => entry.reserved + delta(entry),
                false => 0,
            });
            // All that was ever admitted in a window before, also what was taken late. Debt that was settled there
            // at this very moment may have been missed: it is no admission.
            let earlier = |entry: &Entry| entry.reserved + delta(entry).min(0);
            let older = match this.slot.counter.kind().span {
                Span::Minute => {
                    let left_ms = (window + 1) * MINUTE_MS - this.taken_at_ms;
                    (sum(window - 1..window, &earlier) * left_ms).div_ceil(MINUTE_MS)
                }
                Span::Lease => sum(window - BUCKETS..window, &earlier),
                Span::Calendar => 0,
                // Two windows may run at once; then nobody may have been admitted to one without counting the other.
                Span::Rolling => {
                    let entry_counts = |entry: &Entry| match entry.taken_at <= this.taken_at {
                        true => entry.reserved + delta(entry),
                        false => 0,
                    };
                    let is_running = |window: u64| {
                        let suffix = format!("{}:{window}.from:", this.slot.counter);
                        let text = texts.iter().find(|(key, _)| key.contains(&suffix));
                        text.is_some_and(|(_, start)| {
                            this.taken_at_ms < start.parse::<u64>().unwrap() + HOUR_MS
                        })
                    };
                    let before = if is_running(window - 1) { window - 1..window } else { window..window };
                    // Whoever is admitted to the older of two does so before anybody is to the newer.
                    sum(before, &entry_counts) + sum(window + 1..window + 2, &entry_counts)
                }
            };
            let (key, at_ms) = (this.slot.key(), this.taken_at_ms);
            assert!(current + older <= *size, "{current} + {older} > {size} for {key} at {at_ms}");
        }
    }

    /// What every counter should hold once all is quiet.
    pub fn sums(&self) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for entry in &self.entries {
            *sums.entry(entry.slot.key()).or_default() +=
                entry.reserved + entry.settled.map_or(0, |settled| settled.1);
        }
        sums
    }
}

/// The slot of `key` if it is of the same counter, in a minute after the one that was charged.
fn later_minute(charged: &Slot, key: &str) -> Option<Slot> {
    let rest = key.strip_prefix(&format!("tl:2:{}:", charged.counter))?;
    let window: u64 = rest.split(':').next()?.parse().ok()?;
    let is_later = charged.counter.kind().span == Span::Minute && window > charged.window;
    is_later.then(|| Slot { counter: charged.counter.clone(), window, expires: Some(window + 1) })
}
