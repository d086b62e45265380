//! The reservation: what was charged where, so that the settlement needs no look-up.
//!
//! `1;<amount>:<limit>:<value>:<window>;…`: the encoding's version, then one entry per counter. ASCII, fit for a header
//! value. It is not secret and not signed: it travels between our own components only, and the worst that a forged one
//! can do is to change a counter, never another key of the store.

use crate::MAX_TOKENS;
use crate::counter::Counter;
use std::fmt;

const VERSION: &str = "1";

/// Most counters in one reservation, far above any sensible number of limits.
pub const MAX_CHARGES: usize = 64;

/// An amount taken from one counter in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The counter.
    pub counter: Counter,
    /// Index of the window that was charged.
    pub window: u64,
    /// Tokens taken, at most [`MAX_TOKENS`].
    pub amount: u64,
}

/// Everything that one request was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// 1 to [`MAX_CHARGES`] charges.
    pub charges: Vec<Charge>,
}

/// The text is no reservation of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a reservation that /reserve returned")]
pub struct MalformedReservation;

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        for Charge { counter, window, amount } in &self.charges {
            write!(f, ";{amount}:{counter}:{window}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Reservation {
    type Err = MalformedReservation;

    fn from_str(text: &str) -> Result<Self, MalformedReservation> {
        let mut entries = text.split(';');
        if entries.next() != Some(VERSION) {
            return Err(MalformedReservation);
        }
        let mut charges = Vec::new();
        for entry in entries {
            if charges.len() == MAX_CHARGES {
                return Err(MalformedReservation);
            }
            charges.push(charge(entry).ok_or(MalformedReservation)?);
        }
        if charges.is_empty() { Err(MalformedReservation) } else { Ok(Reservation { charges }) }
    }
}

fn charge(entry: &str) -> Option<Charge> {
    let mut fields = entry.split(':');
    let mut next = || fields.next();
    let (amount, limit, value, window) = (number(next()?)?, next()?, next()?, number(next()?)?);
    if fields.next().is_some() || amount > MAX_TOKENS {
        return None;
    }
    Some(Charge { counter: Counter::parse(limit, value)?, window, amount })
}

/// Digits only: `u64::from_str` would take a plus sign as well.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_reservation() -> impl Strategy<Value = Reservation> {
        let charge =
            (any::<String>(), prop::collection::vec(any::<String>(), 0..4), any::<u64>(), 0..=MAX_TOKENS)
                .prop_map(|(limit, values, window, amount)| Charge {
                    counter: Counter::new(&limit, values.iter().map(String::as_str)),
                    window,
                    amount,
                });
        prop::collection::vec(charge, 1..8).prop_map(|charges| Reservation { charges })
    }

    #[test]
    fn a_reservation_is_short_and_readable() {
        let charge = Charge { counter: Counter::new("per-team", ["acme"]), window: 29_361_234, amount: 1500 };
        assert_eq!(Reservation { charges: vec![charge] }.to_string(), "1;1500:per-team:acme:29361234");
    }

    #[test]
    fn what_is_no_reservation_is_refused() {
        for text in [
            "",
            "1",
            "1;",
            "2;1:l:v:1",
            "1;1:l:v",
            "1;1:l:v:1:1",
            "1;-1:l:v:1",
            "1;+1:l:v:1",
            "1;1:l:v:1;",
            "1;1:l v:1:1",
            "1;1:l:é:1",
            "1;x:l:v:1",
            "1;1:l:v:99999999999999999999",
            "1;1000000000001:l:v:1",
            " 1;1:l:v:1",
            &format!("1;1:{}:v:1", "x".repeat(65)),
            &format!("1{}", ";1:l:v:1".repeat(65)),
        ] {
            assert_eq!(text.parse::<Reservation>(), Err(MalformedReservation), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_reservation_survives_its_encoding(reservation in any_reservation()) {
            let text = reservation.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()), "unfit for a header: {}", text);
            prop_assert_eq!(text.parse(), Ok(reservation));
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _parsed = text.parse::<Reservation>();
        }

        #[test]
        fn a_damaged_reservation_never_panics(reservation in any_reservation(), at in any::<prop::sample::Index>(), byte in any::<char>()) {
            let mut text: Vec<char> = reservation.to_string().chars().collect();
            let at = at.index(text.len());
            text[at] = byte;
            let _parsed = text.into_iter().collect::<String>().parse::<Reservation>();
        }
    }
}
