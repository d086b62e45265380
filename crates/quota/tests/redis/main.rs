//! The scripts on a real Redis: the same decisions as with counters, one after the other and at once.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../interleavings/debts.rs"]
mod debts;
#[path = "../interleavings/deeds.rs"]
mod deeds;
#[allow(dead_code, reason = "shared with the interleavings, which use all of it")]
#[path = "../interleavings/plan.rs"]
mod plan;
#[path = "../interleavings/serial.rs"]
mod serial;
mod server;
#[allow(dead_code, reason = "shared with the interleavings, which use all of it")]
#[path = "../interleavings/world.rs"]
mod world;

use futures::executor::block_on;
use plan::{CONFIG, Plan, plan_of, start};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use quota::{Alert, Demand, Outcome, Settlement, Standing, corrections, counters, unchanged};
use quota::{inspect_by_script, latch_by_script, reserve_by_script, reset_by_script, settle_by_script};
use server::{Answer, Redis, Server};
use std::cell::Cell;
use std::collections::BTreeSet;
use world::World;

/// Fourteen years on: Redis expires by its own clock, and nothing may expire before the test's clock says so.
const LATER_MS: u64 = 14 * 365 * 24 * 3_600_000;

fn ask(redis: &Redis, plan: &Plan, now_ms: u64) -> Outcome<'static> {
    let outcome = block_on(reserve_by_script(redis, || now_ms, &plan.demands())).unwrap();
    if let (Outcome::Admitted(admission), Some(settle_to)) = (&outcome, plan.settle_to)
        && !admission.reservation.charges.is_empty()
    {
        let reservation = admission.reservation.to_string();
        let settlement = Settlement { reservation: &reservation, taken: plan::taken(settle_to) };
        let (corrections, rejected) = corrections(&CONFIG, [settlement], now_ms);
        assert!(rejected.is_empty());
        block_on(settle_by_script(redis, &CONFIG, &corrections, &BTreeSet::new())).unwrap();
    }
    outcome
}

/// Redis as a gate of its own.
struct Scripted<'r>(&'r Redis);

