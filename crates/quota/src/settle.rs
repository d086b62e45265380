//! Corrects reservations to what was really used, in the windows that were charged.

use crate::MAX_TOKENS;
use crate::reservation::Reservation;
use crate::store::{CounterStore, StoreError};
use std::collections::BTreeMap;

/// What to add to which key, ascending by key; nothing for a key whose sum is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corrections(BTreeMap<String, i64>);

impl Corrections {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A settlement that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .why {
    RejectedFor::Reservation => "is not a reservation that /reserve returned".to_owned(),
    RejectedFor::Tokens => format!("must be at most {MAX_TOKENS}"),
})]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    why: RejectedFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RejectedFor {
    Reservation,
    Tokens,
}

impl Rejected {
    /// Name of the wrong field of the settlement.
    pub fn field(&self) -> &'static str {
        match self.why {
            RejectedFor::Reservation => "reservation",
            RejectedFor::Tokens => "tokens",
        }
    }
}

/// Adds up a batch of pairs of a reservation and the tokens really used.
///
/// Each counter changes by the difference, down or up: use beyond the reservation is carried as debt. Several
/// settlements of one counter and window become one correction. Those that are rejected leave the others as they are.
pub fn corrections<'s>(
    settlements: impl IntoIterator<Item = (&'s str, u64)>,
) -> (Corrections, Vec<Rejected>) {
    let mut sums = BTreeMap::new();
    let mut rejected = Vec::new();
    for (index, (reservation, tokens)) in settlements.into_iter().enumerate() {
        let Some(used) = i64::try_from(tokens).ok().filter(|_| tokens <= MAX_TOKENS) else {
            rejected.push(Rejected { index, why: RejectedFor::Tokens });
            continue;
        };
        let Ok(reservation) = reservation.parse::<Reservation>() else {
            rejected.push(Rejected { index, why: RejectedFor::Reservation });
            continue;
        };
        for charge in &reservation.charges {
            let reserved = i64::try_from(charge.amount).unwrap_or(i64::MAX);
            let sum: &mut i64 = sums.entry(charge.counter.key(charge.window)).or_default();
            *sum = sum.saturating_add(used.saturating_sub(reserved));
        }
    }
    sums.retain(|_, sum| *sum != 0);
    (Corrections(sums), rejected)
}

/// Some corrections were not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failed} of {all} counters could not be corrected: {first}")]
pub struct Unapplied {
    /// Counters that were not corrected.
    pub failed: usize,
    /// Counters to correct.
    pub all: usize,
    /// The first failure.
    pub first: StoreError,
}

/// Makes the corrections, each in one write. One that fails does not keep the others from being made.
///
/// # Errors
/// How many failed. They are not safe to repeat: a failed write may have been made all the same.
pub async fn settle<S: CounterStore>(store: &S, corrections: &Corrections) -> Result<(), Unapplied> {
    let mut failures = Vec::new();
    for (key, &delta) in &corrections.0 {
        failures.extend(store.increment(key, delta).await.err());
    }
    let (failed, all) = (failures.len(), corrections.0.len());
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Unapplied { failed, all, first }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sums = Vec<(String, i64)>;

    fn sums(settlements: &[(&str, u64)]) -> (Sums, Vec<(usize, &'static str)>) {
        let (corrections, rejected) = corrections(settlements.iter().copied());
        let rejected = rejected.iter().map(|r| (r.index, r.field())).collect();
        (corrections.0.into_iter().collect(), rejected)
    }

    #[test]
    fn every_counter_changes_by_the_difference() {
        let (sums, rejected) = sums(&[("1;100:a:x:7;100:b::7", 30)]);
        assert_eq!(sums, [("tl:1:a:x:7".to_owned(), -70), ("tl:1:b::7".to_owned(), -70)]);
        assert_eq!(rejected, []);
    }

    #[test]
    fn corrections_of_one_key_are_summed_and_zeros_left_out() {
        let (sums, _) = sums(&[
            ("1;100:a:x:7", 150),
            ("1;100:a:x:7", 80),
            ("1;100:a:x:8", 0),
            ("1;10:same::7", 10),
            ("1;10:up-and-down::7", 12),
            ("1;10:up-and-down::7", 8),
        ]);
        assert_eq!(sums, [("tl:1:a:x:7".to_owned(), 30), ("tl:1:a:x:8".to_owned(), -100)]);
    }

    #[test]
    fn what_is_rejected_is_named_and_the_others_are_made() {
        let (sums, rejected) =
            sums(&[("junk", 1), ("1;100:a:x:7", 90), ("1;100:a:x:7", MAX_TOKENS + 1), ("", u64::MAX)]);
        assert_eq!(sums, [("tl:1:a:x:7".to_owned(), -10)]);
        assert_eq!(rejected, [(0, "reservation"), (2, "tokens"), (3, "tokens")]);
    }
}
