//! What each component sees of a document.

use super::*;
use crate::*;
use sha2::{Digest, Sha256};

fn router(gateway: &str) -> RouterConfig {
    RouterConfig::parse(gateway, SECRETS, PlainVariables { openai_api_key: "k" }).unwrap()
}

#[test]
fn the_router_sees_backends_models_consumers_and_bounds() {
    let config = router(FULL);
    assert_eq!(config.backends[0].base_url.to_string(), "https://api.openai.com/v1");
    assert_eq!(config.backends[1].base_url.to_string(), "http://127.0.0.1:8000/v1");
    assert_eq!(config.bounds, Bounds { request_bytes: 1 << 20, response_bytes: 2 << 20, client_ms: 5_000 });
    assert_eq!(
        config.models[0].settings.timeouts,
        Timeouts {
            connect_ms: 1_000,
            first_byte_ms: 2_000,
            first_token_ms: 130_000,
            idle_ms: 3_000,
            total_ms: 300_000
        },
        "its own, then the defaults'"
    );
    assert_eq!(
        config.models[1].settings.timeouts,
        Timeouts { first_token_ms: 130_000, total_ms: 300_000, ..Timeouts::default() }
    );
    assert_eq!(config.consumers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["alice", "bob", "dora"]);
}

#[test]
fn deployments_come_by_priority_and_then_as_they_are_written() {
    let config = router(FULL);
    let labels: Vec<_> = config.models[0].deployments.iter().map(|d| (d.label.as_str(), d.weight)).collect();
    assert_eq!(labels, [("openai/gpt-4o", 1), ("local/llama-70b", 3), ("local/llama-8b", 0)]);
    assert_eq!(config.models[0].deployments[0].model, None);
    assert_eq!(config.models[1].deployments[0].label, "openai/gpt-4o-mini");
}

#[test]
fn a_models_own_settings_come_before_the_defaults_and_those_before_the_built_in() {
    let models = router(FULL).models;
    let (own, inherited) = (&models[2].settings, &models[0].settings);
    assert_eq!(inherited.strategy, Strategy::LeastBusy);
    assert_eq!((inherited.keepalive_ms, inherited.buffer, inherited.response_bytes), (0, false, None));
    assert_eq!(inherited.breaker, Breaker::default());
    assert_eq!(inherited.retries, Retries::default());
    assert_eq!(own.strategy, Strategy::Session(HashKey::Header("x-session".to_owned())));
    assert_eq!((inherited.promise_ms, inherited.cancel_whole), (Some(2_000), true));
    assert_eq!((own.keepalive_ms, own.buffer, own.response_bytes), (5_000, true, Some(4_096)));
    assert_eq!((own.promise_ms, own.cancel_whole), (Some(1_000), false));
    assert_eq!(own.mid_stream, MidStream::Continue);
    assert_eq!(own.health_check, HealthCheck { interval_s: 11, path: "/health".to_owned() });
    assert_eq!((own.retries.max_attempts, own.retries.total_ms), (4, 20_000));
    assert_eq!((own.retries.backoff_ms, own.retries.backoff_max_ms), (100, 2_000));
    assert!(own.retries.statuses.contains(503) && !own.retries.statuses.contains(401));
    let breaker = &own.breaker;
    assert_eq!((breaker.failures, breaker.failure_ratio.map(Share::millionths)), (Some(7), Some(250_000)));
    assert_eq!((breaker.min_requests, breaker.interval_s, breaker.trip_duration_s), (4, 20, 9));
    assert!(breaker.enabled && !breaker.timeouts && !breaker.accept_retry_after);
    assert!(breaker.statuses.contains(503) && !breaker.statuses.contains(429));
}

#[test]
fn a_count_or_a_ratio_of_failures_that_is_written_stands_alone() {
    for (defaults, own, expected) in [
        ("", "", (None, Some(500_000))),
        ("", "failures = 3", (Some(3), None)),
        ("failures = 3", "", (Some(3), None)),
        ("failures = 3", "failure_ratio = 0.1", (None, Some(100_000))),
        ("failures = 3", "interval_s = 1", (Some(3), None)),
    ] {
        let document = FULL
            .replace("[defaults]", &format!("[defaults.breaker]\n{defaults}\n[defaults]"))
            .replace("[models.timeouts]", &format!("[models.breaker]\n{own}\n[models.timeouts]"));
        let breaker = &router(&document).models[0].settings.breaker;
        let found = (breaker.failures, breaker.failure_ratio.map(Share::millionths));
        assert_eq!(found, expected, "{defaults:?} {own:?}");
    }
}

