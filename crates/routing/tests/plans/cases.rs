//! One thing after the other, by hand.

use super::*;

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
