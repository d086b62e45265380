//! Answers that take more than was reserved for them, and longer than their minute is looked at.

use crate::deeds::{Gate, checks};
use crate::plan::plan_of;
use proptest::prelude::*;
use quota::Outcome;
use std::collections::VecDeque;

/// The rule that is asked: so many tokens in any 60 seconds.
const RULE: &str = "large";
const SIZE: u64 = 100;

/// How long an answer takes: within its minute, about as long as that is looked at, or for many minutes.
pub fn lasting() -> impl Strategy<Value = u64> {
    prop_oneof![0..60_000_u64, 59_000..121_000_u64, 60_000..3_600_000_u64]
}

fn admitted(gate: &dyn Gate, amount: u64, now_ms: u64) -> Option<String> {
    match gate.ask(&plan_of(&[RULE], amount, false), now_ms) {
        Outcome::Admitted(admission) => Some(admission.reservation.to_string()),
        _ => None,
    }
}

/// Whatever the answer lasted, its debt is used when it is settled: so much less is admitted then, and not a token more.
pub fn counts_in_full(gate: &dyn Gate, start_ms: u64, lasting_ms: u64) -> Result<(), TestCaseError> {
    let (reserved, took) = (5, 85);
    let Some(reservation) = admitted(gate, reserved, start_ms) else {
        return Err(TestCaseError::fail("the first is refused"));
    };
    let now_ms = start_ms + lasting_ms;
    gate.settle(&reservation, Some(took), now_ms);
    // By the definition: the reservation is of its own minute, the debt of this one.
    let left_of_reserved = match now_ms / 60_000 - start_ms / 60_000 {
        0 => reserved,
        1 => (reserved * (60_000 - now_ms % 60_000)).div_ceil(60_000),
        _ => 0,
    };
    let used = took - reserved + left_of_reserved;
    prop_assert_eq!(gate.inspect(&checks(RULE, 0), now_ms)[0].used, used);
    prop_assert_eq!(admitted(gate, SIZE - used + 1, now_ms), None);
    prop_assert!(admitted(gate, SIZE - used, now_ms).is_some());
    Ok(())
}

/// A client that asks for as much as it gets, and takes eight times what is reserved, for longer than a minute is looked at.
/// What is admitted before the first debt is settled cannot be helped; then the door closes until debts have faded. The README
/// says how much flows.
pub fn closes_the_door(gate: &dyn Gate, start_ms: u64) {
    let (reserved, took, lasting_ms, minutes) = (5, 40, 150_000, 40);
    let (mut running, mut taken) = (VecDeque::<(u64, String)>::new(), 0);
    for second in 0..minutes * 60 {
        let now_ms = start_ms + second * 1_000;
        while let Some((_, reservation)) = running.pop_front_if(|(ends_ms, _)| *ends_ms <= now_ms) {
            gate.settle(&reservation, Some(took), now_ms);
        }
        while let Some(reservation) = admitted(gate, reserved, now_ms) {
            running.push_back((now_ms + lasting_ms, reservation));
            taken += took;
        }
    }
    let allowed = SIZE * minutes;
    assert!(taken < 5 * allowed, "{taken} tokens flowed where {allowed} are allowed");
}
