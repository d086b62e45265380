//! What is shared of breakers: until when each deployment is left alone, and which of that is over.
//!
//! Two facts per deployment, both only ever growing: `until_ms`, the latest moment to which it was opened, and
//! `closed_ms`: everything opened until then or earlier is over. Joining two views takes the larger of each, so the order in which views
//! meet does not matter, and meeting twice changes nothing: a join-semilattice (Shapiro et al., "Conflict-free replicated
//! data types", 2011). A longer cooldown therefore always wins over a shorter one, whoever heard of it first.

use crate::{ById, DeploymentId};
use std::fmt::Write as _;

/// Why a deployment was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Too many failures, or a probe that failed.
    Tripped,
    /// Too much was asked of it, or it said when to come back.
    RetryAfter,
}

/// Both facts of one deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The latest moment to which it was opened, in ms since the Unix epoch.
    pub until_ms: u64,
    /// Why, of that opening.
    pub reason: Reason,
    /// Openings until this moment or an earlier one are over; 0 = none is.
    pub closed_ms: u64,
}

/// What a deployment's breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing, until this moment.
    Open {
        /// In ms since the Unix epoch.
        until_ms: u64,
        /// Why.
        reason: Reason,
    },
    /// One request, to see.
    HalfOpen {
        /// The opening that has passed, which a success closes.
        until_ms: u64,
    },
}

impl Opening {
    /// The state at a moment.
    pub fn state(&self, now_ms: u64) -> State {
        if self.until_ms <= self.closed_ms {
            State::Closed
        } else if now_ms < self.until_ms {
            State::Open { until_ms: self.until_ms, reason: self.reason }
        } else {
            State::HalfOpen { until_ms: self.until_ms }
        }
    }

    /// The larger of each fact.
    #[must_use]
    pub fn joined(self, other: Opening) -> Opening {
        let (until_ms, reason) = (self.until_ms, self.reason).max((other.until_ms, other.reason));
        Opening { until_ms, reason, closed_ms: self.closed_ms.max(other.closed_ms) }
    }

    /// Whether it was over, or half-open without anybody asking, for so long that it is forgotten.
    fn is_stale(&self, now_ms: u64) -> bool {
        now_ms > self.until_ms.max(self.closed_ms).saturating_add(KEPT_MS)
    }
}

/// How long an opening is remembered after its end: as long as failures that were counted before it could still count, twice
/// the longest interval.
const KEPT_MS: u64 = 7_200_000;

/// Most deployments in the shared text, which bounds it to 40 KiB; beyond it those that end first are left out.
const SHARED_MAX: usize = 512;

/// The openings that somebody knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Openings(ById<Opening>);

impl Openings {
    /// What is known of one deployment.
    pub fn get(&self, id: DeploymentId) -> Option<&Opening> {
        self.0.get(&id)
    }

    /// Whether nothing is open, half-open or recently closed, as on most days.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what is known of one deployment.
    pub fn join(&mut self, id: DeploymentId, opening: Opening) {
        self.0.entry(id).and_modify(|known| *known = known.joined(opening)).or_insert(opening);
    }

    /// Takes in everything that another view knows and that is not stale.
    pub fn join_all(&mut self, other: &Openings, now_ms: u64) {
        for (id, opening) in other.0.iter().filter(|(_, opening)| !opening.is_stale(now_ms)) {
            self.join(*id, *opening);
        }
    }

    /// Forgets what is stale.
    pub fn forget_stale(&mut self, now_ms: u64) {
        self.0.retain(|_, opening| !opening.is_stale(now_ms));
    }

    /// Whether this view knows something that the other does not.
    pub fn knows_more_than(&self, other: &Openings) -> bool {
        self.0.iter().any(|(id, opening)| other.get(*id).is_none_or(|known| known.joined(*opening) != *known))
    }

    /// As it is shared: a line for each, `<id, 16 hexadecimal digits> <until_ms> <closed_ms> <t or r>`.
    pub fn to_text(&self) -> String {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_unstable_by_key(|(id, opening)| (std::cmp::Reverse(opening.until_ms), **id));
        let mut text = String::with_capacity(sorted.len().min(SHARED_MAX) * 48);
        for (id, Opening { until_ms, reason, closed_ms }) in sorted.into_iter().take(SHARED_MAX) {
            let reason = match reason {
                Reason::Tripped => 't',
                Reason::RetryAfter => 'r',
            };
            let _infallible = writeln!(text, "{id} {until_ms} {closed_ms} {reason}");
        }
        text
    }

