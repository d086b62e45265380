//! A month of ten thousand consumers, and of users whose names never come again: the store does not grow with them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use futures::executor::block_on;
use gateway_config::LimiterConfig;
use quota::{
    CounterStore, EVERY_MS, Outcome, Pace, RequestSize, Settlement, StoreError, Subject, Sweepable, Taken,
};
use quota::{corrections, demands, latch, reserve, settle, sweep};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// 20 January 2026, 03:00 UTC.
const START_MS: u64 = 1_768_878_000_000;
const DAYS: u64 = 30;
const CONSUMERS: u64 = 10_000;
/// Between two minutes in which anybody asks, which keeps the test short.
const EVERY_MINUTES: u64 = 60;
/// Of the consumers in turn, and of new names, in such a minute.
const ASKING: u64 = 14;

#[derive(Default)]
struct Memory(RefCell<HashMap<String, String>>);

impl CounterStore for Memory {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        Ok(self.0.borrow().get(key).map_or(0, |text| text.parse().unwrap()))
    }
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let sum = self.get(key).await? + delta;
        self.set_text(key, &sum.to_string()).await.map(|()| sum)
    }
    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.0.borrow().get(key).cloned())
    }
    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.0.borrow_mut().insert(key.to_owned(), text.to_owned());
        Ok(())
    }
    async fn pause(&self, _: u64) {}
}

impl Sweepable for Memory {
    async fn keys(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.0.borrow().keys().cloned().collect())
    }
    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let mut held = self.0.borrow_mut();
        keys.iter().for_each(|key| drop(held.remove(key)));
        Ok(())
    }
}

/// Asks for one consumer and settles, what was told included.
fn ask(memory: &Memory, config: &LimiterConfig, consumer: &str, now_ms: u64) {
    let subject = Subject { consumer, ..Subject::default() };
    let size = RequestSize { prompt_tokens: 10, max_completion_tokens: Some(10), n: 1 };
    let demands = demands(config, &subject, size).demands;
    let Ok(Outcome::Admitted(admission)) = block_on(reserve(memory, &Pace::new(), || now_ms, &demands))
    else {
        panic!("{consumer} was refused")
    };
    let reservation = admission.reservation.to_string();
    let (corrections, _) =
        corrections(config, [Settlement { reservation: &reservation, taken: Taken::Nothing }], now_ms);
    let settled = block_on(settle(memory, config, &corrections, &BTreeSet::new())).unwrap();
    for alert in admission.alerts.iter().chain(&settled) {
        block_on(latch(memory, alert)).unwrap();
    }
}

/// The most keys at the end of any minute of each day.
fn most_keys(rule: &str) -> Vec<usize> {
    let document =
        format!("[[limits]]\nname = \"l\"\ncounter_key = [\"consumer\"]\nalert_at = [0.001]\n{rule}");
    let config = LimiterConfig::parse(&document).unwrap();
    let (memory, mut most, mut next, mut new) = (Memory::default(), Vec::new(), 0, 0);
    for day in 0..DAYS {
        let mut of_day = 0;
        for minute in (0..24 * 60).filter(|minute| minute % EVERY_MINUTES == 0) {
            let now_ms = START_MS + day * DAY_MS + minute * MINUTE_MS;
            for _ in 0..ASKING {
                ask(&memory, &config, &format!("c{}", next % CONSUMERS), now_ms);
                ask(&memory, &config, &format!("new-{new}"), now_ms);
                (next, new) = (next + 1, new + 1);
            }
            of_day = of_day.max(memory.0.borrow().len());
            block_on(sweep(&memory, now_ms + EVERY_MS, |_| false)).unwrap();
        }
        most.push(of_day);
    }
    assert!(next >= CONSUMERS, "everybody has asked");
    most
}

#[test]
fn a_month_of_ten_thousand_consumers_leaves_no_more_than_two_windows_of_any_kind() {
    // Minutes in which somebody asks while a key of theirs is kept, and keys for one of them: a counter, a threshold of
    // requests, a text of a window from first use.
    for (rule, minutes, keys) in [
        ("requests_per_minute = 10", 3, 2),
        ("request_quota = 10\nperiod = \"hour\"", 60, 2),
        ("request_quota = 10\nperiod = \"hour\"\nwindow = \"rolling\"", 120, 3),
        ("request_quota = 10\nperiod = \"day\"\nwindow = \"rolling\"", 2 * 24 * 60, 3),
        ("max_parallel = 2\nlease_s = 600", 15, 2),
    ] {
        let most = most_keys(rule);
        // Beside it the sweep's interval, slack for clocks, and what this very minute brought; the claims of sweeps.
        let asking = (minutes + 13) / EVERY_MINUTES + 2;
        let bound = usize::try_from(asking * 2 * ASKING * keys + 4).unwrap();
        assert!(most.iter().all(|keys| *keys <= bound), "{rule}: {most:?}, at most {bound}");
        assert!(most.last() <= most.get(3), "{rule} grows: {most:?}");
    }
}
