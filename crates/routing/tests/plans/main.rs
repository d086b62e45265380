//! Plans under a fake clock: whatever deployments come to, what a plan promises holds.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

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

fn setup_of(deployments: usize, on: &[ErrorClass]) -> Setup {
    Setup {
        deployments: [deployments, 1, 1],
        max_attempts: [3, 3, 3],
        backoff_ms: 100,
        total_ms: 180_000,
        fallbacks: [on.to_vec(), Vec::new()],
        is_breaker_on: true,
    }
}

fn plain(deployments: usize, on: &[ErrorClass]) -> RouterConfig {
    config(&setup_of(deployments, on))
}

#[test]
fn backoff_is_full_jitter() {
    let setup = Setup { max_attempts: [6, 1, 1], is_breaker_on: false, ..setup_of(1, &[]) };
    let config = config(&setup);
    let runs: Vec<Vec<Made>> =
        (0..2_000).map(|seed| run(&config, &[(Fate::Status(503), 1)], seed).0).collect();
    for (at, ceiling) in [(2, 100), (3, 200), (4, 400), (5, 800)] {
        let waits: Vec<u64> = runs.iter().map(|made| made[at].waited_ms).collect();
        let mean = waits.iter().sum::<u64>() as f64 / waits.len() as f64;
        // Uniform from 0: the mean of 2,000 is within 5 % of the middle, and the ends are nearly reached.
        assert!((mean / f64::from(ceiling) - 0.5).abs() < 0.025, "retry {at}: {mean} of {ceiling}");
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(
            *least <= ceiling as u64 / 50 && *most >= ceiling as u64 * 49 / 50,
            "retry {at}: {least} to {most}"
        );
    }
}

#[test]
fn a_fallback_is_asked_at_once_where_there_is_no_time_to_back_off() {
    let setup = Setup {
        max_attempts: [10, 1, 1],
        backoff_ms: 2_000,
        total_ms: 300,
        ..setup_of(1, &[ErrorClass::Server])
    };
    let config = config(&Setup { is_breaker_on: false, ..setup });
    for seed in 0..50 {
        let (made, ..) = run(&config, &[(Fate::Status(500), 10)], seed);
        assert_eq!(made.last().unwrap().pool, "second", "{made:?}");
        assert_eq!(
            made.iter().filter(|made| made.pool == "second").map(|made| made.waited_ms).sum::<u64>(),
            0
        );
    }
}

#[test]
fn a_probe_that_fails_costs_its_request_no_attempt_while_another_is_in_service() {
    for (max_attempts, fates, expected) in [
        (1, &[Fate::Status(500), Fate::Answers][..], &["b0/first", "b1/first"][..]),
        // One more, and no third.
        (1, &[Fate::Status(500), Fate::Status(500)], &["b0/first", "b1/first"]),
        // There is a retry in any case.
        (2, &[Fate::Status(500), Fate::Status(500)], &["b0/first", "b1/first"]),
    ] {
        let setup = Setup { max_attempts: [max_attempts, 1, 1], ..setup_of(2, &[]) };
        let config = config(&setup);
        let fleet = Fleet::new(&config);
        let (target, breakers) = (fleet.target("first").unwrap(), RefCell::new(Breakers::default()));
        let policy = &target.pool.model.settings.breaker;
        let id = routing::DeploymentId::new("b0/first", None);
        let failing = breaker::Failing { counts: true, is_rate_limit: true, ..breaker::Failing::default() };
        let _unheard = futures::executor::block_on(breaker::failed(
            &breakers,
            &NoStore,
            id,
            policy,
            failing,
            false,
            START_MS - 15_000,
        ));
        let made = run_with(&config, fates, 7, breakers).0;
        let labels: Vec<&str> = made.iter().map(|made| made.label.as_str()).collect();
        assert_eq!(labels, expected, "{max_attempts} {fates:?}");
        assert!(made[0].is_probe);
    }
}

