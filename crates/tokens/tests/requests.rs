//! Whole request bodies: what they count as, and what is said about those that are none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};
use tiktoken_rs::o200k_base_singleton;
use tokens::{ChatRequestView, Count, InvalidRequest, count_prompt, estimate_prompt};

fn count_bytes(model: &str, body: &[u8]) -> Result<Count, InvalidRequest> {
    block_on(count_prompt(model, &ChatRequestView::parse(body)?, async || {}))
}

fn tokens(model: &str, body: &Value) -> u64 {
    count_bytes(model, body.to_string().as_bytes()).unwrap().tokens
}

fn estimate(body: &Value) -> u64 {
    let body = body.to_string();
    estimate_prompt("any", &ChatRequestView::parse(body.as_bytes()).unwrap()).unwrap().tokens
}

fn tiktoken(text: &str) -> u64 {
    o200k_base_singleton().encode_ordinary(text).len() as u64
}

/// The cookbook's examples, with what the API itself counted (`usage.prompt_tokens`, printed there beside its own count):
/// <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>
#[test]
fn the_api_counted_the_same() {
    let system = |name: &str, content: &str| json!({"role": "system", "name": name, "content": content});
    let jargon = json!({"messages": [
        {"role": "system", "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
        system("example_user", "New synergies will help drive top-line growth."),
        system("example_assistant", "Things working well together will increase revenue."),
        system("example_user", "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."),
        system("example_assistant", "Let's talk later when we're less busy about how to do better."),
        {"role": "user", "content": "This late pivot means we don't have time to boil the ocean for the client deliverable."},
    ]});
    let weather = json!({
        "tools": [{"type": "function", "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location"],
            },
        }}],
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
            {"role": "user", "content": "What's the weather like in San Francisco?"},
        ],
    });
    for (body, model, expected) in [
        (&jargon, "gpt-3.5-turbo", 129),
        (&jargon, "gpt-4", 129),
        (&jargon, "gpt-4o", 124),
        (&jargon, "gpt-4o-mini", 124),
        (&weather, "gpt-3.5-turbo", 105),
        (&weather, "gpt-4", 105),
        (&weather, "gpt-4o", 101),
        (&weather, "gpt-4o-mini", 101),
    ] {
        assert_eq!(tokens(model, body), expected, "{model} {body}");
    }
}

#[test]
fn every_part_of_a_prompt_counts() {
    let overhead = 3 + 3 + 1;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let text = "Fünf Äpfel, 12345 \"Birnen\" 🍐";
    let in_text = tiktoken(text);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    let odd_call = json!({"custom": 1});
    let nested = json!({"type": "array", "items": {"type": "string", "description": "deep"}, "description": "A list."});
    let tool = |properties: Value| {
        let parameters = json!({"type": "object", "properties": properties, "required": ["x"], "additionalProperties": false});
        json!({"messages": [], "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters, "strict": true}}]})
    };
    for (body, expected) in [
        (json!({"messages": []}), 3),
        (user(json!(text)), overhead + in_text),
        (user(json!(null)), overhead),
        (user(json!([])), overhead),
        (
            user(json!([{"type": "text", "text": text}, {"type": "text", "text": text}])),
            overhead + 2 * in_text,
        ),
        (user(json!([{"type": "refusal", "refusal": text}])), overhead + in_text),
        (user(json!([{"type": "image_url", "image_url": {"url": "https://x"}}])), overhead + 1_445),
        (user(json!([{"type": "image_url", "image_url": {"url": "x", "detail": "low"}}])), overhead + 85),
        (user(json!([{"type": "image_url", "image_url": "odd"}])), overhead + 1_445),
        (
            user(
                json!([{"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAAIAAgAAAA=="}}]),
            ),
            overhead + 255,
        ),
        (
            user(json!([{"type": "input_audio", "input_audio": {"data": "A".repeat(10_670 - 11)}}])),
            overhead + 10,
        ),
        (user(json!([{"type": "file", "file": {}}])), overhead + 1_000),
        (user(json!([{"type": "new", "text": text}])), overhead + 1_000 + in_text),
        (json!({"messages": [{"role": text, "name": text}]}), 3 + 3 + 1 + 2 * in_text),
        (json!({"messages": [{}]}), 3 + 3 + 1),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [call]}]}),
            overhead + 3 + 1 + tiktoken(r#"{"x":1}"#),
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [odd_call]}]}),
            overhead + 3 + tiktoken(r#"{"custom":1}"#),
        ),
        (json!({"messages": [], "response_format": {"type": "json_object"}}), 3),
        (
            json!({"messages": [], "response_format": {"type": "json_schema", "json_schema": {"a": [1]}}}),
            3 + tiktoken(r#"{"a":[1]}"#),
        ),
        (json!({"messages": [], "tools": [7], "functions": "abcd"}), 3 + 1 + tiktoken("abcd")),
        (tool(json!({})), 3 + 7 + 12 + tiktoken("f:")),
        (tool(json!({"x": {"type": "string"}})), 3 + 7 + 12 + tiktoken("f:") + 3 + 3 + tiktoken("x:string:")),
        (
            tool(json!({"x": nested})),
            3 + 7
                + 12
                + tiktoken("f:")
                + 3
                + 3
                + tiktoken("x:array:A list")
                + tiktoken("items:")
                + tiktoken(r#"{"description":"deep","type":"string"}"#),
        ),
    ] {
        assert_eq!(tokens("gpt-4o", &body), expected, "{body}");
    }
}

