//! A batch of settlements: each changes exactly the counters that its reservation names, or is rejected.

use contracts::RetriedUsage;
use contracts::limiter::{SettleBatch, SettleOutcome, SettledUsage};
use futures::executor::block_on;
use gateway_config::LimiterConfig;
use quota::{CounterStore, MAX_AMOUNT, MAX_CHARGES, MAX_TOKENS, Reservation, Slot, Span, StoreError, Unit};
use quota::{Retried, Settlement, Taken, Usage, corrections, settle};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The minute of the settlement: some of the corpus's reservations are of minutes before it.
const NOW_MINUTE: u64 = 29_919_600;

/// Reads the bytes as a reservation and as a batch.
pub fn settlement(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        reservation(text);
    }
    let Ok(batch) = serde_json::from_slice::<SettleBatch>(data) else { return };
    // Without rules: what is weighed or priced stays as reserved.
    let config = LimiterConfig::default();
    let retried: Vec<Vec<Retried<'_>>> =
        batch.settlements.iter().map(|s| s.retried.iter().map(attempt).collect()).collect();
    let settlements = batch.settlements.iter().zip(&retried).map(|(s, retried)| {
        let SettledUsage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = s.usage;
        let usage = Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens };
        let taken = match s.outcome {
            SettleOutcome::Returned => Taken::Nothing,
            SettleOutcome::Used => {
                Taken::Tokens { usage, model: &s.model, deployment: &s.deployment, retried }
            }
        };
        Settlement { reservation: &s.reservation, taken }
    });
    let (corrections, rejected) = corrections(&config, settlements, NOW_MINUTE * 60_000);

    let mut expected = BTreeMap::<String, i128>::new();
    let mut wrong = Vec::new();
    for (index, settlement) in batch.settlements.iter().enumerate() {
        reservation(&settlement.reservation);
        match settlement.reservation.parse::<Reservation>() {
            Ok(reservation) if settlement.outcome == SettleOutcome::Returned || is_possible(settlement) => {
                for charge in reservation.charges {
                    let retried =
                        |tokens: fn(&RetriedUsage) -> u64| settlement.retried.iter().map(tokens).sum::<u64>();
                    let prompt = settlement.usage.prompt_tokens + retried(|r| r.prompt_tokens);
                    let completion = settlement.usage.completion_tokens + retried(|r| r.completion_tokens);
                    let used = match (settlement.outcome, charge.slot.counter.kind().unit) {
                        (SettleOutcome::Returned, _) | (_, Unit::Slots) => 0,
                        (_, Unit::TotalTokens) => prompt + completion,
                        (_, Unit::PromptTokens) => prompt,
                        (_, Unit::CompletionTokens) => completion,
                        (_, Unit::WeightedTokens | Unit::Requests | Unit::NanoUsd) => charge.amount,
                    };
                    let change = i128::from(used) - i128::from(charge.amount);
                    let slot = settled_in(charge.slot, change);
                    *expected.entry(slot.key()).or_default() += change;
                }
            }
            _ => wrong.push(index),
        }
    }
    expected.retain(|_, change| *change != 0);
    assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), wrong);
    let store = Changes::default();
    block_on(settle(&store, &config, &corrections, &BTreeSet::new())).expect("the store takes everything");
    assert_eq!(store.0.into_inner(), expected, "each counter changes by the sum of the differences");
}

fn attempt(attempt: &RetriedUsage) -> Retried<'_> {
    let RetriedUsage { pool, deployment, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } =
        attempt;
    let usage = Usage {
        prompt_tokens: *prompt_tokens,
        cached_tokens: *cached_tokens,
        completion_tokens: *completion_tokens,
        reasoning_tokens: *reasoning_tokens,
    };
    Retried { model: pool, deployment, usage }
}

/// Where a change goes: the debt of a minute that is over to the minute of now.
fn settled_in(charged: Slot, change: i128) -> Slot {
    let is_over = charged.counter.kind().span == Span::Minute && charged.window < NOW_MINUTE;
    if is_over && change > 0 {
        Slot { window: NOW_MINUTE, expires: Some(NOW_MINUTE + 1), ..charged }
    } else {
        charged
    }
}

fn is_possible(settlement: &contracts::limiter::Settlement) -> bool {
    let SettledUsage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = settlement.usage;
    let retried = settlement
        .retried
        .iter()
        .flat_map(|r| [r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.reasoning_tokens]);
    [prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens]
        .into_iter()
        .chain(retried)
        .all(|tokens| tokens <= MAX_TOKENS)
}

fn reservation(text: &str) {
    let Ok(reservation) = text.parse::<Reservation>() else { return };
    assert!((1..=MAX_CHARGES).contains(&reservation.charges.len()));
    let printed = reservation.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&reservation), "what is printed is read again");
    assert!(printed.bytes().all(|b| b.is_ascii_graphic()), "it fits into a header");
    for charge in &reservation.charges {
        assert!(charge.amount <= MAX_AMOUNT);
        let key = charge.slot.key();
        assert!(key.starts_with("tl:2:") && key.matches(':').count() == 6, "{key}");
    }
}

#[derive(Default)]
struct Changes(RefCell<BTreeMap<String, i128>>);

impl CounterStore for Changes {
    async fn get(&self, _: &str) -> Result<i64, StoreError> {
        unreachable!("a settlement reads nothing")
    }

    async fn get_text(&self, _: &str) -> Result<Option<String>, StoreError> {
        unreachable!("a settlement reads nothing")
    }

    async fn set_text(&self, _: &str, _: &str) -> Result<(), StoreError> {
        unreachable!("a settlement adds to counters alone")
    }

    async fn pause(&self, _: u64) {
        unreachable!("a settlement waits for nothing")
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let first = self.0.borrow_mut().insert(key.to_owned(), delta.into());
        assert_eq!(first, None, "one write for each counter");
        // It held what was charged, so what is given back leaves nothing below zero.
        Ok(delta.max(0))
    }
}