#[test]
fn going_on_elsewhere_goes_by_why_it_broke_off() {
    for (on, why, expected) in [
        (ErrorClass::Timeout, NoAnswer::Silent, Some("second")),
        (ErrorClass::Timeout, NoAnswer::Broken, None),
        (ErrorClass::Server, NoAnswer::Broken, Some("second")),
        (ErrorClass::Server, NoAnswer::Silent, None),
    ] {
        let config = plain(1, &[on]);
        let fleet = Fleet::new(&config);
        let target = fleet.target("first").unwrap();
        let (loads, breakers) = (Loads::default(), Breakers::default());
        let view =
            View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS + 10 };
        let mut begun = Plan::new(&fleet, target, Wish::default(), START_MS);
        assert!(matches!(begun.next(&view, &mut Chance::new(1)), Step::Ask(_)));
        let failure = Failure::no_answer(why);
        let times = (START_MS, START_MS + 10);
        let mut plan = Plan::after(&fleet, target, Wish::default(), begun.into_past(), failure, times);
        let model = match plan.next(&view, &mut Chance::new(1)) {
            Step::Ask(attempt) => Some(attempt.model),
            _ => None,
        };
        assert_eq!(model, expected, "{on:?} {why:?}");
    }
}

#[test]
fn where_all_are_at_capacity_it_says_when_there_is_room() {
    let mut text = format!("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n", "ab".repeat(32));
    text.push_str("[[backends]]\nid = \"b\"\nbase_url = \"https://b\"\n[[models]]\nname = \"m\"\n");
    text.push_str("[[models.deployments]]\nbackend = \"b\"\ncapacity_tokens_per_minute = 1000\n");
    let config = RouterConfig::parse(&text, "", PlainVariables::default()).unwrap();
    let fleet = Fleet::new(&config);
    let (mut loads, breakers) = (Loads::default(), Breakers::default());
    // A minute begins.
    assert_eq!(START_MS % 60_000, 0);
    loads.begin(routing::DeploymentId::new("b/m", None), 800);
    let view =
        View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS + 30_000 };
    let wish = Wish { prompt_tokens: 600, ..Wish::default() };
    let mut plan = Plan::new(&fleet, fleet.target("m").unwrap(), wish, START_MS + 30_000);
    let step = plan.next(&view, &mut Chance::new(1));
    // In the next minute 800 tokens fade, and at its middle 400 are left.
    assert_eq!(step, Step::GiveUp(LastWord::Unavailable { retry_after_s: Some(60) }));
}

#[test]
fn the_usual_courses() {
    use ErrorClass::{ContextWindow, RateLimit, Server};
    use Fate::{Answers, Limited, Refused, Silent, Status, TooLong, Unreachable};
    for (what, deployments, on, fates, expected) in [
        ("an answer", 1, &[][..], &[Answers][..], &["first"][..]),
        ("a client's mistake is not repeated", 3, &[Server], &[Status(400)], &["first"]),
        (
            "a prompt that is too long goes where it fits",
            3,
            &[ContextWindow],
            &[TooLong, Answers],
            &["first", "second"],
        ),
        ("and nowhere else", 3, &[RateLimit], &[TooLong], &["first"]),
        ("what a filter refused stays refused", 3, &[ContextWindow], &[Refused], &["first"]),
        ("another deployment answers", 2, &[Server], &[Status(503), Answers], &["first", "first"]),
        ("the only one is asked again", 1, &[], &[Unreachable, Answers], &["first", "first"]),
        ("but not if it was silent", 1, &[], &[Silent], &["first"]),
        ("a fallback before waiting", 1, &[RateLimit], &[Limited(1_000), Answers], &["first", "second"]),
        ("waiting where it is short", 1, &[], &[Limited(1_000), Answers], &["first", "first"]),
        ("and giving up where it is long", 1, &[], &[Limited(5_001)], &["first"]),
        (
            "all that there is",
            1,
            &[Server],
            &[Status(500)],
            &["first", "first", "first", "second", "second", "second"],
        ),
    ] {
        let fates: Vec<(Fate, u64)> = fates.iter().map(|fate| (*fate, 10)).collect();
        let (made, ..) = run(&plain(deployments, on), &fates, 3);
        let pools: Vec<&str> = made.iter().map(|made| made.pool.as_str()).collect();
        assert_eq!(pools, expected, "{what}");
    }
}

#[test]
fn of_all_failures_the_most_telling_is_handed_on() {
    use Fate::{Limited, Silent, Status, Unreachable};
    for (fates, expected) in [
        (&[Status(500), Status(401), Unreachable][..], 1),
        (&[Unreachable, Status(500), Status(503)], 3),
        (&[Unreachable, Silent, Unreachable], 2),
        (&[Status(503), Limited(60_000), Silent], 2),
        (&[Status(401), Unreachable, Status(404)], 2),
    ] {
        let timed: Vec<(Fate, u64)> = fates.iter().map(|fate| (*fate, 10)).collect();
        let (_, word, _) = run(&plain(3, &[]), &timed, 5);
        assert_eq!(word, Some(LastWord::Attempt { number: expected }), "{fates:?}");
    }
}

