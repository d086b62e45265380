//! Several instances and one store, their operations interleaved at random, the clock moving in between.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cases;
mod world;

use gateway_config::Breaker;
use proptest::prelude::*;
use routing::DeploymentId;
use routing::breaker::{self, Breakers, Failing, Openings, Probe, Reason, State};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use world::{World, turn};

const START_MS: u64 = 1_800_000_000_000;
const LEASE_MS: u64 = 4_000;
const COUNTS: Failing =
    Failing { counts: true, retry_after_ms: None, is_rate_limit: false, had_begun: false };

fn id() -> DeploymentId {
    DeploymentId::new("openai/gpt-4o", None)
}

fn by_count(failures: u32) -> Breaker {
    Breaker {
        failures: Some(failures),
        failure_ratio: None,
        interval_s: 10,
        trip_duration_s: 3,
        ..Breaker::default()
    }
}

fn policy() -> impl Strategy<Value = Breaker> {
    let by_ratio = (1..5_u32).prop_map(|min_requests| Breaker {
        failure_ratio: Breaker::default().failure_ratio,
        failures: None,
        min_requests,
        ..by_count(1)
    });
    prop_oneof![(1..5_u32).prop_map(by_count), by_ratio]
}

/// A breaker as its settings describe it, for one request after the other.
#[derive(Debug, Default)]
struct Model {
    /// Every request since it closed.
    requests: Vec<Asked>,
    open_until: Option<u64>,
}

#[derive(Debug)]
struct Asked {
    instance: usize,
    at_ms: u64,
    is_failure: bool,
    /// Whether its instance had a failure since, or with it, in the same interval.
    is_told: bool,
}

impl Model {
    /// Whether a request gets through; if so, it comes to this.
    fn is_asked(&mut self, policy: &Breaker, instance: usize, is_failure: bool, now_ms: u64) -> bool {
        let open_until = now_ms + u64::from(policy.trip_duration_s) * 1_000;
        if let Some(until) = self.open_until {
            if now_ms >= until {
                self.open_until = is_failure.then_some(open_until);
                if !is_failure {
                    self.requests.clear();
                }
            }
            return now_ms >= until;
        }
        let interval_ms = u64::from(policy.interval_s) * 1_000;
        let start_ms = now_ms / interval_ms * interval_ms;
        self.requests.push(Asked { instance, at_ms: now_ms, is_failure, is_told: false });
        if !is_failure {
            return true;
        }
        for asked in
            self.requests.iter_mut().filter(|asked| asked.instance == instance && asked.at_ms >= start_ms)
        {
            asked.is_told = true;
        }
        let sliding = |counts: &dyn Fn(&Asked) -> bool| {
            let told = self.requests.iter().filter(|asked| asked.is_told && counts(asked));
            let (current, others): (Vec<_>, Vec<_>) = told.partition(|asked| asked.at_ms >= start_ms);
            let previous = others.iter().filter(|asked| asked.at_ms >= start_ms - interval_ms).count() as u64;
            current.len() as u64 + (previous * (interval_ms - (now_ms - start_ms))).div_ceil(interval_ms)
        };
        let (failures, requests) = (sliding(&|asked| asked.is_failure), sliding(&|_| true));
        let is_half = requests >= u64::from(policy.min_requests) && failures * 2 >= requests;
        if policy.failures.is_some_and(|most| failures >= u64::from(most))
            || (policy.failure_ratio.is_some() && is_half)
        {
            self.open_until = Some(open_until);
        }
        true
    }
}

/// What a request comes to.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answers,
    Fails,
    FailsAndSaysWhen(u64),
    ClientLeaves,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Answers),
        4 => Just(Fate::Fails),
        2 => (1..9_000_u64).prop_map(Fate::FailsAndSaysWhen),
        1 => Just(Fate::ClientLeaves),
    ]
}

/// What was seen over all instances.
#[derive(Default)]
struct Seen {
    /// Probes: begin and end.
    probes: RefCell<Vec<(u64, u64)>>,
    asked: Cell<u32>,
}

