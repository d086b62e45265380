//! Many requests reserve and settle at once, their store operations interleaved at random, the clock moving across
//! windows in between, the store failing where asked. What must hold is checked against a ledger of what was admitted.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod debts;
mod deeds;
mod holds;
mod ledger;
mod plan;
mod serial;
mod world;

use gateway_config::Mode;
use ledger::{Admitted, Ledger};
use plan::{CONFIG, Plan, RULES, START_MS, moves, plan, plan_of, sizes, start, still};
use proptest::prelude::*;
use quota::{Outcome, ReadFirst, Settlement, StoreError, corrections, counters, inspect, reset, settle};
use std::collections::{BTreeMap, BTreeSet};
use world::{Fault, Move, Task, World};

/// Runs the plans at once and returns what was admitted.
fn run(
    world: &World,
    plans: &[Plan],
    moves: &[Move],
) -> (Vec<Admitted>, Vec<Result<Outcome<'static>, StoreError>>) {
    let task = |(at, plan): (usize, &Plan)| -> Task<'_, _> { Box::pin(plan.clone().run(world.view(at))) };
    let results = world.run(plans.iter().enumerate().map(task).collect(), moves);
    let admitted = results.iter().enumerate().filter_map(|(task, result)| match result {
        Ok(Outcome::Admitted(admission)) => {
            Some(Admitted { task, reservation: admission.reservation.clone() })
        }
        _ => None,
    });
    (admitted.collect(), results)
}

fn is_admitted(result: &Result<Outcome<'_>, StoreError>) -> bool {
    matches!(result, Ok(Outcome::Admitted(_)))
}

fn without_zeros(mut counters: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    counters.retain(|_, count| *count != 0);
    counters
}