impl deeds::Gate for Scripted<'_> {
    fn ask(&self, plan: &Plan, now_ms: u64) -> Outcome<'static> {
        block_on(reserve_by_script(self.0, || now_ms, &plan.demands())).unwrap()
    }

    fn settle(&self, reservation: &str, took: Option<u64>, now_ms: u64) -> Vec<Alert<'static>> {
        let settlement = Settlement { reservation, taken: plan::taken(took) };
        let (corrections, rejected) = corrections(&CONFIG, [settlement], now_ms);
        assert!(rejected.is_empty());
        let unchanged = unchanged(&CONFIG, [reservation], &corrections);
        block_on(settle_by_script(self.0, &CONFIG, &corrections, &unchanged)).unwrap()
    }

    fn reset(&self, checks: &[Demand<'static>], now_ms: u64) {
        block_on(reset_by_script(self.0, now_ms, checks)).unwrap();
    }

    fn inspect(&self, checks: &[Demand<'static>], now_ms: u64) -> Vec<Standing<'static>> {
        block_on(inspect_by_script(self.0, now_ms, checks)).unwrap()
    }
}

const CASES: u32 = 300;

/// Runs a property on one server, emptied before each case.
fn on_redis<S: Strategy>(strategy: S, property: impl Fn(&Redis, S::Value) -> Result<(), TestCaseError>) {
    let server = Server::start();
    let redis = server.connect();
    let run = TestRunner::new(ProptestConfig::with_cases(CASES)).run(&strategy, |value| {
        redis.command(&["FLUSHALL"]);
        property(&redis, value)
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn one_after_the_other_is_what_the_definition_and_the_counters_say() {
    on_redis((deeds::deeds(), start()), |redis, (deeds, start_ms)| {
        let start_ms = start_ms + LATER_MS;
        let counted = deeds::Counted(World::starting_at(start_ms));
        deeds::agree(&[&counted, &Scripted(redis)], start_ms, &deeds)?;
        for key in redis.keys() {
            prop_assert!(redis.expires_ms(&key) > 0, "{} stays for ever", key);
        }
        Ok(())
    });
}

#[test]
fn however_long_an_answer_took_what_goes_beyond_its_reservation_counts() {
    on_redis((debts::lasting(), start()), |redis, (lasting_ms, start_ms)| {
        debts::counts_in_full(&Scripted(redis), start_ms + LATER_MS, lasting_ms)
    });
    let server = Server::start();
    debts::closes_the_door(&Scripted(&server.connect()), plan::START_MS + LATER_MS);
}

#[test]
fn large_figures_are_weighed_to_the_token() {
    let figures = (0..1_000_000_000_000_u64, 1..1_000_000_u64, 0..60_000_u64, -2..3_i64);
    on_redis(figures, |redis, (held, amount, elapsed_ms, room)| {
        let (is_admitted, fits) = weighed(redis, held, amount, elapsed_ms, room);
        prop_assert_eq!(is_admitted, fits);
        Ok(())
    });
    // held × 59,999 is one more than a multiple of 60,000 and beyond 2⁵³, where doubles lose that one.
    let server = Server::start();
    assert_eq!(weighed(&server.connect(), 999_999_959_999, 1, 1, -1), (false, false));
}

/// Whether `amount` is admitted after `held` in the minute before, where the limit leaves `room` beside it, and whether it fits.
fn weighed(redis: &Redis, held: u64, amount: u64, elapsed_ms: u64, room: i64) -> (bool, bool) {
    let now_ms = plan::START_MS + LATER_MS + elapsed_ms;
    let used = (u128::from(held) * u128::from(60_000 - elapsed_ms)).div_ceil(60_000);
    let used = u64::try_from(used).unwrap();
    let size = (used + amount).saturating_add_signed(room).clamp(amount, 1_000_000_000_000);
    let document = format!("[[limits]]\nname = \"l\"\ncounter_key = []\ntokens_per_minute = {size}");
    let config = gateway_config::LimiterConfig::parse(&document).unwrap();
    let minute = now_ms / 60_000 - 1;
    redis.command(&["SET", &format!("tl:2:l:mt::{minute}:{}", minute + 1), &held.to_string()]);
    let mut demands = counters(&config.limits[0], &[]);
    demands[0].amount = amount;
    let outcome = block_on(reserve_by_script(redis, || now_ms, &demands)).unwrap();
    (matches!(outcome, Outcome::Admitted(_)), used + amount <= size)
}

#[test]
fn a_window_from_first_use_ends_after_its_length_and_a_late_settlement_does_not_touch_the_next() {
    let server = Server::start();
    let redis = server.connect();
    let start_ms = plan::START_MS + LATER_MS;
    let rolling = |amount| plan_of(&["rolling"], amount, false);
    let Outcome::Admitted(first) = ask(&redis, &rolling(60), start_ms) else { panic!("refused at first") };
    assert!(matches!(ask(&redis, &rolling(60), start_ms + 3_599_999), Outcome::Refused(_)));
    assert!(matches!(ask(&redis, &rolling(60), start_ms + 3_600_000), Outcome::Admitted(_)));
    let reservation = first.reservation.to_string();
    let settlement = Settlement { reservation: &reservation, taken: plan::taken(None) };
    let (corrections, _) = corrections(&CONFIG, [settlement], start_ms + 3_600_000);
    block_on(settle_by_script(&redis, &CONFIG, &corrections, &BTreeSet::new())).unwrap();
    let all = counters(CONFIG.limit("rolling").unwrap(), &["a"]);
    assert_eq!(block_on(inspect_by_script(&redis, start_ms + 3_600_001, &all)).unwrap()[0].used, 60);
}

#[test]
fn at_once_a_limit_is_filled_exactly() {
    let server = Server::start();
    let now_ms = plan::START_MS + LATER_MS;
    let admitted: usize = std::thread::scope(|scope| {
        let client = || {
            let redis = server.connect();
            let asks = (0..25).map(|_| ask(&redis, &plan_of(&["hour", "rolling"], 7, false), now_ms));
            asks.filter(|outcome| matches!(outcome, Outcome::Admitted(_))).count()
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(admitted, 90 / 7);
}

#[test]
fn a_request_that_the_end_of_the_minute_overtakes_is_charged_to_the_next() {
    let server = Server::start();
    let redis = server.connect();
    let before_ms = plan::START_MS + LATER_MS + 59_999;
    let looks = Cell::new(0);
    let clock = || before_ms + u64::from(looks.replace(looks.get() + 1) > 0);
    let outcome =
        block_on(reserve_by_script(&redis, clock, &plan_of(&["small"], 60, false).demands())).unwrap();
    let Outcome::Admitted(admission) = outcome else { panic!("{outcome:?}") };
    assert_eq!(admission.reservation.charges[0].slot.window, (before_ms + 1) / 60_000);
    let late = format!("tl:2:small:mt:a:{0}:{1}", before_ms / 60_000, before_ms / 60_000 + 1);
    assert!(matches!(redis.command(&["GET", &late]), Answer::Text(count) if count == "0"));
}

#[test]
fn counters_are_shown_and_set_to_zero_and_alerts_latched_once() {
    let server = Server::start();
    let redis = server.connect();
    let now_ms = plan::START_MS + LATER_MS;
    ask(&redis, &plan_of(&["rolling", "small"], 50, false), now_ms);
    for name in ["rolling", "small"] {
        let all = counters(CONFIG.limit(name).unwrap(), &["a"]);
        let used = || block_on(inspect_by_script(&redis, now_ms, &all)).unwrap()[0].used;
        assert_eq!(used(), 50, "{name}");
        block_on(reset_by_script(&redis, now_ms, &all)).unwrap();
        assert_eq!(used(), 0, "{name}");
    }
    let outcome = ask(&redis, &plan_of(&["small"], 50, false), now_ms);
    let Outcome::Admitted(admission) = outcome else { panic!("{outcome:?}") };
    let slot = admission.reservation.charges[0].slot.clone();
    let alert = quota::Alert { limit: "small", slot, permille: 500, used: 50, size: 60 };
    let latched: Vec<_> =
        (0..3).map(|_| block_on(latch_by_script(&redis, &CONFIG, &alert, now_ms)).unwrap()).collect();
    assert_eq!(latched, [true, false, false]);
    assert!(redis.expires_ms(&alert.key()) > 0);
}

#[test]
fn a_settlement_that_comes_after_its_window_leaves_nothing_behind() {
    let server = Server::start();
    let redis = server.connect();
    let (corrections, _) = corrections(
        &CONFIG,
        [Settlement { reservation: "2;5:small:mt:a:1:2;5:rolling:rt:a:1000:~", taken: plan::taken(None) }],
        plan::START_MS,
    );
    block_on(settle_by_script(&redis, &CONFIG, &corrections, &BTreeSet::new())).unwrap();
    assert_eq!(redis.keys(), Vec::<String>::new());
}

#[test]
fn a_window_from_first_use_and_its_alerts_stay_two_minutes_longer_than_it_whatever_clock_redis_has() {
    let server = Server::start();
    let redis = server.connect();
    let start_ms = plan::START_MS + LATER_MS;
    let Outcome::Admitted(admission) = ask(&redis, &plan_of(&["rolling"], 60, false), start_ms) else {
        panic!("refused at first")
    };
    let slot = admission.reservation.charges[0].slot.clone();
    let alert = Alert { limit: "rolling", slot, permille: 500, used: 60, size: 90 };
    assert!(block_on(latch_by_script(&redis, &CONFIG, &alert, start_ms + 1_000_000)).unwrap());
    let expected_ms = i64::try_from(start_ms + 3_600_000 + 120_000).unwrap();
    for key in [alert.slot.counter.rolling_key(), alert.key()] {
        assert_eq!(redis.expires_ms(&key), expected_ms, "{key}");
    }
}
