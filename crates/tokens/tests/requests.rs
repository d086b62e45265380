//! Whole request bodies: what they count as, and what is said about those that are none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Value, json};
use tokens::{ChatRequestView, Count, InvalidRequest, count_prompt};

fn count(body: &Value) -> Result<Count, InvalidRequest> {
    let body = body.to_string();
    count_prompt("any", &ChatRequestView::parse(body.as_bytes())?)
}

fn tokens(body: &Value) -> u64 {
    count(body).unwrap().tokens
}

#[test]
fn every_part_of_a_prompt_counts() {
    let overhead = 3 + 4;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    for (body, expected) in [
        (json!({"messages": []}), 3),
        (user(json!("abcdefgh")), overhead + 2),
        (user(json!(null)), overhead),
        (user(json!([])), overhead),
        (user(json!([{"type": "text", "text": "abcdef"}])), overhead + 2),
        (user(json!([{"type": "image_url", "image_url": {"url": "data:…"}}])), overhead + 765),
        (user(json!([{"type": "image_url", "image_url": {"url": "x", "detail": "low"}}])), overhead + 85),
        (user(json!([{"type": "image_url", "image_url": "odd"}])), overhead + 765),
        (user(json!([{"type": "input_audio", "input_audio": {"data": "AAAA"}}])), overhead + 1_000),
        (user(json!([{"type": "new", "text": "abcdef"}])), overhead + 1_002),
        (json!({"messages": [{"role": "user", "name": "ab"}]}), overhead + 1 + 1),
        (json!({"messages": [{"role": "assistant", "tool_calls": [1, 2]}]}), overhead + 2),
        (json!({"messages": [], "tools": ["abcd"], "functions": null, "response_format": {}}), 3 + 2 + 1),
    ] {
        assert_eq!(tokens(&body), expected, "{body}");
    }
}

#[test]
fn a_count_without_a_tokenizer_says_so() {
    assert!(count(&json!({"messages": []})).unwrap().estimated);
}

#[test]
fn the_completion_is_bounded_by_the_newer_field_then_the_older() {
    for (body, max, n) in [
        (r#"{"messages":[]}"#, None, 1),
        (r#"{"messages":[],"max_tokens":7,"n":3}"#, Some(7), 3),
        (r#"{"messages":[],"max_tokens":7,"max_completion_tokens":9}"#, Some(9), 1),
        (r#"{"messages":[],"max_tokens":0,"max_completion_tokens":null,"n":null}"#, Some(0), 1),
    ] {
        let view = ChatRequestView::parse(body.as_bytes()).unwrap();
        assert_eq!((view.max_completion_tokens, view.n), (max, n), "{body}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (body, param) in [
        ("", None),
        ("hello", None),
        ("[]", None),
        ("{", None),
        (r#"{"messages":[}"#, None),
        (r#"{"messages":[],"messages":[]}"#, None),
        ("{}", Some("messages")),
        (r#"{"messages":null}"#, Some("messages")),
        (r#"{"messages":{}}"#, Some("messages")),
        (r#"{"messages":[{},7]}"#, Some("messages[1]")),
        (r#"{"messages":[{"content":7}]}"#, Some("messages[0].content")),
        (r#"{"messages":[{"content":{"text":"x"}}]}"#, Some("messages[0].content")),
        (r#"{"messages":[{"content":[{"type":"text"},{}]}]}"#, Some("messages[0].content[1]")),
        (r#"{"messages":[],"max_tokens":-1}"#, Some("max_tokens")),
        (r#"{"messages":[],"max_tokens":1.5,"max_completion_tokens":1}"#, Some("max_tokens")),
        (r#"{"messages":[],"max_completion_tokens":"9"}"#, Some("max_completion_tokens")),
        (r#"{"messages":[],"n":0}"#, Some("n")),
    ] {
        let result = ChatRequestView::parse(body.as_bytes()).and_then(|view| count_prompt("any", &view));
        let error = result.expect_err(body);
        assert_eq!(error.param.as_deref(), param, "{body}: {error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _counted = ChatRequestView::parse(&body).and_then(|view| count_prompt("any", &view));
    }

    #[test]
    fn a_longer_conversation_never_counts_less(texts in prop::collection::vec(any::<String>(), 1..6)) {
        let messages: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let whole = tokens(&json!({"messages": messages}));
        let shorter = tokens(&json!({"messages": messages[1..]}));
        prop_assert!(whole >= shorter + 4);
    }
}
