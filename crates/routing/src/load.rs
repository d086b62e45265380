//! What one instance of the router has under way at each deployment, and what it measured there.
//!
//! An instance sees its own requests only, which is enough to spread them, and costs nothing; of deployments with a capacity
//! it also knows what all took (`capacity`). Whatever is begun here is ended here, on every way out.

use crate::Failure;
use crate::ewma::PeakEwma;
use crate::window::SlidingCount;
use crate::{ById, DeploymentId};

/// Most deployments that are counted for at once; a pool `*` has one for each name that is asked for.
const COUNTED_MAX: usize = 4_096;
pub(crate) const MINUTE_MS: u64 = 60_000;
/// How long what all took counts as fresh.
const LOOK_MS: u64 = 1_000;

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
    /// Of what is over.
    tokens: SlidingCount,
    /// Tokens that are reserved for what is under way.
    reserved: u64,
    /// What all instances took, as far as this one has heard, and when it last looked.
    of_all: SlidingCount,
    looked_at_ms: Option<u64>,
}

impl Load {
    /// Tokens of the last minute, this instance's or all instances', whichever is more, and those that it has reserved.
    pub fn tokens(&self, now_ms: u64) -> u64 {
        let over = self.tokens.count(now_ms, MINUTE_MS).max(self.of_all.count(now_ms, MINUTE_MS));
        over.saturating_add(self.reserved)
    }

    /// When no more than `most` tokens will be of the last minute, if nobody asks meanwhile and what is reserved is used now.
    pub fn falls_to_ms(&self, most: u64, now_ms: u64) -> u64 {
        let falls = |mut count: SlidingCount| {
            count.add(self.reserved, now_ms, MINUTE_MS);
            count.falls_to_ms(most, now_ms, MINUTE_MS)
        };
        falls(self.tokens).max(falls(self.of_all))
    }
}

impl Loads {
    /// Notes that a request goes to a deployment, and what it will take at most.
    pub fn begin(&mut self, id: DeploymentId, tokens: u64) {
        self.turn = self.turn.saturating_add(1);
        let turn = self.turn;
        let load = self.load_mut(id);
        load.in_flight = load.in_flight.saturating_add(1);
        load.turn = turn;
        load.reserved = load.reserved.saturating_add(tokens);
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
        self.load_mut(id).latency.record(latency_ms, now_ms);
    }

    /// Notes that a request is over, and what it really took of what it began with.
    pub fn end(&mut self, id: DeploymentId, reserved_tokens: u64, used_tokens: u64, now_ms: u64) {
        let Some(load) = self.by_id.get_mut(&id) else { return };
        load.in_flight = load.in_flight.saturating_sub(1);
        load.reserved = load.reserved.saturating_sub(reserved_tokens);
        load.tokens.add(used_tokens, now_ms, MINUTE_MS);
    }

    /// Notes what all instances took of a deployment's capacity: in the minute with this number, and in the one before where that is known.
    pub(crate) fn all_took(&mut self, id: DeploymentId, minute: u64, current: u64, previous: Option<u64>) {
        let Some(load) = self.by_id.get_mut(&id) else { return };
        let known = load.of_all.previous_at(minute);
        load.of_all = SlidingCount::of(minute, current, previous.unwrap_or(known));
    }

    /// Whether what all took of a deployment's capacity should be read again; if so, the caller does it now. As with breakers the
    /// first requests of an instance each look.
    pub(crate) fn begin_look(&mut self, id: DeploymentId, now_ms: u64) -> bool {
        let looked_at_ms = &mut self.load_mut(id).looked_at_ms;
        let is_due = looked_at_ms.is_none_or(|at| now_ms < at || now_ms - at >= LOOK_MS);
        if is_due && looked_at_ms.is_some() {
            *looked_at_ms = Some(now_ms);
        }
        is_due
    }

    pub(crate) fn end_look(&mut self, id: DeploymentId, now_ms: u64) {
        self.load_mut(id).looked_at_ms.get_or_insert(now_ms);
    }

    /// Tokens of the last minute at a deployment, reserved ones included.
    pub fn tokens(&self, id: DeploymentId, now_ms: u64) -> u64 {
        self.get(id).map_or(0, |load| load.tokens(now_ms))
    }

    /// Requests under way at a deployment.
    pub fn in_flight(&self, id: DeploymentId) -> u32 {
        self.get(id).map_or(0, |load| load.in_flight)
    }

    fn load_mut(&mut self, id: DeploymentId) -> &mut Load {
        if self.by_id.len() >= COUNTED_MAX && !self.by_id.contains_key(&id) {
            self.by_id.retain(|_, load| load.in_flight > 0);
        }
        self.by_id.entry(id).or_default()
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
        loads.begin(id, 1_000);
        loads.begin(id, 500);
        assert_eq!((loads.in_flight(id), loads.get(id).map(|load| load.tokens(10))), (2, Some(1_500)));
        loads.end(id, 1_000, 400, 20);
        loads.end(id, 500, 700, 30);
        assert_eq!((loads.in_flight(id), loads.get(id).map(|load| load.tokens(30))), (0, Some(1_100)));
        loads.end(id, 0, 0, 40);
        assert_eq!(loads.in_flight(id), 0, "an end too many does no harm");
    }

    #[test]
    fn what_a_long_answer_reserved_counts_until_it_is_over_and_then_no_more() {
        let (mut loads, id) = (Loads::default(), DeploymentId::from_hash(1));
        loads.begin(id, 5_000);
        loads.begin(id, 300);
        loads.end(id, 300, 300, 65_000);
        assert_eq!(loads.tokens(id, 65_000), 5_300);
        loads.end(id, 5_000, 200, 65_000);
        assert_eq!(loads.tokens(id, 65_000), 500, "of others' nothing is taken back");
    }

    #[test]
    fn names_that_clients_make_up_are_not_counted_without_end() {
        let mut loads = Loads::default();
        loads.begin(DeploymentId::from_hash(u64::MAX), 0);
        for n in 0..10_000 {
            loads.begin_look(DeploymentId::from_hash(n + 20_000), 0);
            loads.begin(DeploymentId::from_hash(n), 0);
            loads.end(DeploymentId::from_hash(n), 0, 0, 0);
        }
        assert!(loads.by_id.len() <= COUNTED_MAX);
        assert_eq!(loads.in_flight(DeploymentId::from_hash(u64::MAX)), 1, "what is under way is kept");
    }
}