/// One request at one instance, as the router does it.
async fn request(
    world: &World,
    instance: &RefCell<Breakers>,
    policy: &Breaker,
    fate: Fate,
    took: usize,
    seen: &Seen,
) {
    let now = || world.now_ms.get();
    let _unheard = breaker::refresh(instance, world, now()).await;
    let state = instance.borrow().state(id(), now());
    let probe = match state {
        State::Closed => None,
        State::Open { .. } => return,
        State::HalfOpen { .. } => match breaker::claim_probe(instance, world, id(), LEASE_MS, now).await {
            Some(probe) => Some(probe),
            None => return,
        },
    };
    let begun = now();
    seen.asked.set(seen.asked.get() + 1);
    for _ in 0..took {
        turn().await;
    }
    if probe.is_some() {
        // Its timeouts end it by then.
        seen.probes.borrow_mut().push((begun, now().min(begun + LEASE_MS)));
        if now() >= begun + LEASE_MS {
            let _unheard = breaker::failed(instance, world, id(), policy, COUNTS, true, now()).await;
            release(world, instance, probe).await;
            return;
        }
    }
    let is_probe = probe.is_some();
    let _unheard = match fate {
        Fate::Answers => {
            instance.borrow_mut().count_success(id(), policy, now());
            match probe {
                Some(probe) => breaker::recovered(instance, world, id(), probe, now()).await,
                None => Ok(()),
            }
        }
        Fate::Fails => breaker::failed(instance, world, id(), policy, COUNTS, is_probe, now()).await,
        Fate::FailsAndSaysWhen(ms) => {
            let failing = Failing { counts: true, retry_after_ms: Some(ms), ..Failing::default() };
            breaker::failed(instance, world, id(), policy, failing, is_probe, now()).await
        }
        Fate::ClientLeaves => Ok(()),
    };
    release(world, instance, probe).await;
}

async fn release(world: &World, instance: &RefCell<Breakers>, probe: Option<Probe>) {
    if let Some(probe) = probe {
        let _unheard = breaker::released(instance, world, id(), probe).await;
    }
}

fn requests() -> impl Strategy<Value = Vec<(usize, Fate, usize)>> {
    prop::collection::vec((0..3_usize, fate(), 0..6_usize), 1..40)
}

fn picks() -> impl Strategy<Value = Vec<(usize, u64)>> {
    let wait_ms = prop_oneof![6 => 0..5_u64, 3 => 50..400_u64, 1 => 400..2_500_u64];
    prop::collection::vec((0..40_usize, wait_ms), 0..400)
}

fn instances() -> Vec<RefCell<Breakers>> {
    (0..3).map(|_| RefCell::new(Breakers::default())).collect()
}

fn run(
    world: &World,
    instances: &[RefCell<Breakers>],
    policy: &Breaker,
    requests: &[(usize, Fate, usize)],
    picks: &[(usize, u64)],
) -> Seen {
    world.now_ms.set(START_MS);
    let seen = Seen::default();
    let task = |(at, fate, took): &(usize, Fate, usize)| -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(request(world, &instances[*at], policy, *fate, *took, &seen))
    };
    world.run(requests.iter().map(task).collect(), picks);
    seen
}

/// Everybody refreshes, twice, after the view has aged.
fn settle(world: &World, instances: &[RefCell<Breakers>]) {
    for _ in 0..2 {
        world.now_ms.set(world.now_ms.get() + breaker::REFRESH_MS);
        for instance in instances {
            let refresh = async {
                breaker::refresh(instance, world, world.now_ms.get()).await.unwrap();
            };
            world.run(vec![Box::pin(refresh)], &[]);
        }
    }
}

fn joined(instances: &[RefCell<Breakers>]) -> Openings {
    let mut all = Openings::default();
    for instance in instances {
        all.join_all(instance.borrow().openings(), START_MS);
    }
    all
}

