//! A batch of settlements: each changes exactly the counters that its reservation names, or is rejected.

use contracts::limiter::SettleBatch;
use futures::executor::block_on;
use quota::{CounterStore, MAX_CHARGES, MAX_TOKENS, Reservation, StoreError, corrections, settle};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Reads the bytes as a reservation and as a batch.
pub fn settlement(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        reservation(text);
    }
    let Ok(batch) = serde_json::from_slice::<SettleBatch>(data) else { return };
    let (corrections, rejected) =
        corrections(batch.settlements.iter().map(|s| (s.reservation.as_str(), s.tokens)));

    let mut expected = BTreeMap::<String, i128>::new();
    let mut wrong = Vec::new();
    for (index, settlement) in batch.settlements.iter().enumerate() {
        reservation(&settlement.reservation);
        match settlement.reservation.parse::<Reservation>() {
            Ok(reservation) if settlement.tokens <= MAX_TOKENS => {
                for charge in reservation.charges {
                    let change = i128::from(settlement.tokens) - i128::from(charge.amount);
                    *expected.entry(charge.counter.key(charge.window)).or_default() += change;
                }
            }
            _ => wrong.push(index),
        }
    }
    expected.retain(|_, change| *change != 0);
    assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), wrong);
    let store = Changes::default();
    block_on(settle(&store, &corrections)).expect("the store takes everything");
    assert_eq!(store.0.into_inner(), expected, "each counter changes by the sum of the differences");
}

fn reservation(text: &str) {
    let Ok(reservation) = text.parse::<Reservation>() else { return };
    assert!((1..=MAX_CHARGES).contains(&reservation.charges.len()));
    let printed = reservation.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&reservation), "what is printed is read again");
    assert!(printed.bytes().all(|b| b.is_ascii_graphic()), "it fits into a header");
    for charge in &reservation.charges {
        assert!(charge.amount <= MAX_TOKENS);
        let key = charge.counter.key(charge.window);
        assert!(key.starts_with("tl:1:") && key.matches(':').count() == 4, "{key}");
    }
}

#[derive(Default)]
struct Changes(RefCell<BTreeMap<String, i128>>);

impl CounterStore for Changes {
    async fn get(&self, _: &str) -> Result<i64, StoreError> {
        unreachable!("a settlement reads nothing")
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let first = self.0.borrow_mut().insert(key.to_owned(), delta.into());
        assert_eq!(first, None, "one write for each counter");
        Ok(delta)
    }
}