#[test]
fn longer_thought_before_the_first_byte_is_allowed_to_the_first_token_too() {
    let built_in = FULL.replace("first_token_ms = 130_000", "");
    for (written, expected) in [
        ("first_byte_ms = 300_000", 300_000),
        ("first_byte_ms = 2_000", 120_000),
        ("first_byte_ms = 300_000\nfirst_token_ms = 5", 5),
    ] {
        let document = built_in.replace("first_byte_ms = 2_000", written);
        assert_eq!(router(&document).models[0].settings.timeouts.first_token_ms, expected, "{written}");
    }
}

#[test]
fn aliases_lead_to_their_models_wherever_a_name_is_written() {
    let config = router(FULL);
    assert_eq!(config.model("best").unwrap().name, "steady");
    assert_eq!(config.model("gpt-4").unwrap().name, "steady");
    let route = &config.routes[0];
    assert_eq!(route.models, ["steady"]);
    assert_eq!(route.to.as_deref(), Some("fast"));
    let to_alias =
        FULL.replace("to = \"fast\"", "to = \"best\"").replace("models = [\"fast\"]", "models = [\"best\"]");
    let problems = check_with_secrets(&to_alias).unwrap_err();
    assert!(problems.to_string().contains("fallbacks[1].to: is the model itself"), "{problems}");
    let to_alias =
        FULL.replacen("share_key = \"user\"\nto = \"fast\"", "share_key = \"user\"\nto = \"best\"", 1);
    assert_eq!(router(&to_alias).routes[0].to.as_deref(), Some("steady"));
}

#[test]
fn the_router_sees_fallbacks_deployments_facts_and_routes() {
    let config = router(FULL);
    let deployment = &config.models[1].deployments[0];
    assert_eq!(deployment.region.as_deref(), Some("eu-west"));
    assert_eq!(deployment.capacity_tokens_per_minute, Some(90_000));
    assert!(deployment.prefill.is_some() && config.models[0].deployments[0].prefill.is_none());
    let fallbacks: Vec<_> = config.models[2].fallbacks.iter().map(|f| (f.to.as_str(), f.on.len())).collect();
    assert_eq!(fallbacks, [("gpt-4o", 2), ("fast", 6)], "any is all but invalid_request");
    let route = &config.routes[0];
    assert_eq!(route.headers, [("x-tier".to_owned(), Some("gold".to_owned())), ("x-any".to_owned(), None)]);
    assert_eq!((route.min_prompt_tokens, route.max_prompt_tokens), (10, Some(1_000)));
    assert_eq!(route.features, [Feature::Tools, Feature::Vision]);
    assert_eq!((route.share.millionths(), &route.share_key), (100_000, &HashKey::User));
    assert_eq!(
        route.mirror.as_ref().map(|m| (m.to.as_str(), m.share.millionths())),
        Some(("gpt-4o", 50_000))
    );
    assert_eq!(config.regions.seen_from("eu-east").distance(Some("us-1")), 2);
}

#[test]
fn prices_are_the_routers_only_where_a_model_is_served_at_the_lowest_cost() {
    assert!(router(FULL).pricing.is_empty());
    let document = FULL.replacen("name = \"fast\"", "name = \"fast\"\nstrategy = \"lowest_cost\"", 1);
    let problems = check_with_secrets(&document).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    let expected = "models[1].strategy: is \"lowest_cost\", which needs a price for openai/gpt-4o-mini";
    assert!(problems.to_string().starts_with(expected), "{problems}");
    assert_eq!(
        RouterConfig::parse(&document, SECRETS, PlainVariables::default()).unwrap_err(),
        problems,
        "the router says the same"
    );
    let price = "[pricing.fast]\nprompt_usd_per_million = 1\ncompletion_usd_per_million = 1\n";
    let document = format!("{document}{price}");
    assert!(check_with_secrets(&document).is_ok());
    assert!(!router(&document).pricing.is_empty());
}

#[test]
fn a_model_is_found_by_its_exact_name_before_the_star() {
    let with_star =
        format!("{FULL}\n[[models]]\nname = \"*\"\n[[models.deployments]]\nbackend = \"local\"\n");
    for (document, name, found) in [
        (FULL, "fast", Some("fast")),
        (FULL, "FAST", None),
        (FULL, "*", None),
        (&with_star, "fast", Some("fast")),
        (&with_star, "other", Some("*")),
    ] {
        assert_eq!(router(document).model(name).map(|m| m.name.as_str()), found, "{name}");
    }
    assert_eq!(router(&with_star).model("other").unwrap().deployments[0].label, "local/*");
}