const QUIET: [Move; 1] = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_interleaving_admits_over_a_limit_or_leaves_a_trace_of_a_refusal(
        plans in prop::collection::vec(plan(), 1..14), moves in moves(Just(Fault::None)), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        let (admitted, results) = run(&world, &plans, &moves);
        for (result, plan) in results.iter().zip(&plans) {
            let never_fits = matches!(result, Ok(Outcome::NeverFits { .. }));
            let demands = plan.demands();
            let too_large = demands.iter().any(|d| d.limit.mode == Mode::Enforce && d.amount > d.check.size);
            prop_assert_eq!(never_fits, too_large);
        }
        let ledger = Ledger::new(&world.history(), &admitted);
        ledger.check_never_over(&sizes(), &world.texts());
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
        ledger.check_never_over(&sizes(), &world.texts());
        let counters = world.counters();
        for (key, owed) in ledger.sums() {
            prop_assert!(counters.get(&key).copied().unwrap_or(0) >= owed, "{key} is too low");
        }
    }

    #[test]
    fn whoever_was_refused_would_not_fit_at_the_end_either_if_pauses_outlast_others_operations(
        plans in prop::collection::vec(plan(), 1..14), moves in still(), start_ms in start(),
    ) {
        let world = World::with_long_pauses(start_ms);
        // Without settlements: they would make room after the refusal.
        let plans: Vec<_> = plans.into_iter().map(|plan| Plan { settle_to: None, ..plan }).collect();
        let (_, results) = run(&world, &plans, &moves);
        for (result, plan) in results.iter().zip(&plans).filter(|(result, _)| !is_admitted(result)) {
            let again = run(&world, std::slice::from_ref(plan), &QUIET).1.remove(0);
            prop_assert!(!is_admitted(&again), "{result:?} and then {again:?}");
        }
    }

    #[test]
    fn equal_requests_fill_a_limit_exactly_however_they_race(
        amount in 1..40_u64, count in 1..24_usize, start_ms in START_MS..START_MS + 59_000, moves in still(),
        (rule, size) in prop::sample::select(vec![("small", 60), ("hour", 120), ("rolling", 90)]),
        read_first in any::<bool>(),
    ) {
        let world = World::starting_at(start_ms);
        let plan = Plan { rules: vec![rule], consumer: 0, amount, settle_to: None, read_first };
        let (admitted, _) = run(&world, &vec![plan; count], &moves);
        prop_assert_eq!(admitted.len() as u64, (size / amount).min(count as u64));
    }

    #[test]
    fn one_after_the_other_is_what_the_definition_says(deeds in deeds::deeds(), start_ms in start()) {
        deeds::agree(&[&deeds::Counted(World::starting_at(start_ms))], start_ms, &deeds)?;
    }

    #[test]
    fn however_long_an_answer_took_what_goes_beyond_its_reservation_counts(
        lasting_ms in debts::lasting(), start_ms in start(),
    ) {
        debts::counts_in_full(&deeds::Counted(World::starting_at(start_ms)), start_ms, lasting_ms)?;
    }

    #[test]
    fn however_settlements_and_resets_race_no_counter_ends_below_zero(
        plans in prop::collection::vec(plan(), 1..10), resets in prop::collection::vec((0..RULES.len(), 0..2_usize), 1..5),
        moves in moves(Just(Fault::None)), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        let mut tasks: Vec<Task<'_, ()>> = Vec::new();
        for (at, plan) in plans.into_iter().enumerate() {
            let view = world.view(at);
            tasks.push(Box::pin(async move { drop(plan.run(view).await) }));
        }
        for (rule, consumer) in resets {
            let view = world.view(tasks.len());
            tasks.push(Box::pin(async move {
                view.turn().await;
                reset(&view, view.now_ms(), &deeds::checks(RULES[rule].0, consumer)).await.unwrap();
            }));
        }
        world.run(tasks, &moves);
        for (key, count) in world.counters() {
            prop_assert!(count >= 0, "{key} is at {count}");
        }
    }

    #[test]
    fn a_refused_request_is_admitted_after_its_wait_and_at_no_second_before(
        plan in plan(), others in prop::collection::vec((plan(), 0..200_u64), 0..8), start_ms in start(),
    ) {
        let world = World::starting_at(start_ms);
        for (other, debt) in &others {
            // Whoever is in the way took more than it reserved.
            let other = Plan { settle_to: Some(Some(*debt)), ..other.clone() };
            run(&world, &[other], &QUIET);
        }
        let rules = plan.rules.into_iter().filter(|rule| *rule != "slots").collect();
        let plan = Plan { settle_to: None, rules, ..plan };
        let ask = || run(&world, std::slice::from_ref(&plan), &QUIET).1.remove(0).unwrap();
        if let Outcome::Refused(refusal) = ask() {
            let before = world.counters();
            let wait_s = refusal.retry_after_s;
            // Every second of a minute's window; of an hour's, those at its end and some between.
            for second in (1..wait_s).filter(|s| wait_s <= 120 || wait_s - s < 4 || s % 300 == 0) {
                world.advance(start_ms + second * 1_000 - world.now_ms());
                let refused = matches!(ask(), Outcome::Refused(_));
                prop_assert!(refused, "admitted after {} of {} s", second, wait_s);
            }
            prop_assert_eq!(without_zeros(world.counters()), without_zeros(before), "a refusal leaves nothing");
            world.advance(start_ms + wait_s * 1_000 - world.now_ms());
            let admitted = matches!(ask(), Outcome::Admitted(_));
            prop_assert!(admitted, "refused after the wait of {} s", wait_s);
        }
    }
}

#[test]
fn an_admission_costs_one_write_for_each_check_and_a_refusal_none_under_pressure() {
    let world = World::starting_at(START_MS);
    let ask = |read_first| {
        let before = world.history().len();
        run(&world, &[plan_of(&["all", "small", "hour"], 60, read_first)], &QUIET);
        world.history().len() - before
    };
    // The second is refused by "small": unless it looks first, it finds that out by adding to two, and takes that back.
    assert_eq!([ask(false), ask(false), ask(true), ask(true)], [3, 4, 0, 0]);
}

