//! Selection against its definition: which deployments are in service is worked out plainly, and the strategy's choice is
//! checked to be one of them, and the right one.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use gateway_config::{PlainVariables, Regions, RouterConfig};
use proptest::prelude::*;
use routing::breaker::{self, Breakers, Failing, SharedStore, StoreError};
use routing::hash::{Chance, stable_hash};
use routing::{DeploymentId, Failure, Fleet, Loads, Skip, View, Wish, select, skipped};
use std::cell::RefCell;
use std::collections::BTreeMap;

const NOW_MS: u64 = 1_800_000_000_000;

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

/// A deployment as a test sees it.
#[derive(Debug, Clone)]
struct Plain {
    priority: u32,
    weight: u32,
    region: Option<&'static str>,
    capacity: Option<u64>,
    /// Milliseconds until which it is open, from now; 0 = half-open.
    open_for_ms: Option<u64>,
    in_flight: u32,
    tokens: u64,
    is_tried: bool,
    price: u64,
}

fn plain() -> impl Strategy<Value = Plain> {
    let region = prop_oneof![Just(None), Just(Some("eu-west")), Just(Some("eu-north")), Just(Some("us"))];
    let capacity = prop_oneof![3 => Just(None), 1 => (1..2_000_u64).prop_map(Some)];
    let open = prop_oneof![4 => Just(None), 1 => Just(Some(0)), 1 => (1..10_000_u64).prop_map(Some)];
    (0..3_u32, 0..4_u32, region, capacity, open, 0..4_u32, 0..1_500_u64, prop::bool::weighted(0.2), 0..4_u64)
        .prop_map(|(priority, weight, region, capacity, open_for_ms, in_flight, tokens, is_tried, price)| {
            Plain { priority, weight, region, capacity, open_for_ms, in_flight, tokens, is_tried, price }
        })
}

fn document(pool: &[Plain], strategy: &str) -> String {
    let mut text = format!(
        "[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n[regions]\neu = [\"eu-north\"]\n",
        "ab".repeat(32)
    );
    let mut deployments = String::new();
    for (at, plain) in pool.iter().enumerate() {
        let region = plain.region.map_or(String::new(), |region| format!("region = \"{region}\"\n"));
        let capacity =
            plain.capacity.map_or(String::new(), |n| format!("capacity_tokens_per_minute = {n}\n"));
        text.push_str(&format!("[[backends]]\nid = \"b{at}\"\nbase_url = \"https://b{at}\"\n"));
        text.push_str(&format!(
            "[pricing.\"b{at}/m\"]\nprompt_usd_per_million = {}\ncompletion_usd_per_million = 1\n",
            plain.price
        ));
        deployments.push_str(&format!(
            "[[models.deployments]]\nbackend = \"b{at}\"\npriority = {}\nweight = {}\n{region}{capacity}",
            plain.priority, plain.weight
        ));
    }
    format!("{text}[[models]]\nname = \"m\"\nstrategy = \"{strategy}\"\n{deployments}")
}

fn id(at: usize) -> DeploymentId {
    DeploymentId::new(&format!("b{at}/m"), None)
}

fn config(pool: &[Plain], strategy: &str) -> RouterConfig {
    let document = document(pool, strategy);
    RouterConfig::parse(&document, "", PlainVariables::default())
        .unwrap_or_else(|p| panic!("{p}\n{document}"))
}

/// What an instance knows after all that a pool's plain deployments say has happened.
fn state(pool: &[Plain]) -> (Loads, Breakers) {
    let (mut loads, breakers) = (Loads::default(), RefCell::new(Breakers::default()));
    for (at, plain) in pool.iter().enumerate() {
        for n in 0..plain.in_flight {
            loads.begin(id(at), if n == 0 { plain.tokens } else { 0 });
        }
        if let Some(ms) = plain.open_for_ms {
            let policy = gateway_config::Breaker::default();
            let failing = Failing { counts: true, retry_after_ms: Some(ms), ..Failing::default() };
            let opened = breaker::failed(&breakers, &NoStore, id(at), &policy, failing, false, NOW_MS);
            let _unheard = futures::executor::block_on(opened);
        }
    }
    (loads, breakers.into_inner())
}

