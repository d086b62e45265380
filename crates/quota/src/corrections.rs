//! What settlements change: for each counter and window, what was really used less what was reserved.
//!
//! What was charged is in the reservation. What a token weighs or costs is the configuration's, looked up by the rule's
//! name: if the rule is gone the charge stays as reserved, and if a price is, it is no less than that.
//!
//! A change belongs to the window that was charged, with one exception. A minute counts for less and less within the next one
//! and for nothing after it, so what an answer took beyond its reservation would be forgiven the more the longer it lasted.
//! So that part goes to the minute in which it is settled, where it counts in full. What is given back stays where it was
//! taken: it would make room beyond the limit elsewhere.

use crate::MAX_AMOUNT;
use crate::counter::Slot;
use crate::kind::{Kind, Span, Unit};
use crate::reservation::{Charge, Reservation};
use crate::reserve::signed;
use crate::taken::{MAX_TOKENS, Taken, Usage};
use crate::window::{Frame, MINUTE_MS};
use gateway_config::{Check, Limit, LimiterConfig, Measure};
use std::collections::BTreeMap;

/// What became of a request that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement<'s> {
    /// As [`crate::reserve`] made it.
    pub reservation: &'s str,
    /// What it took.
    pub taken: Taken<'s>,
}

/// What to add to which counters, ascending by key; nothing where the sum is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corrections(BTreeMap<String, (Slot, i64)>);

impl Corrections {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many counters change.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys and what to add to each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Slot, i64)> {
        self.0.iter().map(|(key, (slot, delta))| (key.as_str(), slot, *delta))
    }
}

/// A settlement that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .field {
    &RESERVATION => "is not a reservation that /reserve returned".to_owned(),
    _ => format!("must be at most {MAX_TOKENS}"),
})]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Path of the wrong field in the settlement.
    pub field: &'static str,
}

const RESERVATION: &str = "reservation";

/// Adds up a batch of settlements.
///
/// Each counter changes by the difference between what was used and what was reserved, down or up: use beyond the
/// reservation is carried as debt. `now_ms`, in milliseconds since the Unix epoch, says where the debt of a minute that is
/// over goes. Several changes of one counter and window become one correction. Those that are rejected leave the others as
/// they are.
pub fn corrections<'s>(
    config: &LimiterConfig,
    settlements: impl IntoIterator<Item = Settlement<'s>>,
    now_ms: u64,
) -> (Corrections, Vec<Rejected>) {
    let mut sums: BTreeMap<String, (Slot, i64)> = BTreeMap::new();
    let mut rejected = Vec::new();
    for (index, settlement) in settlements.into_iter().enumerate() {
        if let Some(field) = settlement.taken.impossible() {
            rejected.push(Rejected { index, field });
            continue;
        }
        let Ok(reservation) = settlement.reservation.parse::<Reservation>() else {
            rejected.push(Rejected { index, field: RESERVATION });
            continue;
        };
        for charge in reservation.charges {
            let used = really_used(config, &charge, &settlement.taken);
            let change = signed(used).saturating_sub(signed(charge.amount));
            let slot = settled_in(charge.slot, change, now_ms);
            let (_, sum) = sums.entry(slot.key()).or_insert_with(|| (slot, 0));
            *sum = sum.saturating_add(change);
        }
    }
    sums.retain(|_, (_, sum)| *sum != 0);
    (Corrections(sums), rejected)
}

/// The window that a change of a charge belongs to: the one that was charged, or for a minute's debt that of now.
fn settled_in(charged: Slot, change: i64, now_ms: u64) -> Slot {
    let index = now_ms / MINUTE_MS;
    let is_late = charged.counter.kind().span == Span::Minute && charged.window < index;
    if is_late && change > 0 { Frame::Minute { index }.current(&charged.counter) } else { charged }
}