#[test]
fn a_consumer_may_use_the_models_it_lists_or_all() {
    let config = router(FULL);
    let by = |byte: u8| config.consumers.by_key_digest(&[byte; 32]);
    for (byte, model, expected) in [(0x11, "fast", true), (0x22, "gpt-4o", false), (0x22, "fas", false)] {
        assert_eq!(by(byte).unwrap().may_use(model), expected, "{byte} {model}");
    }
    let bob = config.consumers.iter().nth(1).unwrap();
    assert!(bob.may_use("anything") && !bob.local_only);
    assert_eq!(by(0x33), None);
}

#[test]
fn a_consumer_that_lists_an_alias_may_use_its_model() {
    let document = FULL.replacen("models = [\"fast\"]", "models = [\"best\", \"steady\", \"fast\"]", 1);
    let config = router(&document);
    let alice = config.consumers.by_key_digest(&[0x11; 32]).unwrap();
    assert_eq!(alice.models.as_deref(), Some(&["steady".to_owned(), "fast".to_owned()][..]));
    assert!(alice.may_use("steady") && !alice.may_use("gpt-4o"));
}

#[test]
fn each_of_many_keys_finds_its_own_consumer() {
    let mut document = FULL.to_owned();
    for n in 0..2_000 {
        let sha256 = hex::encode(Sha256::digest(format!("key-{n}")));
        document.push_str(&format!("[[consumers]]\nid = \"c{n}\"\nkeys_sha256 = [\"{sha256}\"]\n"));
    }
    // Two that begin alike: the search must not stop at the first.
    let twins = ["00", "ff"].map(|end| format!("{}{end}", "ab".repeat(31)));
    for (n, twin) in twins.iter().enumerate() {
        document.push_str(&format!("[[consumers]]\nid = \"twin{n}\"\nkeys_sha256 = [\"{twin}\"]\n"));
    }
    let consumers = router(&document).consumers;
    let id = |sha256: &[u8; 32]| consumers.by_key_digest(sha256).map(|consumer| consumer.id.clone());
    for n in 0..2_000 {
        assert_eq!(id(&Sha256::digest(format!("key-{n}")).into()), Some(format!("c{n}")));
    }
    for (end, expected) in [(0x00, Some("twin0")), (0xff, Some("twin1")), (0x01, None)] {
        let mut sha256 = [0xab; 32];
        sha256[31] = end;
        assert_eq!(id(&sha256).as_deref(), expected, "…{end:02x}");
    }
    assert_eq!(id(&[0; 32]), None);
    assert_eq!(id(&[0xff; 32]), None);
}

#[test]
fn the_limiter_sees_limits() {
    let config = LimiterConfig::parse(FULL).unwrap();
    assert_eq!(config.completion_reserve, 2_048);
    assert_eq!(config.on_store_error, OnStoreError::Allow);
    assert_eq!(config.store, CounterStore::Redis);
    assert_eq!(LimiterConfig::default().store, CounterStore::KeyValue);
    assert_eq!(config.headers.limit_tokens, "x-quota-limit");
    assert_eq!(LimiterConfig::default().headers.limit_tokens, "x-ratelimit-limit-tokens");
    let limit = |name| config.limit(name).unwrap();
    let by_team = limit("by-team");
    assert_eq!(by_team.counter_key, [CounterPart::Team, CounterPart::Model], "in one order always");
    let (tokens, requests) = (Measure::Tokens(Weights::TOTAL), Measure::Requests);
    assert_eq!(
        by_team.checks,
        [
            Check { measure: tokens, window: Window::SlidingMinute, size: 50_000 },
            Check { measure: requests, window: Window::SlidingMinute, size: 60 },
        ]
    );
    assert_eq!((by_team.mode, &by_team.matches), (Mode::Enforce, &Matches::default()));
    assert_eq!(limit("everything").counter_key, []);
    assert!(config.counts_by(&CounterPart::User) && !config.counts_by(&CounterPart::Consumer));
    assert_eq!(router(FULL).counted_headers, ["x-project"], "the router hands them on");
    assert_eq!(router(FULL).limit_headers.consumed_tokens, "x-quota-consumed", "the router corrects it");
    let without = FULL.replace("consumed_tokens =", "# consumed_tokens =");
    assert_eq!(router(&without).limit_headers.consumed_tokens, "x-ratelimit-consumed-tokens");
}

