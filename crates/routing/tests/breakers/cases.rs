//! One thing after the other, by hand.

use super::*;

#[test]
fn a_breaker_closes_after_recovery_everywhere() {
    let (world, instances, policy) = (World::default(), instances(), by_count(1));
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    one(&world, request(&world, &instances[0], &policy, Fate::Fails, 0, &seen));
    settle(&world, &instances);
    assert!(matches!(instances[2].borrow().state(id(), world.now_ms.get()), State::Open { .. }));
    world.now_ms.set(START_MS + 3_000);
    one(&world, request(&world, &instances[1], &policy, Fate::Answers, 0, &seen));
    assert_eq!(seen.probes.borrow().len(), 1);
    settle(&world, &instances);
    for instance in &instances {
        assert_eq!(instance.borrow().state(id(), world.now_ms.get()), State::Closed);
    }
    // What was counted before counts no more.
    let two = by_count(2);
    one(&world, request(&world, &instances[0], &two, Fate::Fails, 0, &seen));
    assert_eq!(instances[0].borrow().state(id(), world.now_ms.get()), State::Closed);
}

#[test]
fn a_health_check_closes_early_and_what_fails_again_opens_again() {
    let (world, instances) = (World::default(), instances());
    let policy = Breaker { trip_duration_s: 60, ..by_count(1) };
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    one(&world, request(&world, &instances[0], &policy, Fate::Fails, 0, &seen));
    let due = |at: usize, after_ms: u64| {
        instances[at].borrow_mut().begin_health_check(id(), 5, START_MS + after_ms)
    };
    assert!(due(0, 0).is_some());
    assert!(due(0, 4_999).is_none(), "not twice in an interval");
    assert!(due(1, 4_999).is_none(), "it does not know of the opening yet");
    let check = due(0, 5_000).expect("an interval later");
    assert!(
        instances[0].borrow_mut().begin_health_check(id(), 0, START_MS + 99_000).is_none(),
        "never, if it says 0"
    );
    world.now_ms.set(START_MS + 5_000);
    one(&world, async {
        breaker::recovered(&instances[0], &world, id(), check, world.now_ms.get()).await.unwrap();
    });
    settle(&world, &instances);
    let state = |at: usize| instances[at].borrow().state(id(), world.now_ms.get());
    assert_eq!((state(0), state(2)), (State::Closed, State::Closed));
    assert!(due(0, 20_000).is_none(), "nothing to check");
    // Another pool's trip of 3 s would end before what was closed early: it lasts for that long, and no longer.
    one(&world, request(&world, &instances[2], &by_count(1), Fate::Fails, 0, &seen));
    assert!(matches!(state(2), State::Open { .. }));
    settle(&world, &instances);
    let State::Open { until_ms, .. } = state(0) else { panic!("{:?}", state(0)) };
    assert_eq!(until_ms, START_MS + 60_001);
}

#[test]
fn a_health_check_says_nothing_about_a_rate_limit() {
    for failing in [
        Failing { counts: true, retry_after_ms: Some(3_000), ..Failing::default() },
        Failing { counts: true, is_rate_limit: true, ..Failing::default() },
    ] {
        let (world, instances, policy) = (World::default(), instances(), by_count(9));
        one(&world, async {
            breaker::failed(&instances[0], &world, id(), &policy, failing, false, START_MS).await.unwrap();
        });
        let due = |after_ms: u64| instances[0].borrow_mut().begin_health_check(id(), 1, START_MS + after_ms);
        assert!(
            matches!(instances[0].borrow().state(id(), START_MS + 2_999), State::Open { .. }),
            "the first one"
        );
        assert!(due(2_999).is_none(), "{failing:?}");
        assert!(due(3_000).is_some(), "half-open: {failing:?}");
    }
}

