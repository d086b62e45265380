//! The reservation: what was charged where, so that the settlement needs no look-up.
//!
//! `2;<amount>:<limit>:<kind>:<value>:<window>:<expires>;…`: the encoding's version, then one entry per counter, its key
//! without the prefix. ASCII, fit for a header value. It is not secret and not signed: it travels between our own
//! components only, and the worst that a forged one can do is to change a counter, never another key of the store.

use crate::MAX_AMOUNT;
use crate::counter::{Counter, Slot, number};
use std::fmt;

const VERSION: &str = "2";
/// In the place of the last minute of a window that rolls from first use.
const ROLLING: &str = "~";

/// Most counters in one reservation: as many as a document can have amounts.
pub const MAX_CHARGES: usize = 64;

/// An amount taken from one counter in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The counter and the window that was charged.
    pub slot: Slot,
    /// How much, in the unit of the counter's kind; at most [`MAX_AMOUNT`].
    pub amount: u64,
}

/// Everything that one request was charged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reservation {
    /// Up to [`MAX_CHARGES`] charges; none when no rule matched, and then there is nothing to settle.
    pub charges: Vec<Charge>,
}

/// The text is no reservation of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a reservation that /reserve returned")]
pub struct MalformedReservation;

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(VERSION)?;
        for Charge { slot: Slot { counter, window, expires }, amount } in &self.charges {
            write!(f, ";{amount}:{counter}:{window}:")?;
            match expires {
                Some(expires) => write!(f, "{expires}")?,
                None => f.write_str(ROLLING)?,
            }
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
    let amount = number(next()?).filter(|amount| *amount <= MAX_AMOUNT)?;
    let counter = Counter::parse(next()?, next()?, next()?)?;
    let window = number(next()?)?;
    let expires = match next()? {
        ROLLING => None,
        minute => Some(number(minute)?),
    };
    fields.next().is_none().then_some(Charge { slot: Slot { counter, window, expires }, amount })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Kind, Span, Unit};
    use proptest::prelude::*;

    const KIND: Kind = Kind { span: Span::Calendar, unit: Unit::NanoUsd };

    fn any_reservation() -> impl Strategy<Value = Reservation> {
        let charge = (
            any::<String>(),
            prop::collection::vec(any::<String>(), 0..4),
            any::<u64>(),
            any::<Option<u64>>(),
            0..=MAX_AMOUNT,
        )
            .prop_map(|(limit, values, window, expires, amount)| Charge {
                slot: Slot {
                    counter: Counter::new(&limit, KIND, values.iter().map(String::as_str)),
                    window,
                    expires,
                },
                amount,
            });
        prop::collection::vec(charge, 1..8).prop_map(|charges| Reservation { charges })
    }

    #[test]
    fn a_reservation_is_short_and_readable() {
        let counter = Counter::new("per-team", KIND, ["acme"]);
        let charge = |expires| Charge {
            slot: Slot { counter: counter.clone(), window: 1_763_683_200, expires },
            amount: 1500,
        };
        let text = "2;1500:per-team:cd:acme:1763683200:29396160;1500:per-team:cd:acme:1763683200:~";
        assert_eq!(Reservation { charges: vec![charge(Some(29_396_160)), charge(None)] }.to_string(), text);
    }

    #[test]
    fn what_is_no_reservation_is_refused() {
        for text in [
            "",
            "2",
            "2;",
            "1;1:l:v:1",
            "3;1:l:mt:v:1:1",
            "2;1:l:mt:v:1",
            "2;1:l:mt:v:1:1:1",
            "2;1:l:xx:v:1:1",
            "2;-1:l:mt:v:1:1",
            "2;+1:l:mt:v:1:1",
            "2;1:l:mt:v:1:1;",
            "2;1:l v:mt:1:1:1",
            "2;1:l:mt:é:1:1",
            "2;x:l:mt:v:1:1",
            "2;:l:mt:v:1:1",
            "2;1:l:mt:v::1",
            "2;1:l:mt:v:1:",
            "2;1:l:mt:v:99999999999999999999:1",
            "2;1000000000000001:l:mt:v:1:1",
            " 2;1:l:mt:v:1:1",
            &format!("2;1:{}:mt:v:1:1", "x".repeat(65)),
            &format!("2{}", ";1:l:mt:v:1:1".repeat(65)),
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
