//! Many requests reserve and settle at once, their store operations interleaved at random, the clock moving across
//! windows in between, the store failing where asked. What must hold is checked against a ledger of what was admitted.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod ledger;
mod world;

use ledger::{Admitted, Ledger};
use proptest::prelude::*;
use proptest::sample::Index;
use quota::{Counter, Demand, Outcome, StoreError, corrections, reserve, settle};
use std::collections::BTreeMap;
use world::{Fault, Move, Task, View, World};

const START_MS: u64 = 29_000_000 * 60_000;

/// Limit names and sizes; the first counts everybody, the others by consumer.
const LIMITS: [(&str, u64); 3] = [("all", 150), ("small", 60), ("large", 100)];

/// What one request will do.
#[derive(Debug, Clone)]
struct Plan {
    limits: Vec<usize>,
    consumer: usize,
    amount: u64,
    settle_to: Option<u64>,
}

fn counter(limit: usize, consumer: usize) -> Counter {
    let value = if limit == 0 { String::new() } else { format!("consumer-{consumer}") };
    Counter::new(LIMITS[limit].0, [value.as_str()])
}

fn sizes() -> BTreeMap<Counter, u64> {
    (0..LIMITS.len()).flat_map(|limit| (0..2).map(move |c| (counter(limit, c), LIMITS[limit].1))).collect()
}

impl Plan {
    fn demands(&self) -> Vec<Demand<'static>> {
        let demand = |&limit: &usize| Demand {
            limit: LIMITS[limit].0,
            limit_tokens: LIMITS[limit].1,
            counter: counter(limit, self.consumer),
            amount: self.amount,
        };
        self.limits.iter().map(demand).collect()
    }

    async fn run(self, view: View) -> Result<Outcome<'static>, StoreError> {
        view.turn().await;
        let outcome = reserve(&view, || view.now_ms(), &self.demands()).await?;
        if let (Outcome::Admitted { reservation, .. }, Some(tokens)) = (&outcome, self.settle_to) {
            let view = view.settling();
            view.turn().await;
            let (corrections, rejected) = corrections([(reservation.to_string().as_str(), tokens)]);
            assert!(rejected.is_empty());
            let _lost = settle(&view, &corrections).await;
        }
        Ok(outcome)
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let limits = prop::sample::subsequence(vec![0, 1, 2], 1..=3).prop_shuffle();
    let settle_to = prop_oneof![Just(None), (0..120_u64).prop_map(Some)];
    (limits, 0..2_usize, 1..70_u64, settle_to).prop_map(|(limits, consumer, amount, settle_to)| Plan {
        limits,
        consumer,
        amount,
        settle_to,
    })
}

fn moves(fault: impl Strategy<Value = Fault> + 'static) -> impl Strategy<Value = Vec<Move>> {
    // Mostly nothing, sometimes some way into the window, sometimes over its end.
    let advance_ms = prop_oneof![8 => Just(0), 3 => 0..500_u64, 1 => 0..20_000_u64, 1 => 50_000..70_000_u64];
    let one = (any::<Index>(), advance_ms, fault).prop_map(|(pick, advance_ms, fault)| Move {
        pick: pick.index(1 << 20),
        advance_ms,
        fault,
    });
    prop::collection::vec(one, 20..120)
}

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![0..60_000_u64, 59_000..60_000_u64].prop_map(|elapsed_ms| START_MS + elapsed_ms)
}

/// Runs the plans at once and returns what was admitted.
fn run(
    world: &World,
    plans: &[Plan],
    moves: &[Move],
) -> (Vec<Admitted>, Vec<Result<Outcome<'static>, StoreError>>) {
    let task = |(at, plan): (usize, &Plan)| -> Task<'_, _> { Box::pin(plan.clone().run(world.view(at))) };
    let results = world.run(plans.iter().enumerate().map(task).collect(), moves);
    let admitted = results.iter().enumerate().filter_map(|(task, result)| match result {
        Ok(Outcome::Admitted { reservation, .. }) => {
            Some(Admitted { task, reservation: reservation.clone() })
        }
        _ => None,
    });
    (admitted.collect(), results)
}