#[test]
fn where_the_time_that_a_failure_names_is_not_accepted_a_rate_limit_opens_for_the_trips_duration_and_nothing_else_does()
 {
    let says_when = |is_rate_limit| Failing {
        counts: true,
        retry_after_ms: Some(60_000),
        is_rate_limit,
        had_begun: false,
    };
    for (accept_retry_after, is_rate_limit, expected) in [
        (false, true, Some((START_MS + 3_000, Reason::RetryAfter))),
        (false, false, None),
        (true, true, Some((START_MS + 60_000, Reason::RetryAfter))),
        (true, false, Some((START_MS + 60_000, Reason::RetryAfter))),
    ] {
        let what = format!("accepted: {accept_retry_after}, a rate limit: {is_rate_limit}");
        let (world, instances) = (World::default(), instances());
        let policy = Breaker { accept_retry_after, ..by_count(2) };
        let failed = |at: usize, failing| {
            let (instance, world, policy) = (&instances[at], &world, &policy);
            async move { breaker::failed(instance, world, id(), policy, failing, false, START_MS).await.unwrap() }
        };
        world.now_ms.set(START_MS);
        one(&world, failed(0, says_when(is_rate_limit)));
        settle(&world, &instances);
        for instance in &instances {
            let opened = match instance.borrow().state(id(), START_MS) {
                State::Open { until_ms, reason } => Some((until_ms, reason)),
                State::Closed | State::HalfOpen { .. } => None,
            };
            assert_eq!(opened, expected, "{what}");
        }
        if expected.is_none() {
            // It counts as any failure does, and opens as these do.
            one(&world, failed(0, says_when(false)));
            let tripped = State::Open { until_ms: START_MS + 3_000, reason: Reason::Tripped };
            assert_eq!(instances[0].borrow().state(id(), START_MS), tripped, "{what}");
        }
    }
}

