//! What the requests of a run ask for, and in which order their operations happen.

use crate::world::{Fault, Move, View};
use gateway_config::{LimiterConfig, Mode};
use proptest::prelude::*;
use proptest::sample::Index;
use quota::{Demand, Outcome, Pace, RequestSize, Settlement, StoreError, Subject, Taken, Usage};
use quota::{corrections, demands, reserve, settle};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// 24 October 2026, 23:00 UTC: two hours before the clock in Berlin goes back.
pub const START_MS: u64 = 1_792_882_800_000;

/// Each rule counts those who have its name as a tag, so that a plan can choose.
pub const RULES: [(&str, &str); 8] = [
    ("all", "counter_key = []\ntokens_per_minute = 150"),
    ("small", "counter_key = [\"consumer\"]\ntokens_per_minute = 60\nalert_at = [0.5, 1.0]"),
    ("large", "counter_key = [\"consumer\"]\ntokens_per_minute = 100"),
    ("hour", "counter_key = []\ntoken_quota = 120\nperiod = \"hour\"\ntimezone = \"Europe/Berlin\""),
    (
        "rolling",
        "counter_key = [\"consumer\"]\ntoken_quota = 90\nperiod = \"hour\"\nwindow = \"rolling\"\nalert_at = [0.2, 0.9, 1.0]",
    ),
    ("slots", "counter_key = []\nmax_parallel = 3\nlease_s = 40"),
    ("requests", "counter_key = [\"consumer\"]\nrequests_per_minute = 4\nalert_at = [0.5, 1.0]"),
    ("seen", "counter_key = []\ntokens_per_minute = 50\nmode = \"observe\"\nalert_at = [1.0, 2.0]"),
];

/// The rules as configured.
pub static CONFIG: LazyLock<LimiterConfig> = LazyLock::new(|| {
    let rule = |(name, rule): &(&str, &str)| {
        format!("[[limits]]\nname = \"{name}\"\nmatch = {{ tags = [\"{name}\"] }}\n{rule}\n")
    };
    LimiterConfig::parse(&RULES.iter().map(rule).collect::<String>()).unwrap()
});

/// What one request will do.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rules: Vec<&'static str>,
    pub consumer: usize,
    pub amount: u64,
    /// What it takes in the end, if it ends; nothing is a failed call.
    pub settle_to: Option<Option<u64>>,
    pub read_first: bool,
}

/// A plan that never settles.
pub fn plan_of(rules: &[&'static str], amount: u64, read_first: bool) -> Plan {
    Plan { rules: rules.to_vec(), consumer: 0, amount, settle_to: None, read_first }
}

/// Sizes of the limits that decide.
pub fn sizes() -> BTreeMap<String, u64> {
    let deciding = CONFIG.limits.iter().filter(|limit| limit.mode == Mode::Enforce);
    deciding.map(|limit| (limit.name.clone(), limit.checks[0].size)).collect()
}

impl Plan {
    pub fn demands(&self) -> Vec<Demand<'static>> {
        let subject =
            Subject { consumer: ["a", "b"][self.consumer], tags: &self.rules, ..Subject::default() };
        let size = RequestSize { prompt_tokens: self.amount, max_completion_tokens: Some(0), n: 1 };
        let mut demands = demands(&CONFIG, &subject, size).demands;
        demands.iter_mut().for_each(|demand| demand.read_first = self.read_first);
        demands
    }

    pub async fn run(self, view: View) -> Result<Outcome<'static>, StoreError> {
        view.turn().await;
        let outcome = reserve(&view, &Pace::new(), || view.now_ms(), &self.demands()).await?;
        if let (Outcome::Admitted(admission), Some(settle_to)) = (&outcome, self.settle_to)
            && !admission.reservation.charges.is_empty()
        {
            let view = view.settling();
            view.turn().await;
            let reservation = admission.reservation.to_string();
            let settlement = Settlement { reservation: &reservation, taken: taken(settle_to) };
            let (corrections, rejected) = corrections(&CONFIG, [settlement], view.now_ms());
            assert!(rejected.is_empty());
            let _lost = settle(&view, &CONFIG, &corrections, &BTreeSet::new()).await;
        }
        Ok(outcome)
    }
}

/// What a request took in the end.
pub fn taken(settle_to: Option<u64>) -> Taken<'static> {
    settle_to.map_or(Taken::Nothing, |prompt_tokens| {
        let usage = Usage { prompt_tokens, ..Usage::default() };
        Taken::Tokens { usage, model: "", deployment: "", retried: &[] }
    })
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let rules = prop::sample::subsequence(RULES.map(|(name, _)| name).to_vec(), 1..=4);
    let settle_to = prop_oneof![
        3 => Just(None),
        1 => Just(Some(None)),
        3 => (0..120_u64).prop_map(|used| Some(Some(used))),
    ];
    (rules, 0..2_usize, 1..70_u64, settle_to, any::<bool>()).prop_map(
        |(rules, consumer, amount, settle_to, read_first)| Plan {
            rules,
            consumer,
            amount,
            settle_to,
            read_first,
        },
    )
}

/// Mostly no time passes, sometimes some of a window, sometimes its end, seldom the end of an hour.
pub fn moves(fault: impl Strategy<Value = Fault> + 'static) -> impl Strategy<Value = Vec<Move>> {
    let advance_ms = prop_oneof![
        16 => Just(0), 6 => 0..500_u64, 2 => 0..20_000_u64, 2 => 50_000..70_000_u64, 1 => 0..4_000_000_u64,
    ];
    let one = (any::<Index>(), advance_ms, fault).prop_map(|(pick, advance_ms, fault)| Move {
        pick: pick.index(1 << 20),
        advance_ms,
        fault,
    });
    prop::collection::vec(one, 20..120)
}

/// The same without time passing or anything failing.
pub fn still() -> impl Strategy<Value = Vec<Move>> {
    let one =
        any::<Index>().prop_map(|pick| Move { pick: pick.index(1 << 20), advance_ms: 0, fault: Fault::None });
    prop::collection::vec(one, 20..120)
}

/// Anywhere in a minute, or near its end, or near the end of an hour, or in any of three hours.
pub fn start() -> impl Strategy<Value = u64> {
    let elapsed_ms =
        prop_oneof![0..60_000_u64, 59_000..60_000_u64, 3_590_000..3_600_000_u64, 0..10_800_000_u64];
    elapsed_ms.prop_map(|elapsed_ms| START_MS + elapsed_ms)
}