#[test]
fn a_fallbacks_own_fallbacks_come_before_those_that_are_left() {
    let model = |name: &str, to: &[&str]| {
        // Each names a class more, or the document would refuse a fallback that could never apply.
        let on = ["\"server\"", "\"server\", \"timeout\""];
        let fallbacks: Vec<String> =
            to.iter().zip(on).map(|(to, on)| format!("{{ to = \"{to}\", on = [{on}] }}")).collect();
        let fallbacks = fallbacks.join(", ");
        format!(
            "[[models]]\nname = \"{name}\"\nfallbacks = [{fallbacks}]\nretries = {{ max_attempts = 1 }}\n\
             [[models.deployments]]\nbackend = \"b\"\n"
        )
    };
    let text = [
        format!("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n", "ab".repeat(32)),
        "[[backends]]\nid = \"b\"\nbase_url = \"https://b\"\n".to_owned(),
        model("first", &["second", "fourth"]),
        model("second", &["third"]),
        model("third", &[]),
        model("fourth", &["third"]),
    ]
    .concat();
    let config =
        RouterConfig::parse(&text, "", PlainVariables::default()).unwrap_or_else(|p| panic!("{p}\n{text}"));
    let (made, word, explained) = run(&config, &[(Fate::Status(500), 1)], 1);
    let pools: Vec<&str> = made.iter().map(|made| made.pool.as_str()).collect();
    assert_eq!(pools, ["first", "second", "third", "fourth"], "and the third not twice");
    assert_eq!(word, Some(LastWord::Attempt { number: 4 }));
    assert!(explained.contains(";fallback=first:server,second:server,third:server"), "{explained}");
}

#[test]
fn an_explanation_is_bounded_and_whole_as_far_as_it_goes() {
    let mut text = format!(
        "[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n[[models]]\nname = \"m\"\n",
        "ab".repeat(32)
    );
    for at in 0..40 {
        let weight = u32::from(at == 0);
        text.push_str(&format!(
            "[[models.deployments]]\nbackend = \"{}\"\nweight = {weight}\n",
            "x".repeat(20) + &at.to_string()
        ));
    }
    for at in 0..40 {
        text.push_str(&format!(
            "[[backends]]\nid = \"{}\"\nbase_url = \"https://b\"\n",
            "x".repeat(20) + &at.to_string()
        ));
    }
    let config =
        RouterConfig::parse(&text, "", PlainVariables::default()).unwrap_or_else(|p| panic!("{p}\n{text}"));
    let fleet = Fleet::new(&config);
    let (loads, breakers) = (Loads::default(), Breakers::default());
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS };
    let plan = Plan::new(&fleet, fleet.target("m").unwrap(), Wish::default(), START_MS);
    let explained = explain(&plan, Led::default(), None, &view);
    assert!((400..=routing::EXPLANATION_MAX_BYTES).contains(&explained.len()), "{explained}");
    assert!(explained.ends_with(":drained"), "{explained}");
}

#[test]
fn where_nothing_is_in_service_it_says_when_to_come_back() {
    let config = plain(1, &[]);
    let fleet = Fleet::new(&config);
    let target = fleet.target("first").unwrap();
    let breakers = RefCell::new(Breakers::default());
    let policy = &target.pool.model.settings.breaker;
    let failing =
        breaker::Failing { counts: true, retry_after_ms: Some(4_100), ..breaker::Failing::default() };
    let id = routing::DeploymentId::new("b0/first", None);
    let opened = breaker::failed(&breakers, &NoStore, id, policy, failing, false, START_MS);
    let _unheard = futures::executor::block_on(opened);
    let (breakers, loads) = (breakers.into_inner(), Loads::default());
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS };
    let mut plan = Plan::new(&fleet, target, Wish::default(), START_MS);
    let step = plan.next(&view, &mut Chance::new(1));
    assert_eq!(step, Step::GiveUp(LastWord::Unavailable { retry_after_s: Some(5) }));
    let explained = explain(&plan, Led { route: Some("canary"), mirror: None }, None, &view);
    assert_eq!(explained, "route=canary;model=first;strategy=weighted;attempts=0;skipped=b0/first:cooling");
}