#[test]
fn who_is_dropped_while_it_claims_a_probe_leaves_it_to_the_next() {
    let (world, instances, policy) = (World::default(), instances(), by_count(1));
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    one(&world, request(&world, &instances[0], &policy, Fate::Fails, 0, &seen));
    world.now_ms.set(START_MS + 3_000);
    let now = || world.now_ms.get();
    let mut claim = Box::pin(breaker::claim_probe(&instances[0], &world, id(), LEASE_MS, now));
    assert!(claim.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(!instances[0].borrow().is_probe_free(id(), now()));
    drop(claim);
    one(&world, async {
        assert!(breaker::claim_probe(&instances[0], &world, id(), LEASE_MS, now).await.is_some());
    });
}

#[test]
fn a_breaker_that_is_switched_off_counts_and_opens_nothing() {
    let (world, instances) = (World::default(), instances());
    let policy = Breaker { enabled: false, ..by_count(1) };
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    for fate in [Fate::Fails, Fate::FailsAndSaysWhen(9_000), Fate::Answers, Fate::Fails] {
        one(&world, request(&world, &instances[0], &policy, fate, 0, &seen));
    }
    assert_eq!((seen.asked.get(), world.writes.get()), (4, 0));
    assert_eq!(instances[0].borrow().state(id(), START_MS), State::Closed);
}

#[test]
fn a_prober_that_dies_holds_up_the_next_for_two_leases_at_most() {
    let (world, instances, policy) = (World::default(), instances(), by_count(1));
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    one(&world, request(&world, &instances[0], &policy, Fate::Fails, 0, &seen));
    // Half-open since 3 s, and a lease begins.
    let claimed_at = START_MS + LEASE_MS;
    world.now_ms.set(claimed_at);
    one(&world, async {
        let now = || world.now_ms.get();
        let probe = breaker::claim_probe(&instances[0], &world, id(), LEASE_MS, now).await;
        assert!(probe.is_some(), "and is never heard of again");
    });
    let mut granted_at = None;
    for at in (claimed_at..claimed_at + 4 * LEASE_MS).step_by(500) {
        world.now_ms.set(at);
        one(&world, async {
            let now = || world.now_ms.get();
            if breaker::claim_probe(&instances[1], &world, id(), LEASE_MS, now).await.is_some() {
                granted_at = granted_at.or(Some(at));
            }
        });
    }
    assert_eq!(granted_at, Some(claimed_at + 2 * LEASE_MS));
}

#[test]
fn a_ratio_counts_what_instances_told_with_their_failures() {
    let (world, instances) = (World::default(), instances());
    let policy = Breaker { interval_s: 10, min_requests: 10, ..Breaker::default() };
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    let ask = |at: usize, fate| one(&world, request(&world, &instances[at], &policy, fate, 0, &seen));
    // 12 answers and 4 failures: a third, though each instance alone saw fewer than ten requests.
    for at in [0, 1] {
        (0..6).for_each(|_| ask(at, Fate::Answers));
        (0..2).for_each(|_| ask(at, Fate::Fails));
    }
    let state = |at: usize| instances[at].borrow().state(id(), START_MS);
    assert_eq!((state(0), state(1)), (State::Closed, State::Closed));
    // 12 of 24: a half.
    (0..7).for_each(|_| ask(1, Fate::Fails));
    assert_eq!(state(1), State::Closed, "11 of 23");
    ask(0, Fate::Fails);
    assert!(matches!(state(0), State::Open { .. }), "12 of 24");
}

#[test]
fn keys_end_with_the_minute_from_which_they_are_of_no_use() {
    let (world, instances) = (World::default(), instances());
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    for _ in 0..20 {
        one(&world, request(&world, &instances[0], &Breaker::default(), Fate::Fails, 0, &seen));
        world.now_ms.set(world.now_ms.get() + 7_000);
    }
    for key in world.keys() {
        let parts: Vec<&str> = key.split(':').collect();
        assert_eq!(&parts[..2], ["rt", "1"], "{key}");
        if key != breaker::OPENINGS {
            let [_, _, deployment, _, expires] = parts[..] else { panic!("{key}") };
            assert_eq!(deployment, id().to_string(), "{key}");
            let expires: u64 = expires.parse().unwrap();
            let now = world.now_ms.get() / 60_000;
            assert!((START_MS / 60_000 + 1..=now + 10).contains(&expires), "{key}");
        }
    }
    assert!(world.keys().len() > 5);
}

#[test]
fn an_answer_that_breaks_off_is_one_request_that_failed() {
    let policy = policy_by_ratio(30);
    let breaks_off = Failing { had_begun: true, ..COUNTS };
    for (broken, trips) in [(5, true), (4, false)] {
        let (world, instances) = (World::default(), instances());
        for n in 0..10 {
            one(&world, async {
                instances[0].borrow_mut().count_success(id(), &policy, START_MS);
                // The last ones: before, there are too few to tell.
                if n >= 10 - broken {
                    let failed =
                        breaker::failed(&instances[0], &world, id(), &policy, breaks_off, false, START_MS);
                    failed.await.unwrap();
                }
            });
        }
        let state = instances[0].borrow().state(id(), START_MS);
        assert_eq!(matches!(state, State::Open { .. }), trips, "{broken} of 10 broke off: {state:?}");
    }
}

#[test]
fn pools_that_look_back_differently_far_count_each_for_themselves() {
    let (short, long) = (policy_by_ratio(10), policy_by_ratio(30));
    let (world, instances) = (World::default(), instances());
    world.now_ms.set(START_MS);
    for n in 0..1_000 {
        for policy in [&short, &long] {
            one(&world, async {
                match n % 50 {
                    49 => breaker::failed(&instances[0], &world, id(), policy, COUNTS, false, START_MS)
                        .await
                        .unwrap(),
                    _ => instances[0].borrow_mut().count_success(id(), policy, START_MS),
                }
            });
        }
    }
    assert_eq!(instances[0].borrow().state(id(), START_MS), State::Closed, "1 of 50 failed");
}

fn policy_by_ratio(interval_s: u32) -> Breaker {
    Breaker {
        failures: None,
        failure_ratio: Breaker::default().failure_ratio,
        min_requests: 10,
        interval_s,
        ..by_count(1)
    }
}