/// How much of a charge was really used, in its unit.
fn really_used(config: &LimiterConfig, charge: &Charge, taken: &Taken<'_>) -> u64 {
    let unit = charge.slot.counter.kind().unit;
    let Taken::Tokens { usage, retried, .. } = taken else { return 0 };
    let Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = usage.with(retried);
    let used = match unit {
        Unit::Slots => Some(0),
        Unit::Requests => Some(charge.amount),
        Unit::TotalTokens => Some(prompt_tokens.saturating_add(completion_tokens)),
        Unit::PromptTokens => Some(prompt_tokens),
        Unit::CompletionTokens => Some(completion_tokens),
        Unit::WeightedTokens => rule(config, &charge.slot).and_then(|(_, check)| match check.measure {
            Measure::Tokens(weights) => {
                Some(weights.weigh(prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens))
            }
            Measure::Requests | Measure::NanoUsd | Measure::Parallel => None,
        }),
        Unit::NanoUsd => rule(config, &charge.slot).map(|_| cost_nano_usd(config, charge, taken)),
    };
    used.unwrap_or(charge.amount).min(MAX_AMOUNT)
}

/// What was taken costs, each part at the price of its own deployment and rounded for itself, as the records have it. If one
/// has no price, the sum is not known: it is at least what the others cost, and the charge does not fall for it.
fn cost_nano_usd(config: &LimiterConfig, charge: &Charge, taken: &Taken<'_>) -> u64 {
    let Taken::Tokens { usage, model, deployment, retried } = taken else { return 0 };
    let cost = |model: &str, deployment: &str, usage: &Usage| {
        let Usage { prompt_tokens, cached_tokens, completion_tokens, .. } = *usage;
        let price = config.costs.at(model, deployment)?;
        Some(price.cost_nano_usd(prompt_tokens, cached_tokens, completion_tokens))
    };
    let attempts = retried.iter().map(|attempt| cost(attempt.model, attempt.deployment, &attempt.usage));
    let costs: Vec<_> = std::iter::once(cost(model, deployment, usage)).chain(attempts).collect();
    let known = costs.iter().flatten().fold(0_u64, |sum, cost| sum.saturating_add(*cost));
    if costs.iter().all(Option::is_some) { known } else { known.max(charge.amount) }
}

