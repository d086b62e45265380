//! Lookup and store together, against a store in memory.

use crate::entries::fake::Memory;
use crate::*;
use bytes::Bytes;
use futures::executor::block_on;
use openai_types::Usage;

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
const STREAM_REQUEST: &str = r#"{"stream":true,"messages":[{"content":"hi","role":"user"}],"model":"m"}"#;
const COMPLETION: &str = r#"{"id":"c1","object":"chat.completion","created":7,"model":"m", "choices":[{"index":0,"message":{"role":"assistant","content":"Hé"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#;
const TERMS: Terms = Terms { ttl_s: 60, max_entry_bytes: 10_000 };
const NOW_MS: u64 = 1_700_000_000_000;

fn ask(memory: &Memory, tenant: Tenant<'_>, cache_control: CacheControl, body: &str, now_ms: u64) -> Found {
    let question = Question { tenant, model: "m", cache_control, body: body.as_bytes() };
    block_on(lookup(memory, &question, now_ms))
}

fn ask_plainly(memory: &Memory, body: &str, now_ms: u64) -> Found {
    ask(memory, Tenant::Consumer("c"), CacheControl::default(), body, now_ms)
}

fn keep(
    memory: &Memory,
    terms: &Terms,
    key: &CacheKey,
    kind: AnswerKind,
    body: &str,
) -> Result<(), NotCacheable> {
    block_on(store(memory, terms, key, kind, Bytes::copy_from_slice(body.as_bytes()), NOW_MS)).unwrap()
}

/// A store that holds [`COMPLETION`] as the answer to [`REQUEST`], stored at [`NOW_MS`].
fn filled() -> (Memory, CacheKey) {
    let memory = Memory::default();
    let Found::Miss { key, is_expired: false } = ask_plainly(&memory, REQUEST, NOW_MS) else {
        panic!("an empty store has nothing");
    };
    assert_eq!(keep(&memory, &TERMS, &key, AnswerKind::Json, COMPLETION), Ok(()));
    (memory, key)
}

#[test]
fn a_stored_answer_is_a_hit_byte_for_byte_with_one_get_and_one_set() {
    let (memory, _) = filled();
    let usage = Usage { prompt_tokens: 9, completion_tokens: 2, cached_tokens: 4, reasoning_tokens: 0 };
    let hit = Hit { body: COMPLETION.into(), is_stream: false, age_s: 1, usage };
    assert_eq!(ask_plainly(&memory, REQUEST, NOW_MS + 1_999), Found::Hit(hit));
    assert_eq!((memory.gets.get(), memory.sets.get()), (2, 1), "one get each of the miss and the hit");
}

#[test]
fn a_stored_object_is_replayed_to_a_stream_and_a_stored_stream_is_given_as_an_object() {
    let (memory, key) = filled();
    let Found::Hit(hit) = ask_plainly(&memory, STREAM_REQUEST, NOW_MS) else { panic!("the key is the same") };
    assert!(hit.is_stream && hit.body.ends_with(b"data: [DONE]\n\n"));

    let stream = String::from_utf8(replay(COMPLETION.as_bytes(), true).unwrap()).unwrap();
    memory.values.borrow_mut().clear();
    assert_eq!(keep(&memory, &TERMS, &key, AnswerKind::Stream, &stream), Ok(()));
    let Found::Hit(hit) = ask_plainly(&memory, REQUEST, NOW_MS) else { panic!("the key is the same") };
    let body: serde_json::Value = serde_json::from_slice(&hit.body).unwrap();
    assert_eq!(body["choices"][0]["message"]["content"], "Hé");
    assert_eq!(hit.usage.cached_tokens, 4);
}

#[test]
fn nothing_crosses_tenants() {
    let (memory, _) = filled();
    for tenant in [Tenant::Consumer("d"), Tenant::Team("c"), Tenant::Team("")] {
        let found = ask(&memory, tenant, CacheControl::default(), REQUEST, NOW_MS);
        assert!(matches!(found, Found::Miss { .. }), "{tenant:?}");
    }
}

#[test]
fn an_entry_is_served_until_its_time_is_over() {
    let (memory, key) = filled();
    assert!(matches!(ask_plainly(&memory, REQUEST, NOW_MS + 59_999), Found::Hit(_)));
    assert_eq!(ask_plainly(&memory, REQUEST, NOW_MS + 60_000), Found::Miss { key, is_expired: true });
}