#[test]
fn a_count_says_whether_it_is_an_estimate() {
    for (model, estimated) in [("gpt-4o", false), ("gpt-4", false), ("claude-opus-4-1", true), ("mine", true)]
    {
        assert_eq!(count_bytes(model, br#"{"messages":[]}"#).unwrap().estimated, estimated, "{model}");
    }
    assert_eq!(estimate(&json!({"messages": [{"role": "user", "content": "abcdefgh"}]})), 3 + 3 + 1 + 2);
}

#[test]
fn a_long_prompt_is_counted_in_portions() {
    let body = json!({"messages": [{"role": "user", "content": "word ".repeat(200_000)}]}).to_string();
    let mut pauses = 0;
    let view = ChatRequestView::parse(body.as_bytes()).unwrap();
    block_on(count_prompt("gpt-4o", &view, async || pauses += 1)).unwrap();
    // A portion ends with a word.
    assert!((480..=1_000_000 / 2_048).contains(&pauses), "{pauses}");
}

/// Tokens of a text and the pauses that its count makes.
fn paused(text: &str) -> (u64, u64) {
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let mut pauses = 0;
    let view = ChatRequestView::parse(body.as_bytes()).unwrap();
    let count = block_on(count_prompt("gpt-4o", &view, async || pauses += 1)).unwrap();
    (count.tokens, pauses)
}

/// One long word and long words without sense, for which a prompt has no place to be cut but every 16 KiB: each of these pieces is
/// counted in portions of its own.
#[test]
fn a_prompt_without_words_is_counted_in_portions_too() {
    const PIECE: usize = bpe::MAX_PIECE_BYTES;
    let letters: String = (0..16 * PIECE)
        .map(|at| char::from(b'a' + u8::try_from((at * at * 7_919 + at / 7) % 23).unwrap()))
        .collect();
    for text in ["a".repeat(16 * PIECE), letters] {
        let mut before = paused("");
        for bytes in (PIECE..=text.len()).step_by(PIECE) {
            let now = paused(&text[..bytes]);
            let (tokens, pauses) = (now.0 - before.0, now.1 - before.1);
            // Each byte that is no token's last was merged with the next, and at most 2,048 are between two pauses.
            let merges = PIECE as u64 - tokens;
            assert!(pauses >= merges / 2_048, "{}… at {bytes}: {pauses} pauses, {merges} merges", &text[..8]);
            // Nor is it held up by them: `bpe` does no more than five times the work of ordinary text.
            assert!(pauses <= 5 * PIECE as u64 / 2_048, "{}… at {bytes}: {pauses} pauses", &text[..8]);
            before = now;
        }
    }
}

#[test]
fn the_completion_is_bounded_by_either_field_and_where_both_are_given_by_the_larger() {
    for (body, max, n) in [
        (r#"{"messages":[]}"#, None, 1),
        (r#"{"messages":[],"max_tokens":7,"n":3}"#, Some(7), 3),
        (r#"{"messages":[],"max_tokens":7,"max_completion_tokens":9}"#, Some(9), 1),
        (r#"{"messages":[],"max_tokens":9,"max_completion_tokens":7}"#, Some(9), 1),
        (r#"{"messages":[],"max_completion_tokens":7}"#, Some(7), 1),
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
        let error = count_bytes("any", body.as_bytes()).expect_err(body);
        assert_eq!(error.param.as_deref(), param, "{body}: {error}");
    }
}

/// Requests with every field in forms that it may and may not have.
fn any_request() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let known = prop::sample::select(vec![
        "role",
        "content",
        "name",
        "type",
        "text",
        "image_url",
        "url",
        "detail",
        "tool_calls",
        "function",
        "arguments",
        "parameters",
        "properties",
        "enum",
        "description",
        "messages",
        "tools",
        "functions",
        "response_format",
        "x",
    ]);
    let value = leaf.prop_recursive(6, 60, 5, move |inner| {
        let object = prop::collection::vec((known.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            object.prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    });
    prop::collection::vec(value, 5).prop_map(|values| {
        let names = ["messages", "tools", "functions", "response_format", "n"];
        names.into_iter().map(str::to_owned).zip(values).collect()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _counted = count_bytes("gpt-4o", &body);
    }

    #[test]
    fn arbitrary_requests_never_panic(request in any_request(), model in prop::sample::select(vec!["gpt-4o", "gpt-4", "claude", "x"])) {
        let body = request.to_string();
        let _counted = count_bytes(model, body.as_bytes());
        let _estimated = ChatRequestView::parse(body.as_bytes()).and_then(|view| estimate_prompt(model, &view));
    }

    #[test]
    fn a_text_counts_as_tiktoken_counts_it(text in any::<String>()) {
        let body = json!({"messages": [{"role": "user", "content": &text}]});
        prop_assert_eq!(tokens("gpt-4o", &body), 3 + 3 + 1 + tiktoken(&text));
        let ascii: String = body.to_string().encode_utf16().map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        }).collect();
        prop_assert_eq!(count_bytes("gpt-4o", ascii.as_bytes()).unwrap().tokens, tokens("gpt-4o", &body));
    }

    #[test]
    fn a_longer_conversation_never_counts_less(texts in prop::collection::vec(any::<String>(), 1..6)) {
        let messages: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
        for model in ["gpt-4o", "claude"] {
            let whole = tokens(model, &json!({"messages": messages}));
            let shorter = tokens(model, &json!({"messages": messages[1..]}));
            prop_assert!(whole >= shorter + 4);
        }
    }
}

#[test]
fn deeply_nested_requests_neither_panic_nor_overflow_the_stack() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for nested in [deep("[", "]"), deep("{\"parameters\":", "}"), deep("{\"properties\":{\"items\":", "}}")] {
        for body in [
            format!(r#"{{"messages":[],"tools":[{{"function":{nested}}}]}}"#),
            format!(r#"{{"messages":[],"functions":{nested}}}"#),
            format!(r#"{{"messages":[],"response_format":{nested}}}"#),
            format!(r#"{{"messages":[{{"tool_calls":{nested},"name":{nested}}}]}}"#),
            format!(r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{nested}}}]}}]}}"#),
        ] {
            assert!(count_bytes("gpt-4o", body.as_bytes()).unwrap().tokens > 0);
        }
    }
}
