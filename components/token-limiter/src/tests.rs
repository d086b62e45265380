//! Both routes against counters in memory: the answers, header by header.

use crate::reply::Reply;
use crate::{reserve, settle};
use bytes::Bytes;
use contracts::headers;
use contracts::limiter::{MAX_BATCH, SettleBatch, Settlement};
use futures::executor::block_on;
use gateway_config::{CounterPart, Limit, LimiterConfig, OnStoreError};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use quota::{CounterStore, StoreError};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Ten seconds into a window.
const NOW_MS: u64 = 29_000_000 * 60_000 + 10_000;
const HELLO: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello there"}],"max_tokens":491}"#;
const HELLO_TOKENS: u64 = 500;

#[derive(Default)]
struct Memory {
    counters: RefCell<BTreeMap<String, i64>>,
    is_down: bool,
}

impl Memory {
    fn failure(&self) -> Result<(), StoreError> {
        let error = StoreError { operation: "work", reason: "secret-host is down".to_owned() };
        if self.is_down { Err(error) } else { Ok(()) }
    }
}

impl CounterStore for Memory {
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

fn config(limits: &[(&str, &[CounterPart], u64)], on_store_error: OnStoreError) -> LimiterConfig {
    let limit = |&(name, counter_key, tokens_per_minute): &(&str, &[CounterPart], u64)| Limit {
        name: name.to_owned(),
        counter_key: counter_key.to_vec(),
        tokens_per_minute,
    };
    LimiterConfig { limits: limits.iter().map(limit).collect(), completion_reserve: 1_024, on_store_error }
}

fn ask(memory: &Memory, config: &LimiterConfig, body: &str) -> Reply {
    let mut facts = HeaderMap::new();
    for (name, value) in
        [(headers::CONSUMER, "alice"), (headers::TEAM, "acme"), (headers::MODEL, "gpt-oss:20b")]
    {
        facts.insert(name, HeaderValue::from_static(value));
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let reply = block_on(reserve::reserve(&facts, body, config, memory, || NOW_MS, async || {}));
    reply.unwrap_or_else(|cause| Reply::from(&cause))
}

fn correct(memory: &Memory, body: &str) -> Reply {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    block_on(settle::settle(body, memory)).unwrap_or_else(|cause| Reply::from(&cause))
}

/// Status, the headers as `name: value` lines in the order of their names, and the body.
fn seen(reply: &Reply) -> (u16, Vec<String>, String) {
    let line =
        |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> = reply.headers.iter().map(line).collect();
    lines.retain(|line| !line.starts_with("content-"));
    lines.sort();
    (reply.status.as_u16(), lines, String::from_utf8(reply.body.to_vec()).unwrap())
}

#[test]
fn an_admission_carries_the_reservation_and_the_tightest_limit() {
    let limits: [(&str, &[CounterPart], u64); 2] = [
        ("each", &[CounterPart::Consumer, CounterPart::Model], 20_000),
        ("team", &[CounterPart::Team], 1_200),
    ];
    let (memory, config) = (Memory::default(), config(&limits, OnStoreError::Deny));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    assert_eq!((status, body.as_str()), (204, ""));
    let expected = [
        "x-ratelimit-limit-tokens: 1200",
        "x-ratelimit-remaining-tokens: 700",
        "x-ratelimit-reset-tokens: 1m50s",
        "x-tollgate-prompt-tokens: 9",
        "x-tollgate-reservation: 1;500:each:alice+gpt-oss%3A20b:29000000;500:team:acme:29000000",
    ];
    assert_eq!(headers, expected);
    assert!(memory.counters.borrow().values().all(|&count| count == 500));
}

#[test]
fn a_refusal_says_which_limit_how_full_and_when_to_come_back() {
    let (memory, config) = (Memory::default(), config(&[("each", &[], 1_200)], OnStoreError::Deny));
    ask(&memory, &config, HELLO);
    ask(&memory, &config, HELLO);
    let reply = ask(&memory, &config, HELLO);
    let (status, headers, body) = seen(&reply);
    assert_eq!(status, 429);
    // 1,000 are used: admitted when they weigh 700, 18 s into the next window.
    let expected = [
        "retry-after: 68",
        "x-ratelimit-limit-tokens: 1200",
        "x-ratelimit-remaining-tokens: 200",
        "x-ratelimit-reset-tokens: 1m50s",
    ];
    assert_eq!(headers, expected);
    assert!(body.contains(r#""code":"rate_limit_exceeded""#), "{body}");
    assert!(body.contains(r#"Limit \"each\" allows 1200 tokens in 60 seconds; 1000 are used"#), "{body}");
    assert_eq!(reply.headers["content-length"], body.len().to_string());
}

#[test]
fn a_request_larger_than_a_limit_is_told_not_to_come_back() {
    let (memory, config) =
        (Memory::default(), config(&[("each", &[], HELLO_TOKENS - 1)], OnStoreError::Deny));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    assert_eq!(
        (status, headers),
        (429, vec!["x-ratelimit-limit-tokens: 499".to_owned(), "x-should-retry: false".to_owned()])
    );
    assert!(body.contains("estimated 500 tokens") && body.contains(r#"limit \"each\""#), "{body}");
    assert!(memory.counters.borrow().is_empty());
}

#[test]
fn a_body_that_is_no_chat_request_is_refused_by_its_field() {
    let (memory, config) = (Memory::default(), config(&[("each", &[], 1_200)], OnStoreError::Deny));
    let (status, _, body) = seen(&ask(&memory, &config, r#"{"messages":[{"content":7}]}"#));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"messages[0].content""#), "{body}");
}

#[test]
fn without_limits_everything_is_admitted_unread() {
    let memory = Memory { is_down: true, ..Memory::default() };
    let (status, headers, _) = seen(&ask(&memory, &config(&[], OnStoreError::Deny), "junk"));
    assert_eq!((status, headers), (204, vec![]));
}

#[test]
fn a_dead_store_refuses_or_admits_uncounted_as_configured_and_is_logged() {
    let memory = Memory { is_down: true, ..Memory::default() };
    for (policy, status, header) in [
        (OnStoreError::Deny, 503, "retry-after: 1"),
        (OnStoreError::Allow, 204, "x-tollgate-uncounted: store-error"),
    ] {
        let reply = ask(&memory, &config(&[("each", &[], 1_200)], policy), HELLO);
        let (seen_status, headers, body) = seen(&reply);
        assert_eq!((seen_status, headers), (status, vec![header.to_owned()]));
        assert!(!body.contains("secret-host"), "{body}");
        assert!(reply.log.unwrap().contains("secret-host"));
    }
}

#[test]
fn a_settlement_makes_room_again_or_leaves_a_debt() {
    let config = config(&[("each", &[], 1_200)], OnStoreError::Deny);
    for (used, remaining) in [(0, 700), (100, 600), (500, 200), (700, 0)] {
        let memory = Memory::default();
        let reservation =
            ask(&memory, &config, HELLO).headers[headers::RESERVATION].to_str().unwrap().to_owned();
        let batch = SettleBatch { settlements: vec![Settlement { reservation, tokens: used }] };
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
        r#"{"settlements":[{"reservation":"1;5:a::1","tokens":9},{"reservation":"?","tokens":1}]}"#,
    ));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"settlements[1].reservation""#), "{body}");
    assert_eq!(memory.counters.borrow()["tl:1:a::1"], 4);
}

#[test]
fn a_batch_that_is_none_settles_nothing() {
    let one = r#"{"reservation":"1;5:a::1","tokens":9}"#;
    let too_many = format!(r#"{{"settlements":[{}]}}"#, vec![one; MAX_BATCH + 1].join(","));
    for body in ["", "[]", r#"{"settlements":[{"reservation":"1;5:a::1","tokens":-9}]}"#, &too_many] {
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
    let reply = correct(&memory, r#"{"settlements":[{"reservation":"1;5:a::1","tokens":9}]}"#);
    assert_eq!(seen(&reply).0, 503);
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert!(reply.log.unwrap().contains("1 of 1"));
}
