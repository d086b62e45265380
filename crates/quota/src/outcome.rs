//! What becomes of a reservation, and how far limits are used.

use crate::alerts::Alert;
use crate::counter::Counter;
use crate::kind::{Class, Kind};
use crate::reservation::Reservation;
use crate::store::StoreError;

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'c> {
    /// Everything was taken.
    Admitted(Admission<'c>),
    /// Nothing was taken.
    Refused(Refusal<'c>),
    /// Nothing was taken, and nothing ever will be: the amount is more than the limit itself.
    NeverFits {
        /// The check that is too small; of several the one that is smallest beside what it is asked for.
        limit: &'c str,
        /// What it counts.
        kind: Kind,
        /// Its size, in the unit of its kind.
        size: u64,
        /// What was asked of it.
        amount: u64,
    },
}

/// A request that may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission<'c> {
    /// What was taken from where; empty when no rule matches.
    pub reservation: Reservation,
    /// How the checks that decide stand after it.
    pub tightest: Tightest<'c>,
    /// What would have been refused by rules that only observe.
    pub would_refuse: Vec<Standing<'c>>,
    /// Thresholds whose alert may be due: [`crate::latch`] says whether it is.
    pub alerts: Vec<Alert<'c>>,
    /// The first failure of the store with a rule that only observes; what that rule counts is then too low.
    pub unobserved: Option<StoreError>,
}

/// A request that has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'c> {
    /// The check that stands in the way, of several the one that does so longest.
    pub by: Standing<'c>,
    /// Its counter, for [`crate::ReadFirst`]. Not for the client: it holds whose use it is.
    pub counter: Counter,
    /// What was asked of it.
    pub amount: u64,
    /// Whole seconds until the request would be admitted if nobody else asked, at least 1; one second earlier it would
    /// be refused. For requests that run it is 1, because nobody knows when one ends.
    pub retry_after_s: u64,
    /// How the checks that decide stand, as far as they were looked at.
    pub tightest: Tightest<'c>,
    /// Thresholds whose alert may be due, as in an [`Admission`].
    pub alerts: Vec<Alert<'c>>,
}

/// The checks of which the least is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tightest<'c> {
    /// The check of tokens with the fewest left.
    pub tokens: Option<Standing<'c>>,
    /// The check of requests with the fewest left.
    pub requests: Option<Standing<'c>>,
}

impl<'c> Tightest<'c> {
    pub(crate) fn of(standings: &[Standing<'c>]) -> Self {
        let tightest = |counts: fn(&Kind) -> bool| {
            let counted = standings.iter().filter(|standing| counts(&standing.kind));
            counted.min_by_key(|standing| standing.remaining()).copied()
        };
        Tightest {
            tokens: tightest(|kind| kind.unit.is_tokens()),
            requests: tightest(|kind| kind.unit == crate::Unit::Requests),
        }
    }
}

impl Refusal<'_> {
    /// What the client is to make of it.
    pub fn class(&self) -> Class {
        self.by.kind.class()
    }
}

/// How far a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'c> {
    /// Name of the limit.
    pub limit: &'c str,
    /// What it counts, and so its unit.
    pub kind: Kind,
    /// How much it allows.
    pub size: u64,
    /// How much counts as used; may exceed the size by debt.
    pub used: u64,
    /// Milliseconds until nothing counts as used if nobody asks.
    pub reset_ms: u64,
}

impl Standing<'_> {
    /// How much is left, 0 when the limit is used up or in debt.
    pub fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.used)
    }
}

impl<'c> Admission<'c> {
    /// From what was taken, and how the checks that decide stand after it.
    pub(crate) fn new(reservation: Reservation, standings: &[Standing<'c>], alerts: Vec<Alert<'c>>) -> Self {
        Admission {
            reservation,
            tightest: Tightest::of(standings),
            would_refuse: Vec::new(),
            alerts,
            unobserved: None,
        }
    }
}