/// Who is in service: the naive way.
fn in_service(pool: &[Plain], wish: &Wish<'_>, regions: &Regions) -> Vec<usize> {
    let serves = |plain: &Plain| {
        let used = if plain.in_flight == 0 { 0 } else { plain.tokens };
        plain.weight > 0
            && !plain.is_tried
            && plain.open_for_ms.is_none_or(|ms| ms == 0)
            && plain.capacity.is_none_or(|most| used == 0 || used + wish.tokens() <= most)
    };
    let serving: Vec<usize> = (0..pool.len()).filter(|at| serves(&pool[*at])).collect();
    let Some(tier) = serving.iter().map(|at| pool[*at].priority).min() else { return Vec::new() };
    let tier: Vec<usize> = serving.into_iter().filter(|at| pool[*at].priority == tier).collect();
    let far = |at: &usize| wish.region.map_or(0, |user| regions.seen_from(user).distance(pool[*at].region));
    let nearest = tier.iter().map(far).min().unwrap();
    tier.into_iter().filter(|at| far(at) == nearest).collect()
}

fn wish() -> impl Strategy<Value = Wish<'static>> {
    let region = prop_oneof![2 => Just(None), 1 => Just(Some("eu-west")), 1 => Just(Some("us-1"))];
    (region, prop::option::of(any::<u64>()), 0..1_000_u64).prop_map(|(region, session, prompt_tokens)| Wish {
        region,
        session,
        prompt_tokens,
        completion_tokens: 10,
        ..Wish::default()
    })
}

const STRATEGIES: [&str; 6] =
    ["round_robin", "weighted", "least_busy", "lowest_latency", "lowest_cost", "session"];