    /// Reads what is shared. Lines that are none are left out: the next write repairs them.
    pub fn from_text(text: &str) -> Self {
        let mut openings = Openings::default();
        for line in text.lines().take(SHARED_MAX) {
            if let Some((id, opening)) = parse(line) {
                openings.join(id, opening);
            }
        }
        openings
    }
}

fn parse(line: &str) -> Option<(DeploymentId, Opening)> {
    let mut fields = line.split(' ');
    let id = DeploymentId::parse(fields.next()?)?;
    let until_ms = fields.next()?.parse().ok()?;
    let closed_ms = fields.next()?.parse().ok()?;
    let reason = match fields.next()? {
        "t" => Reason::Tripped,
        "r" => Reason::RetryAfter,
        _ => return None,
    };
    fields.next().is_none().then_some((id, Opening { until_ms, reason, closed_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opening() -> impl Strategy<Value = Opening> {
        (0..50_u64, any::<bool>(), 0..50_u64).prop_map(|(until_ms, told, closed_ms)| Opening {
            until_ms,
            reason: if told { Reason::RetryAfter } else { Reason::Tripped },
            closed_ms,
        })
    }

    fn openings() -> impl Strategy<Value = Openings> {
        prop::collection::vec((0..6_u64, opening()), 0..6).prop_map(|known| {
            Openings(known.into_iter().map(|(id, opening)| (DeploymentId::from_hash(id), opening)).collect())
        })
    }

    proptest! {
        #[test]
        fn joining_knows_no_order_and_no_repetition(a in openings(), b in openings(), c in openings()) {
            let join = |views: &[&Openings]| {
                let mut all = Openings::default();
                views.iter().for_each(|view| all.join_all(view, 0));
                all
            };
            let all = join(&[&a, &b, &c]);
            prop_assert_eq!(&join(&[&c, &b, &a]), &all);
            prop_assert_eq!(&join(&[&join(&[&a, &b]), &join(&[&b, &c]), &a]), &all);
            prop_assert!(!a.knows_more_than(&all));
            prop_assert_eq!(a.knows_more_than(&b), join(&[&a, &b]) != b);
        }

        #[test]
        fn what_is_shared_is_read_back(a in openings()) {
            prop_assert_eq!(Openings::from_text(&a.to_text()), a);
        }

        #[test]
        fn arbitrary_text_is_read_without_a_panic(text in "\\PC*", lines in prop::collection::vec("[0-9a-f]{16} [0-9]{1,22} [0-9]{1,22} [trx]", 0..5)) {
            Openings::from_text(&text);
            Openings::from_text(&lines.join("\n"));
        }

        #[test]
        fn a_longer_opening_is_never_shortened(a in opening(), b in opening(), now_ms in 0..50_u64) {
            if let (State::Open { until_ms, .. }, true) = (a.state(now_ms), b.closed_ms < a.until_ms) {
                match a.joined(b).state(now_ms) {
                    State::Open { until_ms: joined, .. } => prop_assert!(joined >= until_ms),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn it_is_open_until_its_end_then_half_open_until_it_is_closed() {
        let open = Opening { until_ms: 100, reason: Reason::Tripped, closed_ms: 0 };
        for (now_ms, expected) in [
            (0, State::Open { until_ms: 100, reason: Reason::Tripped }),
            (99, State::Open { until_ms: 100, reason: Reason::Tripped }),
            (100, State::HalfOpen { until_ms: 100 }),
            (10_000, State::HalfOpen { until_ms: 100 }),
        ] {
            assert_eq!(open.state(now_ms), expected, "{now_ms}");
        }
        assert_eq!(Opening { closed_ms: 100, ..open }.state(50), State::Closed, "closed early");
        assert_eq!(Opening { closed_ms: 99, ..open }.state(100), State::HalfOpen { until_ms: 100 });
    }

    #[test]
    fn the_shared_text_keeps_those_that_end_last() {
        let mut openings = Openings::default();
        for n in 0..600 {
            openings.join(
                DeploymentId::from_hash(n),
                Opening { until_ms: n, reason: Reason::Tripped, closed_ms: 0 },
            );
        }
        let shared = Openings::from_text(&openings.to_text());
        assert_eq!(shared.0.len(), 512);
        assert!(
            shared.get(DeploymentId::from_hash(599)).is_some()
                && shared.get(DeploymentId::from_hash(0)).is_none()
        );
    }
}
