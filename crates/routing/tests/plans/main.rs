//! Plans under a fake clock: whatever deployments come to, what a plan promises holds.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cases;

use gateway_config::{ErrorClass, PlainVariables, RouterConfig, Settings};
use proptest::prelude::*;
use routing::breaker::{self, Breakers, SharedStore, StoreError};
use routing::hash::Chance;
use routing::{Failure, Fleet, LastWord, Led, Loads, NoAnswer, Plan, Step, View, Wish, explain};
use std::cell::RefCell;

const START_MS: u64 = 1_800_000_000_000;
const POOLS: [&str; 3] = ["first", "second", "third"];

/// A store that is out of reach: breakers of one instance.
struct NoStore;

impl SharedStore for NoStore {
    async fn read(&self, _: &str) -> Result<Option<String>, StoreError> {
        Err(StoreError(String::new()))
    }
    async fn write(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Err(StoreError(String::new()))
    }
    async fn count(&self, _: &str) -> Result<i64, StoreError> {
        Err(StoreError(String::new()))
    }
    async fn add(&self, _: &str, _: i64) -> Result<i64, StoreError> {
        Err(StoreError(String::new()))
    }
}

/// What an attempt comes to.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answers,
    Status(u16),
    /// 429, and when to come back.
    Limited(u64),
    TooLong,
    Refused,
    Silent,
    Unreachable,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        1 => Just(Fate::Answers),
        4 => prop::sample::select(vec![400_u16, 401, 404, 422, 429, 500, 503, 504]).prop_map(Fate::Status),
        2 => (1..20_000_u64).prop_map(Fate::Limited),
        1 => Just(Fate::TooLong),
        1 => Just(Fate::Refused),
        2 => Just(Fate::Silent),
        2 => Just(Fate::Unreachable),
    ]
}

