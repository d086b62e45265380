//! Routes, shares and sessions as a document says them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use gateway_config::{Consumer, PlainVariables, RouterConfig};
use proptest::prelude::*;
use routing::hash::Chance;
use routing::{Facts, Fleet, Needs, Traits, session};
use std::collections::BTreeSet;

/// Models a, b and c (alias cc) and `*`, two consumers, and the routes.
fn config(routes: &str, settings: &str) -> RouterConfig {
    let model = |name: &str, more: &str| {
        format!("[[models]]\nname = \"{name}\"\n{more}\n[[models.deployments]]\nbackend = \"x\"\n")
    };
    let consumer = |id: &str, digit: &str, more: &str| {
        format!("[[consumers]]\nid = \"{id}\"\nkeys_sha256 = [\"{}\"]\n{more}\n", digit.repeat(64))
    };
    let text = [
        "[[backends]]\nid = \"x\"\nbase_url = \"https://x\"\n".to_owned(),
        model("a", settings),
        model("b", ""),
        model("c", "aliases = [\"cc\"]"),
        model("*", ""),
        consumer("alice", "1", "team = \"red\"\napp = \"chat\"\ntags = [\"gold\", \"eu\"]"),
        consumer("bob", "2", ""),
        routes.to_owned(),
    ]
    .concat();
    RouterConfig::parse(&text, "", PlainVariables::default()).unwrap_or_else(|p| panic!("{p}\n{text}"))
}

fn consumer<'c>(config: &'c RouterConfig, id: &str) -> &'c Consumer {
    config.consumers.iter().find(|consumer| consumer.id == id).unwrap()
}

/// Asks for a model and tells where it goes: the name, and the route.
fn decide(
    config: &RouterConfig,
    who: &str,
    asked: &str,
    headers: &[(&str, &str)],
    tokens: u64,
    body: &str,
) -> (String, Option<String>) {
    let fleet = Fleet::new(config);
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let traits = Traits::read(body.as_bytes());
    let facts = Facts {
        asked,
        consumer: consumer(config, who),
        header: &header,
        prompt_tokens: tokens,
        traits: &traits,
    };
    let decision = fleet.route(&facts, &mut Chance::new(1)).unwrap();
    (decision.target.name.to_owned(), decision.route.map(str::to_owned))
}

#[test]
fn every_condition_decides() {
    let tools = r#"{"tools":[{}],"response_format":{"type":"json_object"}}"#;
    for (condition, who, asked, headers, tokens, body, is_matched) in [
        ("models = [\"a\"]", "bob", "a", &[][..], 0, "", true),
        ("models = [\"a\"]", "bob", "c", &[], 0, "", false),
        ("models = [\"cc\"]", "bob", "c", &[], 0, "", true),
        ("models = [\"c\"]", "bob", "cc", &[], 0, "", true),
        ("models = [\"anything\"]", "bob", "anything", &[], 0, "", true),
        ("models = [\"anything\"]", "bob", "something", &[], 0, "", false),
        ("consumers = [\"alice\"]", "alice", "a", &[], 0, "", true),
        ("consumers = [\"alice\"]", "bob", "a", &[], 0, "", false),
        ("teams = [\"red\"]", "alice", "a", &[], 0, "", true),
        ("teams = [\"red\"]", "bob", "a", &[], 0, "", false),
        ("apps = [\"chat\"]", "alice", "a", &[], 0, "", true),
        ("apps = [\"chat\"]", "bob", "a", &[], 0, "", false),
        ("tags = [\"eu\"]", "alice", "a", &[], 0, "", true),
        ("tags = [\"eu\"]", "bob", "a", &[], 0, "", false),
        ("headers = { X-Tier = \"gold\" }", "bob", "a", &[("x-tier", "gold")], 0, "", true),
        ("headers = { X-Tier = \"gold\" }", "bob", "a", &[("x-tier", "silver")], 0, "", false),
        ("headers = { X-Tier = \"gold\" }", "bob", "a", &[], 0, "", false),
        ("headers = { x-any = \"*\" }", "bob", "a", &[("x-any", "")], 0, "", true),
        ("headers = { x-any = \"*\" }", "bob", "a", &[], 0, "", false),
        ("min_prompt_tokens = 10", "bob", "a", &[], 10, "", true),
        ("min_prompt_tokens = 10", "bob", "a", &[], 9, "", false),
        ("max_prompt_tokens = 10", "bob", "a", &[], 10, "", true),
        ("max_prompt_tokens = 10", "bob", "a", &[], 11, "", false),
        ("features = [\"tools\", \"json\"]", "bob", "a", &[], 0, tools, true),
        ("features = [\"tools\", \"vision\"]", "bob", "a", &[], 0, tools, false),
        ("teams = [\"red\"]\nmodels = [\"b\"]", "alice", "a", &[], 0, "", false),
    ] {
        let config = config(&format!("[[routes]]\nname = \"r\"\nto = \"b\"\n{condition}\n"), "");
        let expected =
            if is_matched { ("b", Some("r")) } else { (if asked == "cc" { "c" } else { asked }, None) };
        let (name, route) = decide(&config, who, asked, headers, tokens, body);
        assert_eq!((name.as_str(), route.as_deref()), expected, "{condition}: {who} asks for {asked}");
    }
}