fn pool() -> impl Strategy<Value = Vec<Plain>> {
    prop::collection::vec(plain(), 1..8)
        .prop_filter("one in use", |pool| pool.iter().any(|plain| plain.weight > 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_choice_is_in_service_and_the_strategys(
        pool in pool(), wish in wish(), strategy in prop::sample::select(&STRATEGIES[..]), seed in any::<u64>(),
    ) {
        let config = config(&pool, strategy);
        let fleet = Fleet::new(&config);
        let target = fleet.target("m").unwrap();
        let (loads, breakers) = state(&pool);
        let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        let is_tried = |tried: DeploymentId| (0..pool.len()).any(|at| pool[at].is_tried && id(at) == tried);
        let serving = in_service(&pool, &wish, &config.regions);
        let choice = select(target, &wish, &view, is_tried, &mut Chance::new(seed));
        let Some(choice) = choice else {
            prop_assert!(serving.is_empty(), "{serving:?} are in service");
            return Ok(());
        };
        let at = (0..pool.len()).find(|at| id(*at) == choice.id).unwrap();
        prop_assert!(serving.contains(&at), "{at} is not one of {serving:?}");
        prop_assert_eq!(choice.is_probe, pool[at].open_for_ms.is_some());
        prop_assert!(!skipped(target, &wish, &view, is_tried).any(|(d, _)| d.label == choice.deployment.label));
        if choice.is_probe && !(strategy == "session" && wish.session.is_some()) {
            return Ok(()); // whoever is half-open comes first
        }
        let best = |score: &dyn Fn(&usize) -> f64| serving.iter().map(score).fold(f64::INFINITY, f64::min);
        let busy = |at: &usize| f64::from(pool[*at].in_flight) / f64::from(pool[*at].weight);
        let cost = |at: &usize| (pool[*at].price * wish.prompt_tokens) as f64;
        match strategy {
            "least_busy" => prop_assert_eq!(busy(&at), best(&busy)),
            "lowest_cost" => prop_assert_eq!(cost(&at), best(&cost)),
            _ => {}
        }
    }

    #[test]
    fn everything_is_either_in_service_or_skipped_with_its_reason(pool in pool(), wish in wish()) {
        let config = config(&pool, "weighted");
        let fleet = Fleet::new(&config);
        let target = fleet.target("m").unwrap();
        let (loads, breakers) = state(&pool);
        let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        let is_tried = |tried: DeploymentId| (0..pool.len()).any(|at| pool[at].is_tried && id(at) == tried);
        let skips: BTreeMap<String, Skip> =
            skipped(target, &wish, &view, is_tried).map(|(d, skip)| (d.label.clone(), skip)).collect();
        for (at, plain) in pool.iter().enumerate() {
            let used = if plain.in_flight == 0 { 0 } else { plain.tokens };
            let is_full = plain.capacity.is_some_and(|most| used > 0 && used + wish.tokens() > most);
            let expected = match plain {
                Plain { weight: 0, .. } => Some(Skip::Drained),
                Plain { is_tried: true, .. } => Some(Skip::Tried),
                Plain { open_for_ms: Some(ms), .. } if *ms > 0 => {
                    Some(Skip::Open { until_ms: NOW_MS + ms, said_when: true })
                }
                _ if is_full => Some(Skip::AtCapacity),
                _ => None,
            };
            prop_assert_eq!(skips.get(&format!("b{at}/m")).copied(), expected);
        }
    }

    #[test]
    fn a_session_moves_only_when_its_deployment_is_out(
        weights in prop::collection::vec(1..5_u32, 2..8), sessions in prop::collection::vec(any::<u64>(), 1..30), out in any::<prop::sample::Index>(),
    ) {
        let pool: Vec<Plain> = weights.iter().map(|weight| Plain { weight: *weight, ..healthy() }).collect();
        let out = out.index(pool.len());
        let config = config(&pool, "session");
        let fleet = Fleet::new(&config);
        let (loads, breakers) = state(&pool);
        let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        for session in sessions {
            let wish = Wish { session: Some(session), ..Wish::default() };
            let at = |seed: u64, is_out: bool| {
                let is_tried = |tried| is_out && tried == id(out);
                select(fleet.target("m").unwrap(), &wish, &view, is_tried, &mut Chance::new(seed)).unwrap().id
            };
            let home = at(1, false);
            prop_assert_eq!(at(2, false), home);
            if home != id(out) {
                prop_assert_eq!(at(3, true), home, "its own was not out");
            } else {
                prop_assert_ne!(at(3, true), home);
            }
        }
    }

    /// Of two that are drawn the quicker one: so of two altogether the better, and of more never the worst.
    #[test]
    fn the_slowest_for_what_it_has_under_way_is_never_asked(
        latencies in prop::collection::vec((1..2_000_u64, 0..4_u32), 2..6), seed in any::<u64>(),
    ) {
        let pool = vec![healthy(); latencies.len()];
        let config = config(&pool, "lowest_latency");
        let fleet = Fleet::new(&config);
        let (mut loads, breakers) = state(&pool);
        for (at, (latency_ms, in_flight)) in latencies.iter().enumerate() {
            loads.answered(id(at), *latency_ms, NOW_MS);
            (0..*in_flight).for_each(|_| loads.begin(id(at), 0));
        }
        let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        let choice = select(fleet.target("m").unwrap(), &Wish::default(), &view, |_| false, &mut Chance::new(seed)).unwrap();
        let costs: Vec<u64> = latencies.iter().map(|(ms, in_flight)| ms * u64::from(in_flight + 1)).collect();
        let chosen = costs[(0..pool.len()).find(|at| id(*at) == choice.id).unwrap()];
        let mut sorted = costs.clone();
        sorted.sort_unstable();
        prop_assert!(chosen <= sorted[sorted.len() - 2], "{chosen} of {sorted:?}");
    }

    #[test]
    fn turns_go_round(count in 1..6_usize, rounds in 1..5_usize, seed in any::<u64>()) {
        let pool = vec![healthy(); count];
        let config = config(&pool, "round_robin");
        let fleet = Fleet::new(&config);
        let (mut loads, breakers) = state(&pool);
        let mut chance = Chance::new(seed);
        for _ in 0..rounds {
            let mut round = Vec::new();
            for _ in 0..count {
                let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
                let choice = select(fleet.target("m").unwrap(), &Wish::default(), &view, |_| false, &mut chance).unwrap();
                loads.begin(choice.id, 0);
                round.push(choice.id);
            }
            round.sort_unstable();
            round.dedup();
            prop_assert_eq!(round.len(), count, "each once in a round");
        }
    }
}

fn healthy() -> Plain {
    Plain {
        priority: 0,
        weight: 1,
        region: None,
        capacity: None,
        open_for_ms: None,
        in_flight: 0,
        tokens: 0,
        is_tried: false,
        price: 1,
    }
}

/// How often each is picked, of `count` requests.
fn shares(weights: &[u32], strategy: &str, count: u32) -> Vec<f64> {
    let pool: Vec<Plain> = weights.iter().map(|weight| Plain { weight: *weight, ..healthy() }).collect();
    let config = config(&pool, strategy);
    let fleet = Fleet::new(&config);
    let (loads, breakers) = state(&pool);
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
    let target = fleet.target("m").unwrap();
    let mut picked: BTreeMap<DeploymentId, u32> = BTreeMap::new();
    for n in 0..count {
        let session = stable_hash([format!("session-{n}").as_bytes()]);
        let wish = Wish { session: Some(session), ..Wish::default() };
        // A seed for each request, as the router draws it.
        let choice = select(target, &wish, &view, |_| false, &mut Chance::new(u64::from(n))).unwrap();
        *picked.entry(choice.id).or_default() += 1;
    }
    (0..weights.len())
        .map(|at| f64::from(picked.get(&id(at)).copied().unwrap_or(0)) / f64::from(count))
        .collect()
}

#[test]
fn weights_are_kept_within_one_percent() {
    // Where all are as fast and as idle as each other, they go by weight as well.
    for strategy in ["weighted", "session", "least_busy", "lowest_latency"] {
        for weights in [&[1, 1][..], &[3, 1], &[90, 9, 1], &[5, 0, 5], &[1, 2, 3, 4], &[1_000_000, 1_000_000]]
        {
            let total: u32 = weights.iter().sum();
            for (share, weight) in shares(weights, strategy, 100_000).iter().zip(weights) {
                let expected = f64::from(*weight) / f64::from(total);
                assert!((share - expected).abs() < 0.01, "{strategy} {weights:?}: {share} for {weight}");
                assert!(*weight > 0 || *share == 0.0, "{strategy} {weights:?}: a drained one was picked");
            }
        }
    }
}

#[test]
fn whoever_is_half_open_is_asked_first_once() {
    let pool = [vec![Plain { open_for_ms: Some(0), ..healthy() }], vec![healthy(); 4]].concat();
    let config = config(&pool, "weighted");
    let fleet = Fleet::new(&config);
    let (loads, breakers) = state(&pool);
    let breakers = RefCell::new(breakers);
    let picked = |seed: u64| {
        let known = breakers.borrow();
        let view = View { loads: &loads, breakers: &known, regions: &config.regions, now_ms: NOW_MS };
        select(fleet.target("m").unwrap(), &Wish::default(), &view, |_| false, &mut Chance::new(seed))
            .unwrap()
    };
    assert!((0..50).all(|seed| picked(seed).is_probe && picked(seed).id == id(0)));
    let probe = breaker::claim_probe(&breakers, &NoStore, id(0), 1_000, || NOW_MS);
    assert!(futures::executor::block_on(probe).is_some());
    assert!((0..50).all(|seed| !picked(seed).is_probe && picked(seed).id != id(0)), "one at a time");
}

#[test]
fn turns_begin_anywhere() {
    // Instances live for few requests: if each began with the same deployment, that one would get more.
    let shares = shares(&[1, 5, 1], "round_robin", 30_000);
    assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{shares:?}");
}

#[test]
fn the_faster_one_gets_the_requests_until_it_is_busy() {
    let pool = vec![healthy(); 2];
    let config = config(&pool, "lowest_latency");
    let fleet = Fleet::new(&config);
    let (mut loads, breakers) = state(&pool);
    let picked = |loads: &Loads, now_ms: u64, seed: u64| {
        let view = View { loads, breakers: &breakers, regions: &config.regions, now_ms };
        select(fleet.target("m").unwrap(), &Wish::default(), &view, |_| false, &mut Chance::new(seed))
            .unwrap()
            .id
    };
    loads.begin(id(0), 0);
    loads.answered(id(0), 100, NOW_MS);
    loads.end(id(0), 0, 0, NOW_MS);
    assert!((0..50).all(|seed| picked(&loads, NOW_MS, seed) == id(1)), "what nobody has asked yet is tried");
    loads.begin(id(1), 0);
    loads.answered(id(1), 350, NOW_MS);
    loads.end(id(1), 0, 0, NOW_MS);
    assert!((0..50).all(|seed| picked(&loads, NOW_MS, seed) == id(0)));
    (0..3).for_each(|_| loads.begin(id(0), 0));
    assert!((0..50).all(|seed| picked(&loads, NOW_MS, seed) == id(1)), "350 × 1 against 100 × 4");
}

#[test]
fn what_fails_at_once_does_not_pass_for_quick() {
    let pool = vec![healthy(); 2];
    let config = config(&pool, "lowest_latency");
    let fleet = Fleet::new(&config);
    let settings = &config.models[0].settings;
    let (mut loads, breakers) = state(&pool);
    let (failed, refused) = (
        Failure::answered(500, |_| None, b"", settings, NOW_MS),
        Failure::answered(400, |_| None, b"", settings, NOW_MS),
    );
    let picked = |loads: &Loads| {
        let view = View { loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        select(fleet.target("m").unwrap(), &Wish::default(), &view, |_| false, &mut Chance::new(1))
            .unwrap()
            .id
    };
    loads.answered(id(1), 800, NOW_MS);
    loads.failed(id(0), &failed, 3, NOW_MS);
    assert_eq!(picked(&loads), id(1), "a success after 800 ms is better than a failure after 3");
    let mut loads = Loads::default();
    loads.answered(id(1), 800, NOW_MS);
    loads.answered(id(0), 700, NOW_MS);
    loads.failed(id(0), &refused, 3, NOW_MS);
    assert_eq!(picked(&loads), id(0), "a request that is wrong says nothing of who refused it");
}

#[test]
fn who_has_no_retry_left_leaves_a_probe_to_others() {
    let half_open = Plain { open_for_ms: Some(0), ..healthy() };
    for (second, expected) in
        [(healthy(), 1), (Plain { priority: 1, ..healthy() }, 0), (half_open.clone(), 0)]
    {
        let pool = [half_open.clone(), second];
        let config = config(&pool, "round_robin");
        let fleet = Fleet::new(&config);
        let (loads, breakers) = state(&pool);
        let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
        let wish = Wish { leaves_probes: true, ..Wish::default() };
        let choice =
            select(fleet.target("m").unwrap(), &wish, &view, |_| false, &mut Chance::new(1)).unwrap();
        assert_eq!(choice.id, id(expected), "{pool:?}");
    }
}

#[test]
fn names_that_are_passed_on_have_breakers_of_their_own() {
    let document = "[[backends]]\nid = \"b\"\nbase_url = \"https://b\"\n[[models]]\nname = \"*\"\n\
        [[models.deployments]]\nbackend = \"b\"\n[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"abababababababababababababababababababababababababababababababab\"]\n";
    let config = RouterConfig::parse(document, "", PlainVariables::default()).unwrap();
    let fleet = Fleet::new(&config);
    let breakers = RefCell::new(Breakers::default());
    let (policy, failing) = (
        gateway_config::Breaker::default(),
        Failing { counts: true, retry_after_ms: Some(1_000), ..Failing::default() },
    );
    let limited = DeploymentId::new("b/*", Some("gpt-4o"));
    let opened = breaker::failed(&breakers, &NoStore, limited, &policy, failing, false, NOW_MS);
    let _unheard = futures::executor::block_on(opened);
    let (breakers, loads) = (breakers.into_inner(), Loads::default());
    let view = View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms: NOW_MS };
    for (name, is_served) in [("gpt-4o", false), ("gpt-4o-mini", true)] {
        let choice =
            select(fleet.target(name).unwrap(), &Wish::default(), &view, |_| false, &mut Chance::new(1));
        assert_eq!(choice.is_some(), is_served, "{name}");
    }
}