#[test]
fn what_is_passed_by_touches_no_store() {
    let (mut memory, key) = filled();
    memory.is_dead = true;
    let (no_store, no_cache) = (
        CacheControl { no_store: true, no_cache: true },
        CacheControl { no_cache: true, ..CacheControl::default() },
    );
    for (control, body, reason, key) in [
        (no_store, REQUEST, Bypass::NoStore, None),
        (no_cache, REQUEST, Bypass::NoCache, Some(key)),
        (no_cache, "{", Bypass::Unreadable(json::JsonError::Syntax { at: 1 }), None),
        (CacheControl::default(), r#"{"store":true}"#, Bypass::ProviderStores, None),
        (
            CacheControl::default(),
            r#"{"a":1,"a":1}"#,
            Bypass::Unreadable(json::JsonError::DuplicateName { at: 13 }),
            None,
        ),
    ] {
        let found = ask(&memory, Tenant::Consumer("c"), control, body, NOW_MS);
        assert_eq!(found, Found::Bypass { reason, key }, "{body}");
    }
}

#[test]
fn a_dead_store_is_told_from_a_miss() {
    let (mut memory, key) = filled();
    memory.is_dead = true;
    assert_eq!(ask_plainly(&memory, REQUEST, NOW_MS), Found::Failed(StoreError("dead".to_owned())));
    let stored = block_on(store(&memory, &TERMS, &key, AnswerKind::Json, COMPLETION.into(), NOW_MS));
    assert_eq!(stored, Err(StoreError("dead".to_owned())));
}

#[test]
fn an_entry_that_cannot_be_read_or_replayed_is_a_miss() {
    let (memory, key) = filled();
    memory.values.borrow_mut().insert(key.store_key(), b"of another version\n{}".to_vec());
    assert_eq!(ask_plainly(&memory, REQUEST, NOW_MS), Found::Miss { key, is_expired: false });

    let odd = COMPLETION.replace(r#""content":"Hé""#, r#""content":"Hé","thinking":"hm""#);
    assert_eq!(keep(&memory, &TERMS, &key, AnswerKind::Json, &odd), Ok(()));
    assert!(matches!(ask_plainly(&memory, REQUEST, NOW_MS), Found::Hit(_)));
    assert_eq!(ask_plainly(&memory, STREAM_REQUEST, NOW_MS), Found::Miss { key, is_expired: false });
}

#[test]
fn what_may_not_be_kept_is_not_set() {
    let (memory, key) = filled();
    let small = Terms { max_entry_bytes: COMPLETION.len() - 1, ..TERMS };
    let exact = Terms { max_entry_bytes: COMPLETION.len(), ..TERMS };
    let stream = String::from_utf8(replay(COMPLETION.as_bytes(), false).unwrap()).unwrap();
    for (terms, kind, body, code) in [
        (&small, AnswerKind::Json, COMPLETION, "too_large"),
        (&TERMS, AnswerKind::Json, "{\"error\":{}}", "error"),
        (&TERMS, AnswerKind::Stream, COMPLETION, "not_done"),
        (&TERMS, AnswerKind::Stream, &stream, "no_usage"),
        (&TERMS, AnswerKind::Json, &stream, "malformed"),
    ] {
        let code_seen = keep(&memory, terms, &key, kind, body).map_err(|reason| reason.code());
        assert_eq!((code_seen, memory.sets.get()), (Err(code), 1), "{body}");
    }
    assert_eq!(keep(&memory, &exact, &key, AnswerKind::Json, COMPLETION), Ok(()));
}

#[test]
fn a_cut_answer_is_kept_only_for_a_request_that_bounds_it() {
    let cut = COMPLETION.replace("\"stop\"", "\"length\"");
    for (bound, is_kept) in [
        ("", false),
        (r#","max_tokens":2"#, true),
        (r#","max_completion_tokens":2"#, true),
        (r#","max_tokens":null"#, false),
        (r#","max_tokens":"2""#, false),
        (r#","max_output_tokens":2"#, false),
    ] {
        let memory = Memory::default();
        let request = REQUEST.replace("}]}", &format!("}}]{bound}}}"));
        let Found::Miss { key, .. } = ask_plainly(&memory, &request, NOW_MS) else { panic!("{bound}") };
        // As it travels to the router and back.
        let key = CacheKey::parse(&key.to_string()).unwrap();
        let kept = keep(&memory, &TERMS, &key, AnswerKind::Json, &cut);
        assert_eq!(kept, if is_kept { Ok(()) } else { Err(NotCacheable::Cut) }, "{bound}");
        assert_eq!(matches!(ask_plainly(&memory, &request, NOW_MS), Found::Hit(_)), is_kept, "{bound}");
    }
}

#[test]
fn content_types_are_read_as_http_means_them() {
    for (value, kind) in [
        ("application/json", Some(AnswerKind::Json)),
        ("Application/JSON; charset=utf-8", Some(AnswerKind::Json)),
        ("text/event-stream;charset=utf-8", Some(AnswerKind::Stream)),
        ("text/html", None),
        ("application/jsonl", None),
        ("", None),
    ] {
        assert_eq!(AnswerKind::of_content_type(value), kind, "{value}");
    }
    assert_eq!(AnswerKind::Json.max_body_bytes(&TERMS), 10_000);
    assert_eq!(AnswerKind::Stream.max_body_bytes(&TERMS), MAX_STREAM_BYTES);
}