/// The rule and the check of a counter, as configured now.
pub(crate) fn rule<'c>(config: &'c LimiterConfig, slot: &Slot) -> Option<(&'c Limit, &'c Check)> {
    let limit = config.limit(slot.counter.limit())?;
    let check = limit.checks.iter().find(|check| Kind::of(check) == slot.counter.kind())?;
    Some((limit, check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taken::Retried;

    type Sums = Vec<(String, i64)>;

    const DOCUMENT: &str = r#"
        [[limits]]
        name = "w"
        counter_key = []
        tokens_per_minute = 100
        counts = { cached_tokens = 0.1, completion_tokens = 2, reasoning_tokens = 3 }
        [[limits]]
        name = "d"
        counter_key = []
        cost_quota_usd = 1
        period = "day"
        [[models]]
        name = "m"
        [pricing."b/m"]
        prompt_usd_per_million = 2
        cached_usd_per_million = 1
        completion_usd_per_million = 10
        [pricing.dear]
        prompt_usd_per_million = 2000
        completion_usd_per_million = 10000
        [pricing.cheap]
        prompt_usd_per_million = 0.0000005
        completion_usd_per_million = 0.0000005
    "#;

    const USAGE: Usage =
        Usage { prompt_tokens: 30, cached_tokens: 10, completion_tokens: 7, reasoning_tokens: 2 };

    fn used(reservation: &str, prompt_tokens: u64) -> Settlement<'_> {
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let taken = Taken::Tokens { usage, model: "m", deployment: "b/m", retried: &[] };
        Settlement { reservation, taken }
    }

    /// What settlements add in minute 7.
    fn sums(settlements: &[Settlement<'_>]) -> (Sums, Vec<(usize, &'static str)>) {
        sums_at(7 * MINUTE_MS, settlements)
    }

    fn sums_at(now_ms: u64, settlements: &[Settlement<'_>]) -> (Sums, Vec<(usize, &'static str)>) {
        let config = LimiterConfig::parse(DOCUMENT).unwrap();
        let (corrections, rejected) = corrections(&config, settlements.iter().copied(), now_ms);
        let rejected = rejected.iter().map(|r| (r.index, r.field)).collect();
        (corrections.iter().map(|(key, _, delta)| (key.to_owned(), delta)).collect(), rejected)
    }

    #[test]
    fn each_kind_of_charge_is_corrected_in_its_own_unit() {
        let at = |deployment| Taken::Tokens { usage: USAGE, model: "m", deployment, retried: &[] };
        let as_used = at("b/m");
        for (charge, taken, delta) in [
            ("100:a:mt:x:7:8", as_used, 37 - 100),
            ("10:a:mt:x:7:8", as_used, 27),
            ("100:a:mp:x:7:8", as_used, 30 - 100),
            ("100:a:cg:x:7:8", as_used, 7 - 100),
            ("100:w:mw::7:8", as_used, 20 + 1 + 5 * 2 + 2 * 3 - 100),
            ("100:gone:mw::7:8", as_used, 0),
            ("100:w:cw::7:8", as_used, 0), // the rule has no such quota now
            ("1000:d:cd::7:8", as_used, 20 * 2_000 + 10 * 1_000 + 7 * 10_000 - 1_000),
            ("1000:d:cd::7:8", at("other/n"), 0), // no price
            ("1000:gone:cd::7:8", as_used, 0),
            ("1:a:mn:x:7:8", as_used, 0),
            ("1:a:ls:x:7:8", as_used, -1),
            ("100:a:mt:x:7:8", Taken::Nothing, -100),
            ("100:w:mw::7:8", Taken::Nothing, -100),
            ("1000:gone:cd::7:8", Taken::Nothing, -1_000),
            ("1:a:rn:x:7:~", Taken::Nothing, -1),
            ("1:a:ls:x:7:8", Taken::Nothing, -1),
            ("0:d:cd::7:8", as_used, 120_000),
        ] {
            let reservation = format!("2;{charge}");
            let (sums, rejected) = sums(&[Settlement { reservation: &reservation, taken }]);
            let seen: Vec<i64> = sums.iter().map(|(_, delta)| *delta).collect();
            let expected = if delta == 0 { vec![] } else { vec![delta] };
            assert_eq!((seen, rejected), (expected, vec![]), "{charge} {taken:?}");
        }
    }

    #[test]
    fn failed_attempts_count_with_the_answer_and_cost_what_their_own_deployments_take() {
        let retried = |model, deployment, tokens| Retried {
            model,
            deployment,
            usage: Usage { prompt_tokens: tokens, completion_tokens: tokens, ..Usage::default() },
        };
        let dear = retried("dear", "b/d", 3);
        let usage = Usage { prompt_tokens: 9, cached_tokens: 8, completion_tokens: 6, reasoning_tokens: 5 };
        let cached = Retried { model: "m", deployment: "b/m", usage };
        let answer_nano_usd = 20 * 2_000 + 10 * 1_000 + 7 * 10_000;
        for (charge, retried, used) in [
            ("100:a:mt:x:7:8", vec![dear, dear], 37 + 12),
            ("100:a:mp:x:7:8", vec![dear], 33),
            ("100:a:cg:x:7:8", vec![dear], 10),
            ("100:w:mw::7:8", vec![dear], 23 + 1 + 8 * 2 + 2 * 3),
            ("100:w:mw::7:8", vec![cached], 21 + 2 + 6 * 2 + 7 * 3),
            ("5:d:cd::7:8", vec![cached], answer_nano_usd + 2_000 + 8 * 1_000 + 6 * 10_000),
            ("1:a:mn:x:7:8", vec![dear], 1),
            ("1:a:ls:x:7:8", vec![dear], 0),
            ("5:d:cd::7:8", vec![], answer_nano_usd),
            ("5:d:cd::7:8", vec![dear], answer_nano_usd + 3 * 2_000_000 + 3 * 10_000_000),
            // 0.4 nano-dollars each: every attempt is rounded for itself, as in a record.
            ("5:d:cd::7:8", vec![retried("cheap", "b/c", 400); 3], answer_nano_usd),
            // Of an attempt without a price at least the rest is paid, and nothing is given back.
            ("5:d:cd::7:8", vec![retried("none", "b/n", 3)], answer_nano_usd),
            ("900000:d:cd::7:8", vec![retried("none", "b/n", 3)], 900_000),
            ("900000:d:cd::7:8", vec![dear, retried("none", "b/n", 3)], answer_nano_usd + 36_000_000),
        ] {
            let reservation = format!("2;{charge}");
            let taken = Taken::Tokens { usage: USAGE, model: "m", deployment: "b/m", retried: &retried };
            let (sums, _) = sums(&[Settlement { reservation: &reservation, taken }]);
            let reserved: i64 = charge.split(':').next().unwrap().parse().unwrap();
            let seen = reserved + sums.iter().map(|(_, delta)| *delta).sum::<i64>();
            assert_eq!(seen, used, "{charge} {retried:?}");
        }
    }

    #[test]
    fn corrections_of_one_key_are_summed_and_zeros_left_out() {
        let (sums, _) = sums(&[
            used("2;100:a:mt:x:7:8", 150),
            used("2;100:a:mt:x:7:8", 80),
            used("2;100:a:mt:x:8:9", 0),
            used("2;10:same:mt::7:8", 10),
            used("2;10:up-and-down:mt::7:8", 12),
            used("2;10:up-and-down:mt::7:8", 8),
        ]);
        assert_eq!(sums, [("tl:2:a:mt:x:7:8".to_owned(), 30), ("tl:2:a:mt:x:8:9".to_owned(), -100)]);
    }

    #[test]
    fn the_debt_of_a_minute_that_is_over_goes_to_the_minute_of_now_and_nothing_else_does() {
        let (debt, rest) = (150, 80);
        for (charge, used_tokens, now_ms, key) in [
            ("100:a:mt:x:7:8", debt, 8 * MINUTE_MS - 1, "tl:2:a:mt:x:7:8"),
            ("100:a:mt:x:7:8", debt, 8 * MINUTE_MS, "tl:2:a:mt:x:8:9"),
            ("100:a:mt:x:7:8", debt, 900 * MINUTE_MS, "tl:2:a:mt:x:900:901"),
            // By the clock of another host it is not even minute 7 yet.
            ("100:a:mt:x:7:8", debt, 6 * MINUTE_MS, "tl:2:a:mt:x:7:8"),
            ("100:a:mt:x:7:8", rest, 900 * MINUTE_MS, "tl:2:a:mt:x:7:8"),
            ("100:a:ct:x:7:8", debt, 900 * MINUTE_MS, "tl:2:a:ct:x:7:8"),
            ("100:a:rt:x:7:~", debt, 900 * MINUTE_MS, "tl:2:a:rt:x:7:~"),
        ] {
            let reservation = format!("2;{charge}");
            let (sums, _) = sums_at(now_ms, &[used(&reservation, used_tokens)]);
            let change = i64::try_from(used_tokens).unwrap() - 100;
            assert_eq!(sums, [(key.to_owned(), change)], "{charge} {used_tokens} {now_ms}");
        }
        let batch = [used("2;100:a:mt:x:7:8", debt), used("2;100:a:mt:x:7:8", rest)];
        let (sums, _) = sums_at(9 * MINUTE_MS, &batch);
        assert_eq!(sums, [("tl:2:a:mt:x:7:8".to_owned(), -20), ("tl:2:a:mt:x:9:10".to_owned(), 50)]);
    }

    #[test]
    fn what_is_rejected_is_named_and_the_others_are_made() {
        let usage = Usage { reasoning_tokens: MAX_TOKENS + 1, ..Usage::default() };
        let absurd = Retried { model: "m", deployment: "b/m", usage };
        let (sums, rejected) = sums(&[
            used("junk", 1),
            used("2;100:a:mt:x:7:8", 90),
            used("2;100:a:mt:x:7:8", MAX_TOKENS + 1),
            used("", u64::MAX),
            Settlement {
                reservation: "2;100:a:mt:x:7:8",
                taken: Taken::Tokens { usage: USAGE, model: "m", deployment: "b/m", retried: &[absurd] },
            },
        ]);
        assert_eq!(sums, [("tl:2:a:mt:x:7:8".to_owned(), -10)]);
        let tokens = "usage.prompt_tokens";
        assert_eq!(rejected, [(0, "reservation"), (2, tokens), (3, tokens), (4, "retried")]);
    }
}