fn failure(fate: Fate, settings: &Settings, now_ms: u64) -> Option<Failure> {
    let answered = |status, body: &str, ms: Option<u64>| {
        let text: Option<&'static str> = ms.map(|ms| &*ms.to_string().leak());
        let header = |name: &str| text.filter(|_| name == "retry-after-ms");
        Some(Failure::answered(status, header, body.as_bytes(), settings, now_ms))
    };
    match fate {
        Fate::Answers => None,
        Fate::Status(status) => answered(status, "", None),
        Fate::Limited(ms) => answered(429, "", Some(ms)),
        Fate::TooLong => answered(400, r#"{"error":{"code":"context_length_exceeded"}}"#, None),
        Fate::Refused => answered(400, r#"{"error":{"code":"content_filter"}}"#, None),
        Fate::Silent => Some(Failure::no_answer(NoAnswer::Silent)),
        Fate::Unreachable => Some(Failure::no_answer(NoAnswer::Unreachable)),
    }
}

#[derive(Debug, Clone)]
struct Setup {
    deployments: [usize; 3],
    max_attempts: [u32; 3],
    backoff_ms: u64,
    total_ms: u64,
    /// Of the first pool, and of the second.
    fallbacks: [Vec<ErrorClass>; 2],
    is_breaker_on: bool,
}

fn setup() -> impl Strategy<Value = Setup> {
    let classes = || prop::sample::subsequence(ErrorClass::ALL.to_vec(), 0..=7);
    (
        prop::array::uniform3(1..4_usize),
        prop::array::uniform3(1..6_u32),
        1..2_000_u64,
        prop_oneof![1..3_000_u64, Just(180_000)],
        [classes(), classes()],
        any::<bool>(),
    )
        .prop_map(|(deployments, max_attempts, backoff_ms, total_ms, fallbacks, is_breaker_on)| Setup {
            deployments,
            max_attempts,
            backoff_ms,
            total_ms,
            fallbacks,
            is_breaker_on,
        })
}

fn config(setup: &Setup) -> RouterConfig {
    let mut text = format!("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n", "ab".repeat(32));
    for (pool, name) in POOLS.iter().enumerate() {
        text.push_str(&format!("[[models]]\nname = \"{name}\"\n"));
        for at in 0..setup.deployments[pool] {
            text.push_str(&format!("[[models.deployments]]\nbackend = \"b{at}\"\npriority = {}\n", at / 2));
        }
        text.push_str(&format!(
            "[models.retries]\nmax_attempts = {}\ntotal_ms = {}\nbackoff_ms = {}\n[models.breaker]\nenabled = {}\n",
            setup.max_attempts[pool], setup.total_ms, setup.backoff_ms, setup.is_breaker_on
        ));
        if let Some(on) = setup.fallbacks.get(pool).filter(|on| !on.is_empty()) {
            let on: Vec<String> = on.iter().map(|class| format!("\"{}\"", class.as_str())).collect();
            text.push_str(&format!(
                "[[models.fallbacks]]\nto = \"{}\"\non = [{}]\n",
                POOLS[pool + 1],
                on.join(", ")
            ));
        }
    }
    for at in 0..3 {
        text.push_str(&format!("[[backends]]\nid = \"b{at}\"\nbase_url = \"https://b{at}\"\n"));
    }
    RouterConfig::parse(&text, "", PlainVariables::default()).unwrap_or_else(|p| panic!("{p}\n{text}"))
}

/// One attempt as it was made.
#[derive(Debug)]
struct Made {
    pool: String,
    label: String,
    at_ms: u64,
    waited_ms: u64,
    is_probe: bool,
    fate: Fate,
    ended_ms: u64,
}

/// Runs a plan to its end.
fn run(config: &RouterConfig, fates: &[(Fate, u64)], seed: u64) -> (Vec<Made>, Option<LastWord>, String) {
    run_from(config, fates, seed, RefCell::default())
}

fn run_with(
    config: &RouterConfig,
    fates: &[Fate],
    seed: u64,
    breakers: RefCell<Breakers>,
) -> (Vec<Made>, Option<LastWord>, String) {
    let timed: Vec<(Fate, u64)> = fates.iter().map(|fate| (*fate, 10)).collect();
    run_from(config, &timed, seed, breakers)
}

fn run_from(
    config: &RouterConfig,
    fates: &[(Fate, u64)],
    seed: u64,
    breakers: RefCell<Breakers>,
) -> (Vec<Made>, Option<LastWord>, String) {
    let fleet = Fleet::new(config);
    let loads = Loads::default();
    let mut plan = Plan::new(&fleet, fleet.target("first").unwrap(), Wish::default(), START_MS);
    let (mut chance, mut now_ms, mut made, mut waited_ms) = (Chance::new(seed), START_MS, Vec::new(), 0);
    for _ in 0..1_000 {
        let known = breakers.borrow();
        let view = View { loads: &loads, breakers: &known, regions: &config.regions, now_ms };
        let step = plan.next(&view, &mut chance);
        let explained = explain(&plan, Led::default(), None, &view);
        drop(known);
        match step {
            Step::Wait { ms } => {
                assert!(ms > 0);
                (now_ms, waited_ms) = (now_ms + ms, waited_ms + ms);
            }
            Step::GiveUp(word) => return (made, Some(word), explained),
            Step::Ask(attempt) => {
                let (fate, took_ms) = fates[made.len() % fates.len()];
                let settings = &plan.target().pool.model.settings;
                let policy = &settings.breaker;
                let at_ms = now_ms;
                now_ms += took_ms;
                assert_eq!(attempt.number as usize, made.len() + 1);
                assert_eq!(attempt.left_ms, (START_MS + 600_000).saturating_sub(at_ms).max(1));
                let id = attempt.choice.id;
                let probe = attempt.choice.is_probe.then(|| {
                    let claimed = breaker::claim_probe(&breakers, &NoStore, id, 10_000, || now_ms);
                    futures::executor::block_on(claimed).expect("nobody else is here")
                });
                made.push(Made {
                    pool: attempt.model.to_owned(),
                    label: attempt.choice.deployment.label.clone(),
                    at_ms,
                    waited_ms: std::mem::take(&mut waited_ms),
                    is_probe: attempt.choice.is_probe,
                    fate,
                    ended_ms: now_ms,
                });
                let Some(failure) = failure(fate, settings, now_ms) else { return (made, None, explained) };
                let failing = plan.target().pool.for_breaker(&failure);
                let _unheard = futures::executor::block_on(async {
                    let _unheard =
                        breaker::failed(&breakers, &NoStore, id, policy, failing, probe.is_some(), now_ms)
                            .await;
                    match probe {
                        Some(probe) => breaker::released(&breakers, &NoStore, id, probe).await,
                        None => Ok(()),
                    }
                });
                plan.failed(failure, now_ms);
            }
        }
    }
    panic!("the plan does not end: {made:?}");
}

fn class_of(fate: Fate) -> ErrorClass {
    failure(fate, &Settings::default(), 0).expect("a failure").class
}

fn is_retryable(fate: Fate) -> bool {
    failure(fate, &Settings::default(), 0).expect("a failure").is_retryable
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn what_a_plan_promises_holds(
        setup in setup(), fates in prop::collection::vec((fate(), 0..3_000_u64), 1..12), seed in any::<u64>(),
    ) {
        let config = config(&setup);
        let (made, word, explained) = run(&config, &fates, seed);
        prop_assert!(explained.len() <= routing::EXPLANATION_MAX_BYTES);
        prop_assert!(!made.is_empty(), "everything is in service at first");
        for (pool, name) in POOLS.iter().enumerate() {
            let here: Vec<&Made> = made.iter().filter(|made| made.pool == *name).collect();
            let most = setup.max_attempts[pool] as usize;
            let in_place = usize::from(here.get(most - 1).is_some_and(|last| last.is_probe));
            prop_assert!(here.len() <= most + in_place, "{here:?}");
            for (at, attempt) in here.iter().enumerate() {
                let before = &here[..at];
                prop_assert!(before.iter().all(|made| is_retryable(made.fate)), "tried again after {before:?}");
                let earlier = before.iter().rfind(|made| made.label == attempt.label);
                if let Some(earlier) = earlier {
                    let final_word = matches!(class_of(earlier.fate), ErrorClass::Timeout | ErrorClass::Auth);
                    prop_assert!(!final_word, "asked twice: {earlier:?}");
                    if let Fate::Limited(ms) = earlier.fate {
                        prop_assert!(attempt.at_ms >= earlier.ended_ms + ms, "asked too early: {earlier:?} {attempt:?}");
                    }
                    // Another one would have come first, and none trips here but by its own word.
                    let untried = setup.deployments[pool] > before.iter().map(|made| &made.label).collect::<std::collections::BTreeSet<_>>().len();
                    prop_assert!(!untried || setup.is_breaker_on, "{attempt:?} before an untried one");
                }
                if at == 0 {
                    prop_assert_eq!(attempt.waited_ms, 0, "a first attempt does not wait");
                } else if at == 1 && earlier.is_none() {
                    prop_assert_eq!(attempt.waited_ms, 0, "nor does a first retry at another deployment");
                }
            }
        }
        // All attempts of a request together: those of the pools that it came to, and one more for each whose last one was a probe.
        let visited: Vec<usize> = (0..POOLS.len()).filter(|pool| made.iter().any(|made| made.pool == POOLS[*pool])).collect();
        let budget: usize = visited.iter().map(|pool| setup.max_attempts[*pool] as usize).sum();
        let replaced = visited.iter().filter(|pool| made.iter().any(|made| made.is_probe && made.pool == POOLS[**pool])).count();
        prop_assert!(made.len() <= budget + replaced, "{made:?}");
        // The way from pool to pool is what the document says, upon what it says.
        let pools: Vec<&str> = made.iter().map(|made| made.pool.as_str()).collect();
        prop_assert!(pools.is_sorted_by_key(|pool| POOLS.iter().position(|name| name == pool)), "{pools:?}");
        for pair in made.windows(2).filter(|pair| pair[0].pool != pair[1].pool) {
            let from = POOLS.iter().position(|name| *name == pair[0].pool).unwrap();
            prop_assert!(setup.fallbacks[from].contains(&class_of(pair[0].fate)) || pair[1].pool == "third", "{pair:?}");
        }
        for attempt in made.iter().skip(1) {
            prop_assert!(attempt.at_ms < START_MS + setup.total_ms, "{attempt:?} is too late");
        }
        match word {
            None => prop_assert!(matches!(made.last().unwrap().fate, Fate::Answers)),
            Some(LastWord::Attempt { number }) => prop_assert!((1..=made.len()).contains(&(number as usize))),
            Some(word) => prop_assert!(false, "{word:?} though something was asked"),
        }
    }

    #[test]
    fn backoff_stays_under_a_doubling_ceiling(seed in any::<u64>(), backoff_ms in 1..1_000_u64) {
        let setup = Setup {
            deployments: [1, 1, 1],
            max_attempts: [10, 1, 1],
            backoff_ms,
            total_ms: 180_000,
            fallbacks: [Vec::new(), Vec::new()],
            is_breaker_on: false,
        };
        let (made, ..) = run(&config(&setup), &[(Fate::Status(503), 1)], seed);
        prop_assert_eq!(made.len(), 10);
        for (at, attempt) in made.iter().enumerate() {
            let ceiling = if at < 2 { 0 } else { (backoff_ms << (at - 2)).min(5_000) };
            prop_assert!(attempt.waited_ms <= ceiling, "retry {at} waited {} of {ceiling}", attempt.waited_ms);
        }
    }
}