#[test]
fn the_first_route_that_matches_decides_and_decides_once() {
    let routes = "[[routes]]\nname = \"one\"\nmodels = [\"a\"]\nto = \"b\"\n\
        [[routes]]\nname = \"two\"\nmodels = [\"a\", \"b\"]\nto = \"c\"\n";
    let config = config(routes, "");
    for (asked, expected) in [("a", ("b", Some("one"))), ("b", ("c", Some("two"))), ("c", ("c", None))] {
        let (name, route) = decide(&config, "bob", asked, &[], 0, "");
        assert_eq!((name.as_str(), route.as_deref()), expected, "{asked}");
    }
}

#[test]
fn a_name_that_nobody_serves_goes_nowhere() {
    let text = "[[backends]]\nid = \"x\"\nbase_url = \"https://x\"\n[[models]]\nname = \"a\"\n[[models.deployments]]\nbackend = \"x\"\n\
        [[consumers]]\nid = \"bob\"\nkeys_sha256 = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\n";
    let config = RouterConfig::parse(text, "", PlainVariables::default()).unwrap();
    let fleet = Fleet::new(&config);
    let traits = Traits::default();
    let facts = |asked| Facts {
        asked,
        consumer: consumer(&config, "bob"),
        header: &|_| None,
        prompt_tokens: 0,
        traits: &traits,
    };
    assert!(fleet.route(&facts("nope"), &mut Chance::new(1)).is_none());
    assert!(fleet.route(&facts("*"), &mut Chance::new(1)).is_none());
    assert!(fleet.route(&facts("a"), &mut Chance::new(1)).is_some());
    assert_eq!(fleet.needs(), Needs::default(), "nothing is worked out that nobody asks for");
}

/// Who of `count` users is in the share.
fn in_share(share: &str, name: &str, count: u32) -> BTreeSet<u32> {
    let config = config(
        &format!(
            "[[routes]]\nname = \"{name}\"\nto = \"b\"\nshare = {share}\nshare_key = \"header:x-user\"\n"
        ),
        "",
    );
    let fleet = Fleet::new(&config);
    let traits = Traits::default();
    let is_in = |n: &u32| {
        let user = n.to_string();
        let header = |name: &str| (name == "x-user").then_some(user.as_str());
        let facts = Facts {
            asked: "a",
            consumer: consumer(&config, "bob"),
            header: &header,
            prompt_tokens: 0,
            traits: &traits,
        };
        // Whatever chance says.
        let decided = |seed| fleet.route(&facts, &mut Chance::new(seed)).unwrap().route.is_some();
        assert_eq!(decided(1), decided(2), "{n} stays on one arm");
        decided(1)
    };
    (0..count).filter(is_in).collect()
}

#[test]
fn a_share_is_kept_within_one_percent_and_who_is_in_it_stays_when_it_grows() {
    let (tenth, fifth) = (in_share("0.1", "canary", 20_000), in_share("0.2", "canary", 20_000));
    for (members, expected) in [(&tenth, 0.1), (&fifth, 0.2)] {
        let share = members.len() as f64 / 20_000.0;
        assert!((share - expected).abs() < 0.01, "{share} for {expected}");
    }
    assert!(tenth.is_subset(&fifth));
    let other = in_share("0.1", "another", 20_000);
    let both = tenth.intersection(&other).count() as f64 / 20_000.0;
    assert!((both - 0.01).abs() < 0.005, "independent of another route's: {both}");
}