#[test]
fn the_limiter_sees_quotas_weights_and_prices() {
    let config = LimiterConfig::parse(FULL).unwrap();
    let limit = config.limit("research-month").unwrap();
    let window = Window::Calendar(Period::Month, Zone::named("Europe/Berlin").unwrap());
    let weights = Weights { prompt: 1_000, cached: 100, completion: 4_500, reasoning: 4_000 };
    let check = |measure, size| Check { measure, window: window.clone(), size };
    assert_eq!(limit.checks, [check(Measure::Tokens(weights), 1_000_000), check(Measure::Requests, 10_000),]);
    assert_eq!(
        limit.counter_key,
        [CounterPart::User, CounterPart::Pool, CounterPart::Header("x-project".to_owned())]
    );
    assert_eq!((limit.mode, &limit.alert_at_permille), (Mode::Observe, &vec![500, 875, 1_000]));
    for (asked, served, team, tags, is_met) in [
        ("fast", "fast", "research", &["eu", "trial"][..], true),
        ("fast", "gpt-4o", "research", &["trial"], true),
        ("gpt-4o", "fast", "research", &["trial"], true),
        ("fast", "fast", "research", &["eu"], false),
        ("fast", "fast", "", &["trial"], false),
        ("gpt-4o", "gpt-4o", "research", &["trial"], false),
    ] {
        assert_eq!(
            limit.matches.is_met([asked, served], team, tags.iter().copied()),
            is_met,
            "{asked} {served} {team} {tags:?}"
        );
    }
    let highest = |model| config.costs.highest(model).map(|price| price.prompt_nano_usd_per_million);
    assert_eq!(config.limit("money").unwrap().checks, [check(Measure::NanoUsd, 12_500_000_000)]);
    assert_eq!(highest("fast"), None);
    assert_eq!(highest("gpt-4o"), Some(2_500_000_000), "of three deployments the dearest");
    assert_eq!(highest("none"), None);
    assert_eq!(config.costs.at("gpt-4o", "local/llama-70b").unwrap().prompt_nano_usd_per_million, 0);
    let slots = &config.limit("slots").unwrap().checks;
    let parallel = Check { measure: Measure::Parallel, window: Window::Lease { lease_s: 300 }, size: 4 };
    assert!(slots.contains(&parallel), "{slots:?}");
    assert_eq!(slots[0].window, Window::Rolling(Period::Day));
}

#[test]
fn the_dearest_price_is_looked_for_wherever_fallbacks_lead() {
    let document = r#"
        [[limits]]
        name = "money"
        counter_key = []
        cost_quota_usd = 1
        period = "day"
        [[models]]
        name = "cheap"
        deployments = [{ backend = "b" }]
        fallbacks = [{ to = "other-name-of-mid", on = ["timeout"] }]
        [[models]]
        name = "mid"
        aliases = ["other-name-of-mid"]
        deployments = [{ backend = "b" }]
        fallbacks = [{ to = "passed-on", on = ["any"] }, { to = "cheap", on = ["any"] }]
        [[models]]
        name = "*"
        deployments = [{ backend = "c" }]
        [pricing.cheap]
        prompt_usd_per_million = 1
        completion_usd_per_million = 9
        [pricing.mid]
        prompt_usd_per_million = 2
        completion_usd_per_million = 3
        [pricing.passed-on]
        prompt_usd_per_million = 4
        completion_usd_per_million = 4
    "#;
    let costs = LimiterConfig::parse(document).unwrap().costs;
    for (model, prompt, completion) in [("cheap", 4, 9), ("mid", 4, 9), ("passed-on", 4, 4)] {
        let price = costs.highest(model).unwrap();
        let seen = (price.prompt_nano_usd_per_million, price.completion_nano_usd_per_million);
        assert_eq!(seen, (prompt * 1_000_000_000, completion * 1_000_000_000), "{model}");
    }
    assert_eq!(costs.highest("unheard-of"), None, "served by *, but nobody knows its price");
}

#[test]
fn what_is_drained_makes_no_estimate_dearer() {
    let dear =
        "\n[pricing.\"local/llama-8b\"]\nprompt_usd_per_million = 90\ncompletion_usd_per_million = 90\n";
    let prompt_price = |document: &str| {
        let costs = LimiterConfig::parse(document).unwrap().costs;
        costs.highest("gpt-4o").unwrap().prompt_nano_usd_per_million
    };
    let drained = format!("{FULL}{dear}");
    assert_eq!(prompt_price(&drained), 2_500_000_000);
    assert_eq!(prompt_price(&drained.replacen("weight = 0", "weight = 1", 1)), 90_000_000_000);
}

