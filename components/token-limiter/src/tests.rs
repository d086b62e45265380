//! Both routes against counters in memory: the answers, header by header.

use crate::admin::{self, Deed, Page};
use crate::error::Cause;
use crate::events::Asked;
use crate::keeper::Keeper;
use crate::reply::Reply;
use crate::{alerts, reserve, settle};
use bytes::Bytes;
use contracts::event::{Amount, What};
use contracts::limiter::{MAX_BATCH, SettleBatch, SettleOutcome, SettledUsage, Settlement};
use contracts::{Event, headers};
use futures::executor::block_on;
use gateway_config::{LimiterConfig, OnStoreError};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use quota::{CounterStore, ScriptStore, StoreError};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Ten seconds into a window.
const NOW_MS: u64 = 29_000_000 * 60_000 + 10_000;
const HELLO: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello there"}],"max_tokens":491}"#;

#[derive(Default)]
struct Memory {
    counters: RefCell<BTreeMap<String, i64>>,
    texts: RefCell<BTreeMap<String, String>>,
    is_down: bool,
}

impl Memory {
    fn failure(&self) -> Result<(), StoreError> {
        let error = StoreError { operation: "work", reason: "secret-host is down".to_owned() };
        if self.is_down { Err(error) } else { Ok(()) }
    }
}

impl CounterStore for Memory {
    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.failure().map(|()| self.texts.borrow().get(key).cloned())
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.failure().map(|()| drop(self.texts.borrow_mut().insert(key.to_owned(), text.to_owned())))
    }

    async fn pause(&self, _: u64) {}

    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        self.failure().map(|()| self.counters.borrow().get(key).copied().unwrap_or(0))
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        self.failure()?;
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry(key.to_owned()).or_default();
        *counter += delta;
        Ok(*counter)
    }
}

/// No test here runs scripts: those of `quota` do, on a real Redis.
struct NoScripts;

impl ScriptStore for NoScripts {
    async fn eval(&self, _: &str, _: &[String], _: &[String]) -> Result<Vec<i64>, StoreError> {
        Err(StoreError { operation: "run a script", reason: "there is nobody to run it".to_owned() })
    }
}

fn kept(memory: &Memory) -> Keeper<'_, Memory, NoScripts> {
    Keeper::Counters(memory)
}

/// Rules, and what follows them in a document.
fn config(rules: &[(&str, &str)], rest: &str) -> LimiterConfig {
    let rule = |(name, rule): &(&str, &str)| format!("[[limits]]\nname = \"{name}\"\n{rule}\n");
    let document = format!("{}\n[cache]\n{rest}", rules.iter().map(rule).collect::<String>());
    LimiterConfig::parse(&document).unwrap_or_else(|problems| panic!("{problems}"))
}

/// One rule for everybody.
fn all(amounts: &str) -> LimiterConfig {
    config(&[("all", &format!("counter_key = []\n{amounts}"))], "")
}

fn ask<'c>(memory: &Memory, config: &'c LimiterConfig, body: &str) -> Reply<'c> {
    let mut facts = HeaderMap::new();
    for (name, value) in
        [(headers::CONSUMER, "alice"), (headers::TEAM, "acme"), (headers::MODEL, "gpt-oss:20b")]
    {
        facts.insert(name, HeaderValue::from_static(value));
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let reply = block_on(reserve::reserve(&facts, body, config, &kept(memory), || NOW_MS, async || {}));
    reply.unwrap_or_else(|cause| Reply { alerts: cause.alerts(), ..Reply::from(&cause) })
}

fn correct(memory: &Memory, body: &str) -> Reply<'static> {
    let config = Box::leak(Box::new(all("tokens_per_minute = 1")));
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    block_on(settle::settle(body, config, &kept(memory))).unwrap_or_else(|cause| Reply::from(&cause))
}

