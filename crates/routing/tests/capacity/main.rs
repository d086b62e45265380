//! Capacities of several instances and one store: what each goes by, against the plain sum of all requests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../breakers/world.rs"]
mod world;

use proptest::prelude::*;
use routing::{DeploymentId, Loads, capacity};
use std::cell::RefCell;
use world::World;

const START_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;

fn id() -> DeploymentId {
    DeploymentId::new("openai/gpt-4o", None)
}

fn one(world: &World, future: impl Future<Output = ()>) {
    world.run(vec![Box::pin(future)], &[]);
}

fn took(world: &World, instance: &RefCell<Loads>, tokens: u64) {
    let now_ms = world.now_ms.get();
    instance.borrow_mut().begin(id(), tokens);
    instance.borrow_mut().end(id(), tokens, tokens, now_ms);
    one(world, async {
        let _unheard = capacity::tell(instance, world, id(), tokens, now_ms).await;
    });
}

fn look(world: &World, instance: &RefCell<Loads>) -> u64 {
    let now_ms = world.now_ms.get();
    one(world, async {
        let _unheard = capacity::look(instance, world, [id()].into_iter(), now_ms).await;
    });
    instance.borrow().tokens(id(), now_ms)
}

proptest! {
    #[test]
    fn whoever_looks_knows_what_all_took(
        steps in prop::collection::vec((0..3_usize, 1..5_000_u64, 0..40_000_u64), 1..40), looks in 0..4_usize,
    ) {
        let world = World::default();
        world.now_ms.set(START_MS);
        // The fourth sees no request of its own.
        let instances: Vec<RefCell<Loads>> = (0..4).map(|_| RefCell::default()).collect();
        let mut all = Vec::new();
        for (at, tokens, wait_ms) in steps {
            world.now_ms.set(world.now_ms.get() + wait_ms);
            took(&world, &instances[at], tokens);
            all.push((world.now_ms.get(), tokens));
        }
        world.now_ms.set(world.now_ms.get() + 1_000);
        let now_ms = world.now_ms.get();
        let start_ms = now_ms / MINUTE_MS * MINUTE_MS;
        let since = |from: u64| all.iter().filter(|(at, _)| *at >= from).map(|(_, tokens)| tokens).sum::<u64>();
        let previous = since(start_ms - MINUTE_MS) - since(start_ms);
        let expected = since(start_ms) + (previous * (MINUTE_MS - (now_ms - start_ms))).div_ceil(MINUTE_MS);
        prop_assert_eq!(look(&world, &instances[looks]), expected);
    }
}

#[test]
fn it_looks_once_a_second_and_adds_what_it_reserved_itself() {
    let (world, mine, other) = (World::default(), RefCell::default(), RefCell::default());
    world.now_ms.set(START_MS);
    assert_eq!(look(&world, &mine), 0);
    took(&world, &other, 700);
    let reads = world.writes.get() + world.reads.get();
    world.now_ms.set(START_MS + 999);
    assert_eq!(look(&world, &mine), 0, "a view of less than a second");
    assert_eq!(world.writes.get() + world.reads.get(), reads);
    world.now_ms.set(START_MS + 1_000);
    assert_eq!(look(&world, &mine), 700);
    mine.borrow_mut().begin(id(), 50);
    assert_eq!(mine.borrow().tokens(id(), START_MS + 1_000), 750);
    mine.borrow_mut().end(id(), 50, 0, START_MS + 1_000);
    assert_eq!(mine.borrow().tokens(id(), START_MS + 1_000), 700);
}

#[test]
fn without_the_store_it_goes_by_its_own() {
    let (world, mine) = (World::default(), RefCell::default());
    world.now_ms.set(START_MS);
    world.is_down.set(true);
    took(&world, &mine, 300);
    assert_eq!(look(&world, &mine), 300);
}

#[test]
fn its_keys_are_swept_once_they_are_of_no_use() {
    let (world, mine) = (World::default(), RefCell::default());
    world.now_ms.set(START_MS);
    took(&world, &mine, 1);
    let key = world.keys().remove(0);
    assert!(!routing::breaker::is_expired(&key, START_MS + 2 * MINUTE_MS), "{key}");
    assert!(routing::breaker::is_expired(&key, START_MS + 6 * MINUTE_MS), "{key}");
}