#[test]
fn mirrors_are_drawn_by_chance_and_change_nothing_for_the_client() {
    let config = config("[[routes]]\nname = \"m\"\nmirror = { to = \"c\", share = 0.25 }\n", "");
    let fleet = Fleet::new(&config);
    let traits = Traits::default();
    let facts = Facts {
        asked: "a",
        consumer: consumer(&config, "bob"),
        header: &|_| None,
        prompt_tokens: 0,
        traits: &traits,
    };
    let mut mirrored = 0;
    for seed in 0..20_000 {
        let decision = fleet.route(&facts, &mut Chance::new(seed)).unwrap();
        assert_eq!((decision.target.name, decision.route), ("a", Some("m")));
        mirrored += u32::from(decision.mirror == Some("c"));
    }
    assert!((f64::from(mirrored) / 20_000.0 - 0.25).abs() < 0.01, "{mirrored}");
}

#[test]
fn sessions_are_told_apart_by_their_key() {
    let turn = r#"{"messages":[{"role":"user","content":"hello"}],"user":"u1"}"#;
    let other = r#"{"messages":[{"role":"user","content":"bye"}],"user":"u2"}"#;
    for (key, same, different) in [
        ("consumer", ("bob", "", "", turn), ("alice", "", "", turn)),
        ("user", ("bob", "", "", turn), ("bob", "", "", other)),
        ("user", ("bob", "", "", turn), ("alice", "", "", turn)),
        ("conversation", ("bob", "", "", turn), ("bob", "", "", other)),
        ("header:X-Session", ("bob", "s1", "", turn), ("bob", "s2", "", turn)),
        ("cookie:sid", ("bob", "", "a=1; sid=s1", turn), ("bob", "", "sid=s2", turn)),
    ] {
        let config = config("", &format!("strategy = \"session\"\nsession_key = \"{key}\""));
        let fleet = Fleet::new(&config);
        let hash = |(who, session_header, cookie, body): (&str, &'static str, &'static str, &str)| {
            let header = |name: &str| match name {
                "x-session" => Some(session_header).filter(|value| !value.is_empty()),
                "cookie" => Some(cookie).filter(|value| !value.is_empty()),
                _ => None,
            };
            let traits = Traits::read(body.as_bytes());
            let facts = Facts {
                asked: "a",
                consumer: consumer(&config, who),
                header: &header,
                prompt_tokens: 0,
                traits: &traits,
            };
            session(fleet.target("a").unwrap(), &facts)
        };
        assert!(hash(same).is_some(), "{key}");
        assert_eq!(hash(same), hash(same), "{key}");
        assert_ne!(hash(same), hash(different), "{key}");
        let lacks = hash(("bob", "", "", "{}"));
        assert_eq!(lacks.is_some(), key == "consumer" || key == "user", "{key}: {lacks:?}");
    }
}

#[test]
fn what_must_be_worked_out_is_what_somebody_asks_for() {
    for (routes, settings, prompt_tokens, traits) in [
        ("", "", false, false),
        ("[[routes]]\nname = \"r\"\nto = \"b\"\nmin_prompt_tokens = 1\n", "", true, false),
        ("[[routes]]\nname = \"r\"\nto = \"b\"\nfeatures = [\"json\"]\n", "", false, true),
        ("[[routes]]\nname = \"r\"\nto = \"b\"\nshare = 0.5\nshare_key = \"user\"\n", "", false, true),
        ("", "strategy = \"session\"\nsession_key = \"conversation\"", false, true),
        ("", "strategy = \"session\"\nsession_key = \"cookie:x\"", false, false),
    ] {
        let config = config(routes, settings);
        assert_eq!(Fleet::new(&config).needs(), Needs { prompt_tokens, traits }, "{routes} {settings}");
    }
}

proptest! {
    /// The definition: a user is in the share when the lowest part of all hashes holds theirs; so shares add up.
    #[test]
    fn one_in_a_share_is_in_every_larger_one(user in 0..1_000_000_u32, share in 1..999_999_u32, more in 1..1_000_000_u32) {
        let larger = (share + more).min(1_000_000);
        let is_in = |millionths: u32| {
            let share = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
            let routes = format!("[[routes]]\nname = \"r\"\nto = \"b\"\nshare = {share}\nshare_key = \"header:x-user\"\n");
            let user = user.to_string();
            decide(&config(&routes, ""), "bob", "a", &[("x-user", user.as_str())], 0, "").1.is_some()
        };
        prop_assert!(!is_in(share) || is_in(larger));
        prop_assert!(is_in(1_000_000));
    }
}
