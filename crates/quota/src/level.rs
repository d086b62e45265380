//! One demand and its counter as last seen: whether it fits, how long not, and what is charged.

use crate::alerts::{Alert, due, is_known_beforehand};
use crate::demand::Demand;
use crate::outcome::{Outcome, Refusal, Standing, Tightest};
use crate::reservation::Charge;
use crate::window::{Counts, Frame};

/// A demand and its counter as last seen, without the demand's own amount.
#[derive(Debug, Clone)]
pub(crate) struct Level<'d, 'c> {
    pub demand: &'d Demand<'c>,
    pub frame: Frame,
    pub counts: Counts,
    /// Whether `counts` holds the current window; when not, it is found out by adding to it.
    pub is_read: bool,
    /// When the decision is made.
    pub now_ms: u64,
    /// Whether its window, from first use, begins with what is taken now.
    pub begins: bool,
}

impl<'c> Level<'_, 'c> {
    pub fn used(&self) -> u64 {
        self.frame.used(self.counts, self.now_ms)
    }

    pub fn fits(&self) -> bool {
        self.used().saturating_add(self.demand.amount) <= self.demand.check.size
    }

    /// By what was seen, even if the current window was not.
    fn is_over(&self) -> bool {
        !self.fits()
    }

    fn retry_after_s(&self) -> Option<u64> {
        let Demand { amount, check, .. } = self.demand;
        self.frame.retry_after_s(self.counts, *amount, check.size, self.now_ms)
    }

    /// How it stands as seen.
    pub fn standing(&self) -> Standing<'c> {
        Standing {
            limit: &self.demand.limit.name,
            kind: self.demand.counter.kind(),
            size: self.demand.check.size,
            used: self.used(),
            reset_ms: self.frame.reset_ms(self.counts, self.now_ms),
        }
    }

    /// How it stands once the demand is met.
    pub fn standing_after(&self) -> Standing<'c> {
        self.after().standing()
    }

    fn after(&self) -> Self {
        let current = self.counts.current.saturating_add(self.demand.amount);
        Level { counts: Counts { current, ..self.counts }, ..self.clone() }
    }

    pub fn charge(&self) -> Charge {
        Charge { slot: self.frame.current(&self.demand.counter), amount: self.demand.amount }
    }

    /// What is to be told of it once it was asked: a rule that only observes meets a demand that it would refuse.
    pub fn alerts(&self) -> Vec<Alert<'c>> {
        if !self.fits() {
            self.alerts_when(self.used(), true)
        } else if is_known_beforehand(self.demand.counter.kind()) {
            self.alerts_when(self.after().used(), false)
        } else {
            Vec::new()
        }
    }

    fn alerts_when(&self, used: u64, has_refused: bool) -> Vec<Alert<'c>> {
        if self.demand.limit.alert_at_permille.is_empty() {
            return Vec::new();
        }
        let slot = self.frame.current(&self.demand.counter);
        due(self.demand.limit, self.demand.check, &slot, used, has_refused)
    }
}

/// The refusal by the check that stands in the way longest; `None` when all fit as far as they were seen.
pub(crate) fn refusal<'c>(levels: &[Level<'_, 'c>]) -> Option<Refusal<'c>> {
    let over = levels.iter().filter(|level| level.is_over());
    let (retry_after_s, level) = over
        .filter_map(|level| Some((level.retry_after_s()?, level)))
        .max_by_key(|(retry_after_s, _)| *retry_after_s)?;
    let seen = levels.iter().filter(|level| level.is_read);
    let standings: Vec<_> = seen.map(Level::standing).collect();
    Some(Refusal {
        by: level.standing(),
        counter: level.demand.counter.clone(),
        amount: level.demand.amount,
        retry_after_s,
        tightest: Tightest::of(&standings),
        alerts: levels.iter().filter(|level| level.is_over()).flat_map(Level::alerts).collect(),
    })
}

/// The check that can never be passed, of several the one that is smallest beside what it is asked for.
pub(crate) fn never_fits<'c>(demands: &[&Demand<'c>]) -> Option<Outcome<'c>> {
    let too_small = demands.iter().filter(|demand| demand.amount > demand.check.size);
    // Compared as fractions, size ÷ amount, by multiplying across.
    let product = |left: u64, right: u64| u128::from(left) * u128::from(right);
    let worst = too_small.min_by(|one, other| {
        product(one.check.size, other.amount).cmp(&product(other.check.size, one.amount))
    })?;
    Some(Outcome::NeverFits {
        limit: &worst.limit.name,
        kind: worst.counter.kind(),
        size: worst.check.size,
        amount: worst.amount,
    })
}
