//! Which counters refused lately, so that the next request reads before it writes.
//!
//! A hint and nothing more: a wrong one costs a read, or a write that is taken back. It holds times by a hash of the
//! counter, never a name, so that it may outlive a request.

use crate::counter::Counter;
use crate::demand::Demand;
use crate::outcome::Outcome;
use std::sync::atomic::{AtomicU64, Ordering};

/// One for each value of the byte that says a counter's place. Two counters that share a place share their hint.
const PLACES: usize = 1 << u8::BITS;

/// How long a refusal is remembered: under pressure the next comes sooner, without it the hint is of no use.
const REMEMBERED_MS: u64 = 2_000;

/// Until when each counter is read first, in milliseconds since the Unix epoch.
#[derive(Debug)]
pub struct ReadFirst([AtomicU64; PLACES]);

impl ReadFirst {
    /// Nothing has refused yet.
    pub const fn new() -> Self {
        ReadFirst([const { AtomicU64::new(0) }; PLACES])
    }

    /// Marks the demands whose counters refused lately.
    pub fn mark(&self, demands: &mut [Demand<'_>], now_ms: u64) {
        for demand in demands {
            demand.read_first |=
                self.place(&demand.counter).is_some_and(|until| until.load(Ordering::Relaxed) > now_ms);
        }
    }

    /// Remembers a refusal.
    pub fn learn(&self, outcome: &Outcome<'_>, now_ms: u64) {
        if let Outcome::Refused(refusal) = outcome
            && let Some(until) = self.place(&refusal.counter)
        {
            until.store(now_ms.saturating_add(REMEMBERED_MS), Ordering::Relaxed);
        }
    }

    fn place(&self, counter: &Counter) -> Option<&AtomicU64> {
        self.0.get(usize::from(place(fnv1a(&counter.to_string()))))
    }
}

/// The lowest byte of a hash: no conversion that a `usize` of 32 bits would fail, as it is in wasm.
fn place(hash: u64) -> u8 {
    let [lowest, ..] = hash.to_le_bytes();
    lowest
}

/// FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>: needs no seed, and who chooses a collision gains a read.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Default for ReadFirst {
    fn default() -> Self {
        ReadFirst::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Kind, Span, Unit};
    use std::collections::BTreeSet;

    #[test]
    fn counters_are_spread_over_the_places() {
        let kind = Kind { span: Span::Minute, unit: Unit::TotalTokens };
        let names: Vec<String> = (0..PLACES).map(|name| format!("consumer-{name}")).collect();
        let counters = names.iter().map(|name| Counter::new("each", kind, [name.as_str()]));
        let hashes: Vec<u64> = counters.map(|counter| fnv1a(&counter.to_string())).collect();
        assert!(hashes.iter().all(|hash| *hash > u64::from(u32::MAX)), "none fits into a usize of wasm");
        let places: BTreeSet<u8> = hashes.into_iter().map(place).collect();
        // Thrown by chance, 256 counters take 1 - 1/e of 256 places: 162.
        assert!(places.len() > PLACES / 2, "{places:?}");
    }
}