#[test]
fn a_pool_that_is_only_cooling_falls_back_as_rate_limited() {
    let config = plain(1, &[ErrorClass::RateLimit]);
    let fleet = Fleet::new(&config);
    let breakers = RefCell::new(Breakers::default());
    let target = fleet.target("first").unwrap();
    let failing =
        breaker::Failing { counts: true, retry_after_ms: Some(4_100), ..breaker::Failing::default() };
    let id = routing::DeploymentId::new("b0/first", None);
    let policy = &target.pool.model.settings.breaker;
    let opened = breaker::failed(&breakers, &NoStore, id, policy, failing, false, START_MS);
    let _unheard = futures::executor::block_on(opened);
    let (breakers, loads) = (breakers.into_inner(), Loads::default());
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS };
    let mut plan = Plan::new(&fleet, target, Wish::default(), START_MS);
    let Step::Ask(attempt) = plan.next(&view, &mut Chance::new(1)) else { panic!() };
    assert_eq!((attempt.model, attempt.upstream_model), ("second", "second"));
    let explained = explain(&plan, Led::default(), Some(attempt.choice.deployment), &view);
    let expected =
        "model=second;deployment=b0/second;strategy=weighted;tier=0;attempts=1;fallback=first:rate_limit";
    assert_eq!(explained, expected);
}

#[test]
fn a_rate_limit_opens_at_once_where_others_can_take_over() {
    for (deployments, on, expected) in [
        (1, &[][..], false),
        (1, &[ErrorClass::Timeout], false),
        (1, &[ErrorClass::RateLimit], true),
        (2, &[], true),
    ] {
        let config = plain(deployments, on);
        let fleet = Fleet::new(&config);
        let pool = fleet.target("first").unwrap().pool;
        let too_much = failure(Fate::Status(429), &Settings::default(), START_MS).unwrap();
        let failing = pool.for_breaker(&too_much);
        assert_eq!((failing.counts, failing.is_rate_limit), (true, expected), "{deployments} {on:?}");
    }
}

#[test]
fn who_is_in_a_pool_that_was_left_is_not_waited_for() {
    let config = plain(1, &[ErrorClass::RateLimit]);
    let fleet = Fleet::new(&config);
    let (loads, breakers) = (Loads::default(), Breakers::default());
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: START_MS };
    let mut plan = Plan::new(&fleet, fleet.target("first").unwrap(), Wish::default(), START_MS);
    for (model, fate) in [("first", Fate::Limited(300)), ("second", Fate::Silent)] {
        let Step::Ask(attempt) = plan.next(&view, &mut Chance::new(1)) else { panic!("{model} is asked") };
        assert_eq!(attempt.model, model);
        plan.failed(failure(fate, &Settings::default(), START_MS).unwrap(), START_MS);
    }
    let step = plan.next(&view, &mut Chance::new(1));
    assert!(matches!(step, Step::GiveUp(_)), "{step:?}");
}

#[test]
fn capacities_are_looked_at_wherever_fallbacks_lead() {
    let mut text = format!("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n", "ab".repeat(32));
    text.push_str("[[backends]]\nid = \"b\"\nbase_url = \"https://b\"\n");
    for (name, to, capacity) in [
        ("one", Some("two"), true),
        ("two", Some("three"), false),
        ("three", None, true),
        ("other", Some("one"), true),
    ] {
        text.push_str(&format!("[[models]]\nname = \"{name}\"\n"));
        if let Some(to) = to {
            text.push_str(&format!("fallbacks = [{{ to = \"{to}\", on = [\"any\"] }}]\n"));
        }
        text.push_str("[[models.deployments]]\nbackend = \"b\"\n");
        text.push_str(if capacity { "capacity_tokens_per_minute = 9\n" } else { "" });
    }
    let config = RouterConfig::parse(&text, "", PlainVariables::default()).unwrap();
    let fleet = Fleet::new(&config);
    let id = |name: &str| routing::DeploymentId::new(&format!("b/{name}"), None);
    let reached = |name: &str| fleet.with_capacity(fleet.target(name).unwrap()).collect::<Vec<_>>();
    assert_eq!(reached("one"), [id("one"), id("three")]);
    assert_eq!(reached("other"), [id("other"), id("one"), id("three")]);
}