fn without_zeros(mut counters: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    counters.retain(|_, count| *count != 0);
    counters
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_interleaving_admits_over_a_limit_or_leaves_a_trace_of_a_refusal(
        plans in prop::collection::vec(plan(), 1..14), moves in moves(Just(Fault::None)), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        let (admitted, results) = run(&world, &plans, &moves);
        for (result, plan) in results.iter().zip(&plans) {
            let smallest = plan.limits.iter().map(|&limit| LIMITS[limit].1).min().unwrap();
            let never_fits = matches!(result, Ok(Outcome::NeverFits { .. }));
            prop_assert_eq!(never_fits, plan.amount > smallest);
        }
        let ledger = Ledger::new(&world.history(), &admitted);
        ledger.check_never_over(&sizes());
        prop_assert_eq!(without_zeros(world.counters()), without_zeros(ledger.sums()));
    }

    #[test]
    fn a_failing_store_never_makes_a_limit_looser(
        plans in prop::collection::vec(plan(), 1..14), start_ms in start(),
        moves in moves(prop_oneof![6 => Just(Fault::None), 1 => Just(Fault::Fails), 1 => Just(Fault::AnswerLost)]),
    ) {
        let world = World::starting_at(start_ms);
        let (admitted, _) = run(&world, &plans, &moves);
        let ledger = Ledger::new(&world.history(), &admitted);
        ledger.check_never_over(&sizes());
        let counters = world.counters();
        for (key, owed) in ledger.sums() {
            prop_assert!(counters.get(&key).copied().unwrap_or(0) >= owed, "{key} is too low");
        }
    }

    #[test]
    fn equal_requests_fill_a_limit_exactly_however_they_race(
        amount in 1..40_u64, count in 1..24_usize, elapsed_ms in 0..59_000_u64,
        picks in prop::collection::vec(any::<Index>(), 1..60),
    ) {
        let world = World::starting_at(START_MS + elapsed_ms);
        let plan = Plan { limits: vec![1], consumer: 0, amount, settle_to: None };
        let moves: Vec<_> = (picks.iter())
            .map(|pick| Move { pick: pick.index(1 << 20), advance_ms: 0, fault: Fault::None })
            .collect();
        let (admitted, _) = run(&world, &vec![plan; count], &moves);
        prop_assert_eq!(admitted.len() as u64, (60 / amount).min(count as u64));
    }

    #[test]
    fn one_after_the_other_is_what_the_definition_says(
        plans in prop::collection::vec((plan(), 0..30_000_u64), 1..24), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        let mut model: BTreeMap<(Counter, u64), u64> = BTreeMap::new();
        for (plan, wait_ms) in &plans {
            world.advance(*wait_ms);
            let now_ms = world.now_ms();
            let (window, left_ms) = (now_ms / 60_000, 60_000 - now_ms % 60_000);
            let held = |model: &BTreeMap<_, _>, counter: Counter, w| model.get(&(counter, w)).copied().unwrap_or(0);
            let expected = plan.demands().iter().all(|demand| {
                let current = held(&model, demand.counter.clone(), window);
                let previous = held(&model, demand.counter.clone(), window - 1);
                current + (previous * left_ms).div_ceil(60_000) + demand.amount <= demand.limit_tokens
            });
            let quiet = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];
            let (admitted, _) = run(&world, std::slice::from_ref(plan), &quiet);
            prop_assert_eq!(!admitted.is_empty(), expected);
            if expected {
                for demand in plan.demands() {
                    *model.entry((demand.counter, window)).or_default() += plan.settle_to.unwrap_or(plan.amount);
                }
            }
        }
    }

    #[test]
    fn a_refused_request_is_admitted_after_its_wait_and_at_no_second_before(
        plan in plan(), held in prop::collection::vec(0..200_i64, 6), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        let window = start_ms / 60_000;
        for (demand, held) in plan.demands().iter().zip(held.chunks(2)) {
            world.put(&demand.counter.key(window), held[0]);
            world.put(&demand.counter.key(window - 1), held[1]);
        }
        let quiet = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];
        let ask = || run(&world, std::slice::from_ref(&plan), &quiet).1.remove(0).unwrap();
        let before = world.counters();
        if let Outcome::Refused { retry_after_s, .. } = ask() {
            for _ in 1..retry_after_s {
                world.advance(1_000);
                let refused = matches!(ask(), Outcome::Refused { .. });
 prop_assert!(refused, "admitted early");
            }
            prop_assert_eq!(world.counters(), before, "a refusal writes nothing");
            world.advance(1_000);
            let admitted = matches!(ask(), Outcome::Admitted { .. });
 prop_assert!(admitted, "refused after the wait");
        }
    }
}

#[test]
fn a_refusal_costs_no_write_and_an_admission_one_for_each_limit() {
    let world = World::starting_at(START_MS);
    let plan = Plan { limits: vec![0, 1, 2], consumer: 0, amount: 60, settle_to: None };
    let quiet = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];
    for writes in [3, 3, 3] {
        run(&world, std::slice::from_ref(&plan), &quiet);
        assert_eq!(world.history().len(), writes);
    }
}

#[test]
fn a_request_that_was_in_the_way_for_a_moment_only_does_not_cost_another_its_place() {
    let world = World::starting_at(START_MS);
    let plan =
        |limits: &[usize], amount| Plan { limits: limits.to_vec(), consumer: 0, amount, settle_to: None };
    // The second fills "small" after the first has read it. The first then takes 60 of "all" in vain, and the third
    // finds no room for its 100 of 150 until that is given back.
    let plans = [plan(&[0, 1], 60), plan(&[1], 60), plan(&[0], 100)];
    let order = [[0; 5].as_slice(), &[1; 4], &[2; 3], &[0], &[2], &[0; 3], &[2; 4], &[0; 4]].concat();
    let mut waiting = vec![0, 1, 2];
    let mut moves = Vec::new();
    for (at, task) in order.iter().enumerate() {
        let pick = waiting.iter().position(|waits| waits == task).unwrap();
        moves.push(Move { pick, advance_ms: 0, fault: Fault::None });
        waiting.swap_remove(pick);
        if order[at + 1..].contains(task) {
            waiting.push(*task);
        }
    }
    let admitted: Vec<_> = run(&world, &plans, &moves).0.iter().map(|admitted| admitted.task).collect();
    assert_eq!(admitted, [1, 2]);
}

#[test]
fn a_request_that_the_end_of_the_minute_overtakes_is_charged_to_the_next() {
    let world = World::starting_at(START_MS + 59_999);
    let plan = Plan { limits: vec![1], consumer: 0, amount: 60, settle_to: None };
    // Start, two reads, and then the write, a millisecond late.
    let late = [0, 0, 0, 1, 0, 0, 0, 0].map(|advance_ms| Move { pick: 0, advance_ms, fault: Fault::None });
    let (admitted, _) = run(&world, std::slice::from_ref(&plan), &late);
    assert_eq!(admitted[0].reservation.charges[0].window, START_MS / 60_000 + 1);
    assert_eq!(without_zeros(world.counters()).len(), 1);
}
