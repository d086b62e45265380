//! What one instance of the router has under way at each deployment, and what it measured there.
//!
//! Nothing of this is shared: an instance sees its own requests only, which is enough to spread them, and costs nothing.
//! Whatever is begun here is ended here, on every way out.

use crate::Failure;
use crate::ewma::PeakEwma;
use crate::window::SlidingCount;
use crate::{ById, DeploymentId};

/// Most deployments that are counted for at once; a pool `*` has one for each name that is asked for.
const COUNTED_MAX: usize = 4_096;
const MINUTE_MS: u64 = 60_000;

/// Requests, turns, latencies and tokens of one instance.
#[derive(Debug, Default)]
pub struct Loads {
    by_id: ById<Load>,
    turn: u64,
}

/// At one deployment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Load {
    pub in_flight: u32,
    /// When it was last picked: the number of that pick.
    pub turn: u64,
    pub latency: PeakEwma,
    tokens: SlidingCount,
}

impl Load {
    /// Tokens of the last minute, reserved ones included.
    pub fn tokens(&self, now_ms: u64) -> u64 {
        self.tokens.count(now_ms, MINUTE_MS)
    }

    /// When no more than `most` tokens will be of the last minute, if nobody asks meanwhile.
    pub fn falls_to_ms(&self, most: u64, now_ms: u64) -> u64 {
        self.tokens.falls_to_ms(most, now_ms, MINUTE_MS)
    }
}

impl Loads {
    /// Notes that a request goes to a deployment, and what it will take at most.
    pub fn begin(&mut self, id: DeploymentId, tokens: u64, now_ms: u64) {
        self.turn = self.turn.saturating_add(1);
        let turn = self.turn;
        if self.by_id.len() >= COUNTED_MAX && !self.by_id.contains_key(&id) {
            self.by_id.retain(|_, load| load.in_flight > 0);
        }
        let load = self.by_id.entry(id).or_default();
        load.in_flight = load.in_flight.saturating_add(1);
        load.turn = turn;
        load.tokens.add(tokens, now_ms, MINUTE_MS);
    }

    /// Notes that a deployment failed, in ms since it was asked.
    pub fn failed(&mut self, id: DeploymentId, failure: &Failure, took_ms: u64, now_ms: u64) {
        let average_ms = self.get(id).map_or(0, |load| load.latency.average_ms(now_ms));
        if let Some(latency_ms) = failure.latency_ms(took_ms, average_ms) {
            self.answered(id, latency_ms, now_ms);
        }
    }

    /// Notes how soon a deployment began to answer, in ms since it was asked.
    pub fn answered(&mut self, id: DeploymentId, latency_ms: u64, now_ms: u64) {
        self.by_id.entry(id).or_default().latency.record(latency_ms, now_ms);
    }

    /// Notes that a request is over, and what it really took of what it began with.
    pub fn end(&mut self, id: DeploymentId, reserved_tokens: u64, used_tokens: u64, now_ms: u64) {
        let Some(load) = self.by_id.get_mut(&id) else { return };
        load.in_flight = load.in_flight.saturating_sub(1);
        if used_tokens >= reserved_tokens {
            load.tokens.add(used_tokens - reserved_tokens, now_ms, MINUTE_MS);
        } else {
            load.tokens.take_back(reserved_tokens - used_tokens, now_ms, MINUTE_MS);
        }
    }

    /// Requests under way at a deployment.
    pub fn in_flight(&self, id: DeploymentId) -> u32 {
        self.get(id).map_or(0, |load| load.in_flight)
    }

    pub(crate) fn get(&self, id: DeploymentId) -> Option<&Load> {
        self.by_id.get(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_ends() {
        let (mut loads, id) = (Loads::default(), DeploymentId::from_hash(1));
        loads.begin(id, 1_000, 0);
        loads.begin(id, 500, 10);
        assert_eq!((loads.in_flight(id), loads.get(id).map(|load| load.tokens(10))), (2, Some(1_500)));
        loads.end(id, 1_000, 400, 20);
        loads.end(id, 500, 700, 30);
        assert_eq!((loads.in_flight(id), loads.get(id).map(|load| load.tokens(30))), (0, Some(1_100)));
        loads.end(id, 0, 0, 40);
        assert_eq!(loads.in_flight(id), 0, "an end too many does no harm");
    }

    #[test]
    fn names_that_clients_make_up_are_not_counted_without_end() {
        let mut loads = Loads::default();
        loads.begin(DeploymentId::from_hash(u64::MAX), 0, 0);
        for n in 0..10_000 {
            loads.begin(DeploymentId::from_hash(n), 0, 0);
            loads.end(DeploymentId::from_hash(n), 0, 0, 0);
        }
        assert!(loads.by_id.len() <= COUNTED_MAX);
        assert_eq!(loads.in_flight(DeploymentId::from_hash(u64::MAX)), 1, "what is under way is kept");
    }
}