#[test]
fn a_window_from_first_use_is_not_begun_by_a_request_that_is_refused() {
    let world = World::starting_at(START_MS);
    run(&world, &vec![plan_of(&["requests"], 1, false); 4], &QUIET);
    // The rolling window stands before the one that refuses.
    assert!(!is_admitted(&run(&world, &[plan_of(&["rolling", "requests"], 1, false)], &QUIET).1[0]));
    assert_eq!(world.texts(), BTreeMap::new());
}

/// Moves by which the tasks' operations happen in this order.
fn in_order(order: &[usize]) -> Vec<Move> {
    let mut waiting: Vec<usize> = (0..=order.iter().copied().max().unwrap()).collect();
    let mut moves = Vec::new();
    for (at, task) in order.iter().enumerate() {
        let pick = waiting.iter().position(|waits| waits == task).unwrap();
        moves.push(Move { pick, advance_ms: 0, fault: Fault::None });
        waiting.swap_remove(pick);
        if order[at + 1..].contains(task) {
            waiting.push(*task);
        }
    }
    moves
}

#[test]
fn two_first_requests_share_the_window_that_is_written_last() {
    let world = World::starting_at(START_MS);
    // Each: start, read both texts, write one, read it back, add, read the other one.
    let mut moves = in_order(&[0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    moves[3].advance_ms = 500;
    let (admitted, results) = run(&world, &vec![plan_of(&["rolling"], 30, false); 2], &moves);
    assert_eq!(admitted[0].reservation.charges, admitted[1].reservation.charges);
    let reset_ms: Vec<_> = (results.iter())
        .map(|result| match result {
            Ok(Outcome::Admitted(admission)) => admission.tightest.tokens.unwrap().reset_ms,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reset_ms, [3_600_500, 3_600_000], "both end an hour after the second began");
}

/// Like [`moves`], but time stands still or passes by single milliseconds: many things happen around one instant.
fn close() -> impl Strategy<Value = Vec<Move>> {
    let one = (any::<prop::sample::Index>(), prop_oneof![3 => Just(0), 1 => 1..3_u64]);
    let one =
        one.prop_map(|(pick, advance_ms)| Move { pick: pick.index(1 << 20), advance_ms, fault: Fault::None });
    prop::collection::vec(one, 20..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn first_requests_around_the_end_of_a_slot_share_their_window(
        amounts in prop::collection::vec(30..70_u64, 2..7), moves in close(), before_ms in 0..30_u64,
        begun_ms in prop_oneof![2 => Just(None), 1 => (3_599_960..3_600_010_u64).prop_map(Some)],
    ) {
        let world = World::starting_at(START_MS + 3_600_000 - before_ms);
        let plan = |amount| plan_of(&["rolling"], amount, false);
        if let Some(begun_ms) = begun_ms {
            // An hour earlier somebody began a window, which is about to end.
            world.go_to(START_MS + 3_600_000 - before_ms - begun_ms);
            run(&world, &[plan(80)], &QUIET);
            world.go_to(START_MS + 3_600_000 - before_ms);
        }
        let plans: Vec<_> = amounts.iter().map(|amount| plan(*amount)).collect();
        let (admitted, _) = run(&world, &plans, &moves);
        Ledger::new(&world.history(), &admitted).check_never_over(&sizes(), &world.texts());
        if begun_ms.is_none() {
            let all: u64 = admitted.iter().flat_map(|a| &a.reservation.charges).map(|charge| charge.amount).sum();
            prop_assert!(all <= 90, "{all} in one window");
        }
    }
}

#[test]
fn a_request_that_the_end_of_a_leases_bucket_overtakes_is_charged_to_the_next() {
    let world = World::starting_at(START_MS + 9_999);
    // Start, four older buckets, and then the write, a millisecond late.
    let late = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let late = late.map(|advance_ms| Move { pick: 0, advance_ms, fault: Fault::None });
    let (admitted, _) = run(&world, &[plan_of(&["slots"], 1, false)], &late);
    assert_eq!(admitted[0].reservation.charges[0].slot.window, START_MS / 10_000 + 1);
}

#[test]
fn a_request_that_never_ended_gives_its_place_back_after_its_lease() {
    let world = World::starting_at(START_MS);
    run(&world, &vec![plan_of(&["slots"], 1, false); 3], &QUIET);
    let ask = || is_admitted(&run(&world, &[plan_of(&["slots"], 1, true)], &QUIET).1[0]);
    world.advance(40_000);
    assert!(!ask(), "a whole lease");
    world.advance(10_000);
    assert!(ask(), "and a quarter more");
}

#[test]
fn a_request_that_the_end_of_the_minute_overtakes_is_charged_to_the_next() {
    let world = World::starting_at(START_MS + 59_999);
    // Start, the read, and then the write, a millisecond late.
    let late = [0, 0, 1, 0, 0, 0, 0, 0].map(|advance_ms| Move { pick: 0, advance_ms, fault: Fault::None });
    let (admitted, _) = run(&world, &[plan_of(&["small"], 60, false)], &late);
    assert_eq!(admitted[0].reservation.charges[0].slot.window, START_MS / 60_000 + 1);
    assert_eq!(without_zeros(world.counters()).len(), 1);
}

#[test]
fn counters_are_shown_and_set_to_zero_and_what_runs_is_forgiven_up_to_its_reservation() {
    let world = World::starting_at(START_MS + 30_000);
    let all = |name| counters(CONFIG.limit(name).unwrap(), if name == "hour" { &[] } else { &["a"] });
    let used = |name| {
        let view = world.view(0);
        let look: Task<'_, _> =
            Box::pin(async move { inspect(&view, view.now_ms(), &all(name)).await.unwrap()[0].used });
        world.run(vec![look], &QUIET)[0]
    };
    let rules = ["small", "hour", "rolling"];
    let (admitted, _) = run(&world, &[plan_of(&rules, 50, false)], &QUIET);
    world.advance(60_000);
    assert_eq!(rules.map(used), [25, 50, 50], "half of the minute before");
    for name in rules {
        let view = world.view(0);
        let zero: Task<'_, _> =
            Box::pin(async move { reset(&view, view.now_ms(), &all(name)).await.unwrap() });
        world.run(vec![zero], &QUIET);
    }
    assert_eq!(rules.map(used), [0, 0, 0]);
    for (took, expected) in [(20, [0, 0, 0]), (100, [50, 50, 50])] {
        // The first gives back no more than there is; of the second the 50 beyond its reservation stay, in the minute of now.
        let view = world.view(0);
        let reservation = admitted[0].reservation.to_string();
        let settlement = Settlement { reservation: &reservation, taken: plan::taken(Some(took)) };
        let (corrections, _) = corrections(&CONFIG, [settlement], world.now_ms());
        let settled: Task<'_, _> =
            Box::pin(
                async move { assert!(settle(&view, &CONFIG, &corrections, &BTreeSet::new()).await.is_ok()) },
            );
        world.run(vec![settled], &QUIET);
        assert_eq!(rules.map(used), expected, "{took}");
    }
}

#[test]
fn answers_that_outlast_their_minute_do_not_flow_past_the_limit_for_ever() {
    debts::closes_the_door(&deeds::Counted(World::starting_at(START_MS)), START_MS);
}

#[test]
fn a_counter_that_refused_is_read_first_for_two_seconds() {
    let world = World::starting_at(START_MS);
    let hints = ReadFirst::new();
    let refused = || run(&world, &[plan_of(&["small", "hour"], 60, false)], &QUIET).1.remove(0).unwrap();
    hints.learn(&refused(), START_MS);
    let marked = |now_ms| {
        let mut demands = plan_of(&["small", "hour"], 60, false).demands();
        hints.mark(&mut demands, now_ms);
        demands.iter().map(|demand| demand.read_first).collect::<Vec<_>>()
    };
    assert_eq!(marked(START_MS), [false, false], "an admission is no hint");
    hints.learn(&refused(), START_MS);
    assert_eq!(marked(START_MS + 1_999), [true, false]);
    assert_eq!(marked(START_MS + 2_000), [false, false]);
}
