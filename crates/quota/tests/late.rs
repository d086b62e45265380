//! A store that declines to take more for who has no time left: what is put right or given back is written all the same.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use futures::executor::block_on;
use gateway_config::LimiterConfig;
use quota::{Counter, CounterStore, Kind, Outcome, Pace, Settlement, StoreError, Taken, Unapplied, Usage};
use quota::{corrections, counters, inspect, reserve, reset, settle, unchanged};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

const NOW_MS: u64 = 29_000_000 * 60_000 + 10_000;
const DOCUMENT: &str = r#"
    [[limits]]
    name = "first"
    counter_key = []
    tokens_per_minute = 100
    [[limits]]
    name = "second"
    counter_key = []
    token_quota = 100
    period = "day"
    alert_at = [0.5]
"#;

/// Counters, and what is asked of them in turn.
#[derive(Default)]
struct Late {
    held: RefCell<BTreeMap<String, i64>>,
    /// Takes that are still in time.
    takes: Cell<u32>,
    /// `get <limit>` and `<limit> <delta>`.
    asked: RefCell<Vec<String>>,
    /// Increments of this limit's counter fail.
    broken: &'static str,
}

fn limit_of(key: &str) -> &str {
    key.split(':').nth(2).unwrap()
}

impl CounterStore for Late {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        self.asked.borrow_mut().push(format!("get {}", limit_of(key)));
        Ok(self.held.borrow().get(key).copied().unwrap_or(0))
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        if limit_of(key) == self.broken {
            return Err(StoreError { operation: "add", reason: "it is broken".to_owned() });
        }
        self.asked.borrow_mut().push(format!("{} {delta:+}", limit_of(key)));
        let mut held = self.held.borrow_mut();
        let count = held.entry(key.to_owned()).or_default();
        *count += delta;
        Ok(*count)
    }

    async fn take(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let left = self.takes.get().checked_sub(1);
        let left = left.ok_or_else(|| StoreError { operation: "take", reason: "it is late".to_owned() })?;
        self.takes.set(left);
        self.increment(key, amount).await
    }

    async fn get_text(&self, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn set_text(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn pause(&self, _: u64) {}
}

impl Late {
    fn with_takes(takes: u32) -> Self {
        Late { takes: Cell::new(takes), ..Late::default() }
    }

    fn ask<'c>(&self, config: &'c LimiterConfig, amount: u64) -> Result<Outcome<'c>, StoreError> {
        let mut demands: Vec<_> = config.limits.iter().flat_map(|limit| counters(limit, &[])).collect();
        demands.iter_mut().for_each(|demand| demand.amount = amount);
        block_on(reserve(self, &Pace::new(), || NOW_MS, &demands))
    }

    /// The reservation of an admitted request.
    fn admitted(&self, config: &LimiterConfig, amount: u64) -> String {
        match self.ask(config, amount).unwrap() {
            Outcome::Admitted(admission) => admission.reservation.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn sums(&self) -> Vec<i64> {
        self.held.borrow().values().copied().collect()
    }
}

fn taking(reservation: &str, prompt_tokens: u64) -> Settlement<'_> {
    let usage = Usage { prompt_tokens, ..Usage::default() };
    Settlement { reservation, taken: Taken::Tokens { usage, model: "", deployment: "", retried: &[] } }
}

#[test]
fn a_reservation_that_runs_out_of_time_leaves_nothing() {
    let config = LimiterConfig::parse(DOCUMENT).unwrap();
    let store = Late::with_takes(1);
    assert_eq!(store.ask(&config, 10).unwrap_err().reason, "it is late");
    assert_eq!(store.sums(), [0], "the first was taken and given back");
}

#[test]
fn debts_and_what_goes_below_zero_are_put_right_however_late() {
    let config = LimiterConfig::parse(DOCUMENT).unwrap();
    let store = Late::with_takes(2);
    let reservation = store.admitted(&config, 10);
    let settled = |settlement| {
        let (corrections, _) = corrections(&config, [settlement], NOW_MS);
        block_on(settle(&store, &config, &corrections, &BTreeSet::new())).unwrap();
        store.sums()
    };
    assert_eq!(settled(taking(&reservation, 40)), [40, 40]);
    for limit in &config.limits {
        block_on(reset(&store, NOW_MS, &counters(limit, &[]))).unwrap();
    }
    let nothing = Settlement { reservation: &reservation, taken: Taken::Nothing };
    assert_eq!(settled(nothing), [0, 0], "and not ten below");
}

#[test]
fn debts_come_first_then_what_is_given_back_and_last_the_looks_for_alerts() {
    let config = LimiterConfig::parse(DOCUMENT).unwrap();
    let store = Late::with_takes(2);
    let reservation = store.admitted(&config, 10);
    let minute = reservation.split(';').nth(1).unwrap().replace("first", "another");
    let debt = format!("2;{minute}");
    // Of the second counter one takes as much more as the other gives back: it stays as it is.
    let more = reservation.replace(":first:", ":third:");
    let settlements = [taking(&reservation, 4), taking(&debt, 30), taking(&more, 16)];
    let (corrections, rejected) = corrections(&config, settlements, NOW_MS);
    assert_eq!(rejected, []);
    let all = [reservation.as_str(), debt.as_str(), more.as_str()];
    let unchanged = unchanged(&config, all, &corrections);
    store.asked.take();
    block_on(settle(&store, &config, &corrections, &unchanged)).unwrap();
    // "first" is given back to and comes before "third" by its name.
    assert_eq!(store.asked.take(), ["another +20", "third +6", "first -6", "get second"]);
}

#[test]
fn thresholds_that_a_batch_reached_are_told_though_another_counter_failed() {
    let config = LimiterConfig::parse(DOCUMENT).unwrap();
    let store = Late { broken: "first", ..Late::default() };
    let second = Counter::new("second", Kind::of(&config.limits[1].checks[0]), []);
    let day = NOW_MS / 86_400_000 * 86_400;
    let reservation = format!("2;10:first:mt::29000000:29000001;10:{second}:{day}:29000160");
    let (corrections, _) = corrections(&config, [taking(&reservation, 60)], NOW_MS);
    let Unapplied { failed, all, alerts, .. } =
        block_on(settle(&store, &config, &corrections, &BTreeSet::new())).unwrap_err();
    assert_eq!((failed, all), (1, 2));
    let told: Vec<_> = alerts.iter().map(|alert| (alert.limit, alert.permille, alert.used)).collect();
    assert_eq!(told, [("second", 500, 50)]);
    let stands = counters(&config.limits[1], &[]);
    assert_eq!(block_on(inspect(&store, NOW_MS, &stands)).unwrap()[0].used, 50);
}