fn one(world: &World, future: impl Future<Output = ()>) {
    world.run(vec![Box::pin(future)], &[]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn there_is_one_probe_at_a_time(requests in requests(), picks in picks()) {
        let (world, instances) = (World::default(), instances());
        let seen = run(&world, &instances, &by_count(2), &requests, &picks);
        let mut probes = seen.probes.take();
        probes.sort_unstable();
        for pair in probes.windows(2) {
            prop_assert!(pair[0].1 <= pair[1].0, "{probes:?}");
        }
    }

    #[test]
    fn nothing_that_an_instance_knew_is_lost_and_all_come_to_know_the_same(
        requests in requests(), picks in picks(), down in any::<bool>(),
    ) {
        let (world, instances) = (World::default(), instances());
        world.is_down.set(down);
        run(&world, &instances, &by_count(2), &requests, &picks);
        world.is_down.set(false);
        let all = joined(&instances);
        settle(&world, &instances);
        for instance in &instances {
            let known = instance.borrow().openings().clone();
            prop_assert_eq!(&known, &all);
        }
    }

    /// With every request after the other there is a plain model.
    #[test]
    fn one_after_the_other_the_instances_are_as_one(
        steps in prop::collection::vec((0..3_usize, prop::bool::weighted(0.6), 0..4_000_u64), 1..80), policy in policy(),
    ) {
        let (world, instances) = (World::default(), instances());
        world.now_ms.set(START_MS);
        let mut model = Model::default();
        for (at, is_failure, wait_ms) in steps {
            // Long enough that the view is fresh.
            world.now_ms.set(world.now_ms.get() + breaker::REFRESH_MS + wait_ms);
            let fate = if is_failure { Fate::Fails } else { Fate::Answers };
            let seen = Seen::default();
            world.run(vec![Box::pin(request(&world, &instances[at], &policy, fate, 0, &seen))], &[]);
            let expected = model.is_asked(&policy, at, is_failure, world.now_ms.get());
            prop_assert_eq!(seen.asked.get() == 1, expected, "{:?}", model);
        }
    }

    #[test]
    fn a_new_instance_asks_nobody_whom_the_others_leave_alone(at_once in 1..16_usize, picks in picks()) {
        let (world, instances, policy) = (World::default(), instances(), by_count(1));
        world.now_ms.set(START_MS);
        let seen = Seen::default();
        one(&world, request(&world, &instances[0], &policy, Fate::Fails, 0, &seen));
        let first = |_| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            Box::pin(request(&world, &instances[1], &policy, Fate::Fails, 0, &seen))
        };
        world.run((0..at_once).map(first).collect(), &picks.iter().map(|(pick, _)| (*pick, 0)).collect::<Vec<_>>());
        prop_assert_eq!(seen.asked.get(), 1);
    }

    #[test]
    fn a_longer_cooldown_wins_and_never_the_reverse(
        cooldowns in prop::collection::vec((0..3_usize, 1..5_000_000_u64), 1..12), picks in picks(),
    ) {
        let (world, instances) = (World::default(), instances());
        let requests: Vec<_> = cooldowns.iter().map(|(at, ms)| (*at, Fate::FailsAndSaysWhen(*ms), 0)).collect();
        // All are under way before the first fails, so each really says when to come back.
        let begun = START_MS;
        world.now_ms.set(begun);
        let task = |(at, fate, _): &(usize, Fate, usize)| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            let (world, instance, fate) = (&world, &instances[*at], *fate);
            Box::pin(async move {
                let Fate::FailsAndSaysWhen(ms) = fate else { return };
                let failing = Failing { counts: true, retry_after_ms: Some(ms), ..Failing::default() };
                let until = |instance: &RefCell<Breakers>| {
                    instance.borrow().openings().get(id()).map_or(0, |opening| opening.until_ms)
                };
                let before = until(instance);
                breaker::failed(instance, world, id(), &Breaker::default(), failing, false, begun).await.unwrap();
                let wanted = begun + ms.min(breaker::RETRY_AFTER_MAX_MS);
                assert!(until(instance) >= before.max(wanted));
            })
        };
        world.run(requests.iter().map(task).collect(), &picks.iter().map(|(pick, _)| (*pick, 0)).collect::<Vec<_>>());
        settle(&world, &instances);
        let longest = cooldowns.iter().map(|(_, ms)| begun + (*ms).min(breaker::RETRY_AFTER_MAX_MS)).max();
        for instance in &instances {
            prop_assert_eq!(instance.borrow().openings().get(id()).map(|opening| opening.until_ms), longest);
        }
    }

    #[test]
    fn answers_write_nothing_and_read_once_a_second(
        steps in prop::collection::vec(0..700_u64, 1..80),
    ) {
        let (world, instance) = (World::default(), RefCell::new(Breakers::default()));
        world.now_ms.set(START_MS);
        let (seen, policy) = (Seen::default(), by_count(1));
        for wait_ms in &steps {
            world.now_ms.set(world.now_ms.get() + wait_ms);
            let request = request(&world, &instance, &policy, Fate::Answers, 0, &seen);
            world.run(vec![Box::pin(request)], &[]);
        }
        prop_assert_eq!(world.writes.get(), 0);
        let seconds = (world.now_ms.get() - START_MS) / 1_000;
        prop_assert!(u64::from(world.reads.get()) <= seconds + 1);
    }

    #[test]
    fn while_the_store_is_down_each_instance_goes_on_alone(requests in requests(), picks in picks()) {
        // Alone in the world, and one of three without a store: the same.
        let mine: Vec<_> = requests.iter().copied().filter(|(at, ..)| *at == 0).collect();
        let run_with = |is_down: bool| {
            let (world, instances) = (World::default(), instances());
            world.is_down.set(is_down);
            world.now_ms.set(START_MS);
            let (seen, policy) = (Seen::default(), by_count(2));
            for (at, (_, fate, _)) in mine.iter().enumerate() {
                let wait_ms = picks.get(at).map_or(0, |(_, ms)| *ms);
                world.now_ms.set(world.now_ms.get() + wait_ms);
                let request = request(&world, &instances[0], &policy, *fate, 0, &seen);
                world.run(vec![Box::pin(request)], &[]);
            }
            let openings = instances[0].borrow().openings().clone();
            (seen.asked.get(), openings)
        };
        prop_assert_eq!(run_with(true), run_with(false));
    }
}