#[test]
fn prices_are_read_only_where_money_is_limited() {
    let without = FULL.replace("cost_quota_usd = 12.5", "request_quota = 9");
    assert_eq!(LimiterConfig::parse(&without).unwrap().costs, CostTable::default());
    let broken = FULL.replace("prompt_usd_per_million = 2.5", "prompt_usd_per_million = -1");
    assert!(LimiterConfig::parse(&broken).unwrap_err().to_string().starts_with("pricing.gpt-4o.prompt"));
    let without = broken.replace("cost_quota_usd = 12.5", "request_quota = 9");
    assert!(LimiterConfig::parse(&without).is_ok());
}

#[test]
fn the_cache_and_the_logger_see_their_sections() {
    let cache = CacheConfig::parse(FULL).unwrap();
    assert_eq!(cache, CacheConfig { enabled: false, ttl_s: 60, max_entry_bytes: 65_536 });
    let usage = UsageConfig::parse(FULL).unwrap();
    assert!(!usage.stdout);
    assert_eq!((usage.user_ids, usage.retain_days), (false, 90));
    assert!(!router(FULL).user_ids, "the router sends none");
    assert!(router(&FULL.replace("user_ids = false", "user_ids = true")).user_ids && router("").user_ids);
    let price = usage.pricing.price("gpt-4o", "openai/gpt-4o").unwrap();
    assert_eq!(price.prompt_nano_usd_per_million, 2_500_000_000);
    assert_eq!(price.cached_nano_usd_per_million, 1_250_000_000);
    assert_eq!(price.completion_nano_usd_per_million, 10_000_000_000);
    let free = usage.pricing.price("gpt-4o", "local/llama-70b").unwrap();
    assert_eq!(
        (free.prompt_nano_usd_per_million, free.cached_nano_usd_per_million),
        (0, 0),
        "zero is a price"
    );
    assert_eq!(free.completion_nano_usd_per_million, 1);
}

#[test]
fn a_component_reads_its_own_sections_and_refuses_unknown_ones() {
    let broken_cache = FULL.replace("ttl_s = 60", "ttl_s = 0");
    assert!(LimiterConfig::parse(&broken_cache).is_ok());
    assert!(UsageConfig::parse(&broken_cache).is_ok());
    assert!(CacheConfig::parse(&broken_cache).is_err());
    let unknown = format!("guard = 1\n{FULL}");
    let expected = "guard: is not a section of the document";
    for problems in [
        RouterConfig::parse(&unknown, SECRETS, PlainVariables::default()).unwrap_err(),
        LimiterConfig::parse(&unknown).unwrap_err(),
        CacheConfig::parse(&unknown).unwrap_err(),
        UsageConfig::parse(&unknown).unwrap_err(),
    ] {
        assert!(problems.to_string().starts_with(expected) && problems.len() == 1, "{problems}");
    }
}

#[test]
fn an_empty_document_is_the_built_in_one() {
    for document in ["", " \n", "# nothing yet\n"] {
        let config = RouterConfig::parse(document, "", PlainVariables { openai_api_key: "k" }).unwrap();
        assert_eq!(config.backends[0].base_url.to_string(), "https://api.openai.com/v1", "{document:?}");
        assert_eq!(config.backends[0].api_key.as_ref().map(Secret::expose), Some("k"));
        assert_eq!(config.model("gpt-4o").map(|model| model.name.as_str()), Some("*"));
        let consumer = config.consumers.by_key_digest(&Sha256::digest("tollgate-local").into()).unwrap();
        assert_eq!((consumer.id.as_str(), consumer.local_only, consumer.may_use("x")), ("local", true, true));
        assert_eq!(config.bounds, Bounds::default());
        assert_eq!(LimiterConfig::parse(document).unwrap(), LimiterConfig::default());
        assert_eq!(CacheConfig::parse(document).unwrap(), CacheConfig::default());
        assert!(CacheConfig::default().enabled && UsageConfig::parse(document).unwrap().stdout);
        assert!(check(document, "", PlainVariables { openai_api_key: "k" }).unwrap().is_built_in);
    }
}

#[test]
fn an_empty_document_without_a_key_says_what_to_pass() {
    let problems = check("", "", PlainVariables::default()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    for part in ["openai_api_key: ", "--variable openai_api_key=…", "--variable gateway=@gateway.toml"] {
        assert!(problems.to_string().contains(part), "{problems}");
    }
}

#[test]
fn the_built_in_key_is_refused_elsewhere() {
    let problems = check(BUILT_IN, "openai_api_key = \"k\"", PlainVariables::default()).unwrap_err();
    assert!(
        problems.to_string().starts_with("consumers[0].keys_sha256[0]: is the key of the built-in"),
        "{problems}"
    );
}