/// Status, the headers as `name: value` lines in the order of their names, and the body.
fn seen(reply: &Reply<'_>) -> (u16, Vec<String>, String) {
    let line =
        |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> = reply.headers.iter().map(line).collect();
    lines.retain(|line| !line.starts_with("content-"));
    lines.sort();
    (reply.status.as_u16(), lines, String::from_utf8(reply.body.to_vec()).unwrap())
}

#[test]
fn an_admission_carries_the_reservation_and_the_tightest_limits() {
    let rules = [
        (
            "each",
            "counter_key = [\"consumer\", \"model\"]\ntokens_per_minute = 20_000\nrequests_per_minute = 3",
        ),
        ("team", "counter_key = [\"team\"]\ntokens_per_minute = 1_200"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    assert_eq!((status, body.as_str()), (204, ""));
    let expected = [
        "x-ratelimit-consumed-tokens: 500",
        "x-ratelimit-limit-requests: 3",
        "x-ratelimit-limit-tokens: 1200",
        "x-ratelimit-remaining-requests: 2",
        "x-ratelimit-remaining-tokens: 700",
        "x-ratelimit-reset-requests: 1m50s",
        "x-ratelimit-reset-tokens: 1m50s",
        "x-tollgate-for-client: x-ratelimit-limit-tokens,x-ratelimit-remaining-tokens,x-ratelimit-reset-tokens,\
         x-ratelimit-limit-requests,x-ratelimit-remaining-requests,x-ratelimit-reset-requests,\
         x-ratelimit-consumed-tokens",
        "x-tollgate-prompt-tokens: 9",
        "x-tollgate-reservation: 2;500:each:mt:alice+gpt-oss%3A20b:29000000:29000001;\
         1:each:mn:alice+gpt-oss%3A20b:29000000:29000001;500:team:mt:acme:29000000:29000001",
    ];
    assert_eq!(headers, expected);
}

#[test]
fn headers_have_the_names_that_the_document_gives_them() {
    let rules = [("all", "counter_key = []\ntokens_per_minute = 1_200")];
    let names = "[limiter.headers]\nlimit_tokens = \"X-Size\"\nconsumed_tokens = \"x-taken\"";
    let config = config(&rules, names);
    let reply = ask(&Memory::default(), &config, HELLO);
    assert_eq!(
        (&reply.headers["x-size"], &reply.headers["x-taken"]),
        (&"1200".parse().unwrap(), &"500".parse().unwrap())
    );
    let for_client = reply.headers["x-tollgate-for-client"].to_str().unwrap();
    assert_eq!(for_client, "x-size,x-ratelimit-remaining-tokens,x-ratelimit-reset-tokens,x-taken");
}

#[test]
fn a_refusal_says_which_limit_how_full_and_when_to_come_back() {
    // Asked until it is refused.
    for (amounts, code, message, expected) in [
        (
            "tokens_per_minute = 1_200",
            "rate_limit_exceeded",
            r#"Limit \"all\" allows 1200 tokens in 60 seconds; 1000 are used and this request needs an estimated 500."#,
            // 1,000 are used: admitted when they weigh 700, 18 s into the next window.
            &["retry-after: 68", "x-ratelimit-limit-tokens: 1200", "x-ratelimit-remaining-tokens: 200"][..],
        ),
        (
            "requests_per_minute = 2",
            "rate_limit_exceeded",
            r#"allows 2 requests in 60 seconds; 2 are used and this request needs an estimated 1."#,
            &["retry-after: 80", "x-ratelimit-limit-requests: 2", "x-ratelimit-remaining-requests: 0"],
        ),
        (
            "request_quota = 1\nperiod = \"hour\"",
            "insufficient_quota",
            r#"allows 1 requests in its window; 1 are used and this request needs an estimated 1."#,
            &["retry-after: 2390", "x-should-retry: false", "x-ratelimit-reset-requests: 39m50s"],
        ),
        (
            "max_parallel = 1",
            "rate_limit_exceeded",
            r#"Limit \"all\" allows 1 requests at the same time; 1 are running."#,
            &["retry-after: 1"],
        ),
    ] {
        let (memory, config) = (Memory::default(), all(amounts));
        let reply = (0..9).map(|_| ask(&memory, &config, HELLO)).find(|reply| reply.status != 204).unwrap();
        let (status, headers, body) = seen(&reply);
        assert_eq!(status, 429);
        for line in expected {
            assert!(headers.iter().any(|header| header == line), "{line} is not in {headers:?}");
        }
        assert!(body.contains(&format!(r#""code":"{code}""#)), "{body}");
        assert!(body.contains(message), "{body}");
        assert_eq!(reply.headers["content-length"], body.len().to_string());
    }
}

#[test]
fn a_request_larger_than_a_limit_is_told_not_to_come_back() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 499"));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    let expected = [
        "x-ratelimit-limit-tokens: 499",
        "x-should-retry: false",
        "x-tollgate-for-client: x-ratelimit-limit-tokens",
    ];
    assert_eq!((status, headers), (429, expected.map(str::to_owned).to_vec()));
    assert!(body.contains("estimated 500 tokens") && body.contains(r#"limit \"all\""#), "{body}");
    assert!(memory.counters.borrow().is_empty());
}

#[test]
fn a_rule_that_observes_refuses_nothing_and_says_so_in_the_log() {
    let (memory, config) = (Memory::default(), all("requests_per_minute = 1\nmode = \"observe\""));
    assert_eq!(ask(&memory, &config, HELLO).log, None);
    let reply = ask(&memory, &config, HELLO);
    assert_eq!(reply.status, 204);
    assert_eq!(reply.log.as_deref(), Some("observe limit=all kind=mn would refuse: used=1 size=1"));
    assert_eq!(reply.headers[headers::OBSERVED], "all");
}

/// What a reply leaves to be told.
fn told(memory: &Memory, config: &LimiterConfig, reply: &Reply<'_>) -> (Vec<Event>, Option<String>) {
    let asked = Asked { request_id: "r".to_owned(), team: "acme".to_owned() };
    block_on(alerts::tell(&kept(memory), config, &reply.alerts, &asked, NOW_MS))
}

/// Asks, and settles to so many tokens.
fn take<'c>(memory: &Memory, config: &'c LimiterConfig, prompt_tokens: u64) -> Reply<'c> {
    let reply = ask(memory, config, HELLO);
    assert_eq!(reply.alerts, vec![], "an estimate is no use");
    let reservation = reply.headers[headers::RESERVATION].to_str().unwrap();
    let usage = format!(r#"{{"prompt_tokens":{prompt_tokens}}}"#);
    let body =
        format!(r#"{{"settlements":[{{"reservation":"{reservation}","outcome":"used","usage":{usage}}}]}}"#);
    block_on(settle::settle(Full::new(Bytes::from(body)), config, &kept(memory))).unwrap()
}

#[test]
fn a_threshold_is_told_once_in_a_window_when_it_is_really_used() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 1_200\nalert_at = [0.4, 0.8]"));
    assert_eq!(told(&memory, &config, &take(&memory, &config, 20)), (vec![], None), "500 were reserved");
    for (at, used) in [(400, 500), (800, 1_000)] {
        let held = memory.counters.borrow().values().max().copied().unwrap();
        let took = used - u64::try_from(held).unwrap();
        let (events, log) = told(&memory, &config, &take(&memory, &config, took));
        let line = format!("alert limit=all kind=mt at={at}/1000 used={used} size=1200");
        assert_eq!(log, Some(line));
        let [Event { event_id, request_id, team, limit, amount, counter, what: What::Alert(alert), .. }] =
            &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(*event_id, format!("alert:tl:2:all:mt::29000000.a{at}:29000001"));
        let texts = [request_id.as_str(), team, limit, counter];
        assert_eq!((texts, *amount), (["r", "acme", "all", ""], Amount::TokensPerMinute));
        assert_eq!((alert.threshold_permille, alert.used, alert.size), (at, used, 1_200));
        let window = (29_000_000 * 60_000, 29_000_001 * 60_000);
        assert_eq!((alert.window_start_ms, alert.window_end_ms), window);
    }
    // Below and above once more.
    memory.counters.borrow_mut().insert("tl:2:all:mt::29000000:29000001".to_owned(), 0);
    assert_eq!(told(&memory, &config, &take(&memory, &config, 999)), (vec![], None));
}

#[test]
fn every_threshold_that_a_settlement_finds_reached_is_told() {
    let config = all("token_quota = 1_200\nperiod = \"week\"\nalert_at = [0.4, 0.8, 1.2]");
    let (memory, at) = (Memory::default(), |alerts: &[quota::Alert<'_>]| {
        alerts.iter().map(|alert| alert.permille).collect::<Vec<_>>()
    });
    assert_eq!(at(&take(&memory, &config, 100).alerts), [0_u64; 0]);
    assert_eq!(at(&take(&memory, &config, 1_500).alerts), [400, 800, 1_200]);
}

#[test]
fn a_limit_that_refuses_is_used_up_whatever_is_left() {
    let (memory, config) =
        (Memory::default(), all("token_quota = 1_200\nperiod = \"month\"\nalert_at = [0.9, 1.0]"));
    take(&memory, &config, 1_000);
    let at = || {
        let (events, _) = told(&memory, &config, &ask(&memory, &config, HELLO));
        let alert = |event: &Event| match &event.what {
            What::Alert(alert) => (alert.threshold_permille, alert.used),
            other => panic!("{other:?}"),
        };
        events.iter().map(alert).collect::<Vec<_>>()
    };
    assert_eq!(at(), [(1_000, 1_000)], "900 thousandths are not reached");
    assert_eq!(at(), [], "once");
}

#[test]
fn a_refusal_says_of_tokens_and_of_requests_how_the_tightest_limits_stand() {
    let rules = [
        ("wide", "counter_key = [\"consumer\"]\ntokens_per_minute = 20_000\nrequests_per_minute = 7"),
        ("tight", "counter_key = [\"team\"]\ntokens_per_minute = 5_000\nrequests_per_minute = 2"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    let reply = (0..9).map(|_| ask(&memory, &config, HELLO)).find(|reply| reply.status != 204).unwrap();
    let (status, headers, _) = seen(&reply);
    assert_eq!(status, 429);
    for line in [
        "x-ratelimit-limit-requests: 2",
        "x-ratelimit-remaining-requests: 0",
        "x-ratelimit-reset-requests: 1m50s",
        "x-ratelimit-limit-tokens: 5000",
        "x-ratelimit-remaining-tokens: 4000",
        "x-ratelimit-reset-tokens: 1m50s",
    ] {
        assert!(headers.iter().any(|header| header == line), "{line} is not in {headers:?}");
    }
}

#[test]
fn an_alert_names_its_window_whatever_its_kind() {
    const DAY_MS: u64 = 86_400_000;
    let day = NOW_MS / DAY_MS * DAY_MS;
    for (amounts, amount, window) in [
        ("request_quota = 1\nperiod = \"day\"", Amount::RequestQuota, (day, day + DAY_MS)),
        (
            "request_quota = 1\nperiod = \"hour\"\nwindow = \"rolling\"",
            Amount::RequestQuota,
            (NOW_MS, NOW_MS + 3_600_000),
        ),
        ("max_parallel = 1\nlease_s = 40", Amount::MaxParallel, (NOW_MS, NOW_MS + 10_000)),
    ] {
        let (memory, config) = (Memory::default(), all(&format!("{amounts}\nalert_at = [1.0]")));
        let (events, _) = told(&memory, &config, &ask(&memory, &config, HELLO));
        let [Event { amount: told, what: What::Alert(alert), .. }] = &events[..] else {
            panic!("{amounts}: {events:?}")
        };
        let seen = (*told, (alert.window_start_ms, alert.window_end_ms));
        assert_eq!(seen, (amount, window), "{amounts}");
    }
}

#[test]
fn use_beyond_the_reservation_is_told_when_it_is_settled() {
    let memory = Memory::default();
    let config = all("token_quota = 1_200\nperiod = \"day\"\nalert_at = [0.5]");
    let reservation = ask(&memory, &config, HELLO).headers[headers::RESERVATION].to_str().unwrap().to_owned();
    let body = format!(
        r#"{{"settlements":[{{"reservation":"{reservation}","outcome":"used","usage":{{"prompt_tokens":700}}}}]}}"#
    );
    let reply = block_on(settle::settle(Full::new(Bytes::from(body)), &config, &kept(&memory))).unwrap();
    let (events, _) = told(&memory, &config, &reply);
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_path_of_the_operators_pages_names_a_page_and_a_counter() {
    for (path, page) in [
        ("/admin/limits", Some(Page::Rules)),
        ("/admin/limits/", Some(Page::Rules)),
        ("/admin/limits/all", Some(Page::Counter("all"))),
        ("/admin/limits/m:openai/gpt-4o", Some(Page::Counter("m:openai/gpt-4o"))),
        ("/admin/limits/m:openai/gpt-4o/reset", Some(Page::Reset("m:openai/gpt-4o"))),
        ("/admin/limitsx", None),
        ("/reserve", None),
    ] {
        assert_eq!(Page::at(path), page, "{path}");
    }
}

fn stands(memory: &Memory, config: &LimiterConfig, name: &str) -> (u16, serde_json::Value) {
    let reply = block_on(admin::counter(name, config, &kept(memory), NOW_MS))
        .unwrap_or_else(|cause| Reply::from(&cause));
    (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn a_counter_is_found_by_its_values_and_by_what_events_call_it() {
    let long = "l".repeat(80);
    let rules = [
        ("two", "counter_key = [\"team\", \"user\"]\nrequests_per_minute = 3"),
        ("one", "counter_key = [\"user\"]\nrequests_per_minute = 3"),
        ("none", "counter_key = []\nrequests_per_minute = 3"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    for user in ["a+b %", &long] {
        let body = format!(r#"{{"messages":[],"user":"{user}"}}"#);
        assert_eq!(ask(&memory, &config, &body).status, 204);
    }
    let hashed = quota::Counter::new("one", quota::Kind::of(&config.limits[1].checks[0]), [long.as_str()]);
    for (name, used) in [
        ("two:acme+a%2Bb%20%25", 1),
        ("two%3Aacme+a%2Bb%20%25", 1),
        ("two:acme+", 0),
        (&format!("one:{long}"), 1),
        (&format!("one:{}", hashed.value()), 1),
        ("none", 2),
        ("none:", 2),
    ] {
        let (status, state) = stands(&memory, &config, name);
        assert_eq!((status, &state["amounts"][0]["used"]), (200, &used.into()), "{name} {state}");
    }
    for (name, status) in [
        ("gone:acme", 404),
        ("one:%", 404),
        ("one:%+1", 404),
        ("one:%FF", 404),
        ("one:~0123456789abcdef0123456789abcde:", 404),
        ("", 404),
        ("one", 400),
        ("two:acme", 400),
        ("two:acme+a+b", 400),
        ("none:x", 400),
    ] {
        assert_eq!(stands(&memory, &config, name).0, status, "{name}");
    }
}

#[test]
fn a_reset_makes_room_and_is_audited() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 600\nrequests_per_minute = 5"));
    assert_eq!(ask(&memory, &config, HELLO).status, 204);
    assert_eq!(ask(&memory, &config, HELLO).status, 429);
    let deed = || Deed { id: "1".to_owned(), address: "10.0.0.9".to_owned(), at_ms: NOW_MS };
    let mut told = Vec::new();
    let tell = async |events: &[Event]| {
        told.extend(events.to_vec());
        true
    };
    let reply = block_on(admin::reset("all", &config, &kept(&memory), deed(), tell)).unwrap();
    let log = "audit reset limit=all counter= by=admin address=10.0.0.9 before mt=500 mn=1 recorded=true";
    assert_eq!(reply.log.as_deref(), Some(log));
    let state: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&state["recorded"], &state["amounts"][0]["used_before"]), (&true.into(), &500.into()));
    assert_eq!(state["amounts"][0]["used"], 0);
    let audit = |event: &Event| match &event.what {
        What::Audit(audit) => (event.amount, audit.before, audit.after, audit.address.clone()),
        What::Alert(_) => panic!("{event:?}"),
    };
    let address = || "10.0.0.9".to_owned();
    assert_eq!(
        told.iter().map(audit).collect::<Vec<_>>(),
        [(Amount::TokensPerMinute, 500, 0, address()), (Amount::RequestsPerMinute, 1, 0, address())]
    );
    assert_eq!(ask(&memory, &config, HELLO).status, 204, "there is room again");

    let unheard =
        block_on(admin::reset("all", &config, &kept(&memory), deed(), async |_: &[Event]| false)).unwrap();
    assert!(unheard.log.unwrap().ends_with("recorded=false"), "a deed is logged all the same");
    let nobody =
        block_on(admin::reset("x", &config, &kept(&memory), deed(), async |_: &[Event]| panic!("told")));
    assert!(matches!(nobody, Err(Cause::UnknownCounter { .. })));
}

#[test]
fn the_upstream_models_tokenizer_counts() {
    let config = all("tokens_per_minute = 100_000");
    let prompt = |upstream: Option<&'static str>| {
        let mut facts = HeaderMap::new();
        facts.insert(headers::MODEL, HeaderValue::from_static("fast"));
        facts.extend(upstream.map(|name| {
            (headers::UPSTREAM_MODEL.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(name))
        }));
        let text = "Ünïcödé wörds, 1234567890, ".repeat(20);
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let body = Full::new(Bytes::from(body));
        let reply = block_on(reserve::reserve(
            &facts,
            body,
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        reply.unwrap().headers[headers::PROMPT_TOKENS].to_str().unwrap().parse::<u64>().unwrap()
    };
    assert_ne!(prompt(Some("gpt-4o")), prompt(Some("gpt-4")), "they count differently");
    assert_ne!(prompt(None), prompt(Some("gpt-4o")));
}

#[test]
fn a_route_to_or_from_a_listed_model_does_not_lead_around_the_rule() {
    let rules = [(
        "own",
        "counter_key = [\"model\", \"pool\"]\nmatch = { models = [\"m\"] }\nrequests_per_minute = 3",
    )];
    let config = config(&rules, "");
    for (asked, served, counter) in [
        ("m", "m", Some("m+p")),
        ("m", "other", Some("m+p")),
        ("other", "m", Some("other+p")),
        ("m", "", Some("m+p")),
        ("other", "other", None),
    ] {
        let mut facts = HeaderMap::new();
        for (name, value) in [(headers::MODEL, asked), (headers::SERVED_MODEL, served), (headers::POOL, "p")]
        {
            facts.insert(name, HeaderValue::from_static(value));
        }
        let reply = block_on(reserve::reserve(
            &facts,
            Full::new(Bytes::from(r#"{"messages":[]}"#)),
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        let headers = reply.unwrap().headers;
        let reservation = headers.get(headers::RESERVATION).map(|text| text.to_str().unwrap());
        let expected = counter.map(|counter| format!("2;1:own:mn:{counter}:29000000:29000001"));
        assert_eq!(reservation, expected.as_deref(), "{asked} {served}");
    }
}

#[test]
fn the_user_and_the_clients_headers_have_counters_of_their_own() {
    let rules =
        [("own", "counter_key = [\"user\", \"header:x-project\", \"client_ip\"]\nrequests_per_minute = 3")];
    let config = config(&rules, "");
    let mut facts = HeaderMap::new();
    for (name, value) in [("x-tollgate-header-x-project", "pö"), (headers::CLIENT_IP, "10.0.0.1")] {
        facts.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    for (user, expected) in [(r#","user":"ünal""#, "%C3%BCnal"), ("", ""), (r#","user":7"#, "")] {
        let body = format!(r#"{{"messages":[]{user}}}"#);
        let reservation = block_on(reserve::reserve(
            &facts,
            Full::new(Bytes::from(body)),
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        let headers = reservation.unwrap().headers;
        let text = headers[headers::RESERVATION].to_str().unwrap();
        assert_eq!(text, format!("2;1:own:mn:{expected}+10.0.0.1+p%C3%B6:29000000:29000001"));
    }
}

#[test]
fn a_body_that_is_no_chat_request_is_refused_by_its_field() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 1_200"));
    let (status, _, body) = seen(&ask(&memory, &config, r#"{"messages":[{"content":7}]}"#));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"messages[0].content""#), "{body}");
}

#[test]
fn without_limits_everything_is_admitted_unread() {
    let memory = Memory { is_down: true, ..Memory::default() };
    let (status, headers, _) = seen(&ask(&memory, &LimiterConfig::default(), "junk"));
    assert_eq!((status, headers), (204, vec![]));
}

#[test]
fn a_dead_store_refuses_or_admits_uncounted_as_configured_and_is_logged() {
    let memory = Memory { is_down: true, ..Memory::default() };
    for (policy, status, header) in [
        (OnStoreError::Deny, 503, "retry-after: 1"),
        (OnStoreError::Allow, 204, "x-tollgate-uncounted: store-error"),
    ] {
        let config = LimiterConfig { on_store_error: policy, ..all("tokens_per_minute = 1_200") };
        let reply = ask(&memory, &config, HELLO);
        let (seen_status, headers, body) = seen(&reply);
        assert_eq!((seen_status, headers), (status, vec![header.to_owned()]));
        assert!(!body.contains("secret-host"), "{body}");
        assert!(reply.log.unwrap().contains("secret-host"));
    }
}

#[test]
fn a_settlement_makes_room_again_or_leaves_a_debt() {
    let config = all("tokens_per_minute = 1_200");
    for (used, remaining) in [(0, 700), (100, 600), (500, 200), (700, 0)] {
        let memory = Memory::default();
        let reservation =
            ask(&memory, &config, HELLO).headers[headers::RESERVATION].to_str().unwrap().to_owned();
        let settlement = Settlement {
            reservation,
            outcome: SettleOutcome::Used,
            usage: SettledUsage { prompt_tokens: used, ..SettledUsage::default() },
            model: String::new(),
            deployment: String::new(),
            retried: Vec::new(),
        };
        let batch = SettleBatch { settlements: vec![settlement] };
        assert_eq!(correct(&memory, &serde_json::to_string(&batch).unwrap()).status, 204);
        let reply = ask(&memory, &config, HELLO);
        assert_eq!(reply.headers["x-ratelimit-remaining-tokens"], remaining.to_string(), "{used}");
    }
}

#[test]
fn a_wrong_settlement_is_named_and_the_others_are_made() {
    let memory = Memory::default();
    let (status, _, body) = seen(&correct(
        &memory,
        r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"used","usage":{"completion_tokens":9}},{"reservation":"?","outcome":"returned"}]}"#,
    ));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"settlements[1].reservation""#), "{body}");
    assert_eq!(memory.counters.borrow()["tl:2:a:mt::1:2"], 4);
}

#[test]
fn a_batch_that_is_none_settles_nothing() {
    let one = r#"{"reservation":"2;5:a:mt::1:2","outcome":"returned"}"#;
    let too_many = format!(r#"{{"settlements":[{}]}}"#, vec![one; MAX_BATCH + 1].join(","));
    for body in ["", "[]", r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"lost"}]}"#, &too_many]
    {
        let memory = Memory::default();
        let (status, _, answer) = seen(&correct(&memory, body));
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("Nothing was settled."), "{answer}");
        assert!(memory.counters.borrow().is_empty());
    }
}

#[test]
fn a_settlement_that_the_store_does_not_take_is_not_to_be_repeated() {
    let memory = Memory { is_down: true, ..Memory::default() };
    let reply = correct(&memory, r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"returned"}]}"#);
    assert_eq!(seen(&reply).0, 503);
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert!(reply.log.unwrap().contains("1 of 1"));
}
