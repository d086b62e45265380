use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const HEAD: &str = r#""id":"c1","object":"chat.completion.chunk","created":7,"model":"m""#;
const DONE: &str = "data: [DONE]\n\n";

fn event(choices: &str) -> String {
    format!("data: {{{HEAD},\"choices\":[{choices}]}}\n\n")
}

/// A stream of chunks of choice 0: each delta, then a finish, then `[DONE]`.
fn of_deltas(deltas: &[&str]) -> String {
    let events =
        deltas.iter().map(|delta| event(&format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#)));
    let finish = event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
    events.chain([finish, DONE.to_owned()]).collect()
}

fn assembled(stream: &str) -> Value {
    let body = assemble(stream.as_bytes()).unwrap_or_else(|reason| panic!("{reason}: {stream}"));
    Json::parse(&body).expect("no name stands twice");
    serde_json::from_slice(&body).unwrap()
}

fn message(deltas: &[&str]) -> Value {
    assembled(&of_deltas(deltas))["choices"][0]["message"].take()
}

fn reason(stream: &str) -> NotCacheable {
    assemble(stream.as_bytes()).expect_err(stream)
}

#[test]
fn a_stream_of_openai_becomes_its_completion() {
    let stream = [
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x"}"#,
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":"H\u00e9"},"logprobs":{"content":[{"token":"H\u00e9","logprob":-0.10}],"refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"yy"}"#,
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":" \"you\""},"logprobs":{"content":[{"token":" you","logprob":-1e-5}],"refusal":null},"finish_reason":null}],"usage":null,"obfuscation":""}"#,
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
        r#"data: {"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        "data: [DONE]",
        "",
    ]
    .join("\n\n");
    let expected = r#"{"id":"c1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hé \"you\"","refusal":null},"logprobs":{"content":[{"token":"Hé","logprob":-0.10},{"token":" you","logprob":-1e-5}],"refusal":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2},"service_tier":"default","system_fingerprint":"fp"}"#;
    assert_eq!(String::from_utf8(assemble(stream.as_bytes()).unwrap()).unwrap(), expected);
    let crlf = format!(": keepalive\r\n\r\n{}", stream.replace('\n', "\r\n"));
    assert_eq!(String::from_utf8(assemble(crlf.as_bytes()).unwrap()).unwrap(), expected);
}

#[test]
fn a_stream_of_azure_becomes_its_completion() {
    let safe = r#"{"hate":{"filtered":false,"severity":"safe"}}"#;
    let low = r#"{"hate":{"filtered":false,"severity":"low"},"violence":{"filtered":false}}"#;
    let stream = [
        r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#.to_owned(),
        event(r#"{"index":0,"content_filter_results":{},"delta":{"role":"assistant","content":""},"finish_reason":null}"#),
        event(&format!(r#"{{"index":0,"content_filter_results":{safe},"delta":{{"content":"a"}}}}"#)),
        event(&format!(r#"{{"index":0,"content_filter_results":{low},"delta":{{"content":"b"}}}}"#)),
        event(r#"{"index":0,"content_filter_results":{},"delta":{},"finish_reason":"stop"}"#),
        DONE.to_owned(),
    ]
    .join("\n\n");
    let completion = assembled(&stream);
    assert_eq!(completion["id"], "c1");
    assert_eq!((&completion["created"], &completion["model"]), (&json!(7), &json!("m")));
    assert_eq!(completion["prompt_filter_results"], json!([{"prompt_index": 0}]));
    assert_eq!(
        completion["choices"][0]["content_filter_results"],
        serde_json::from_str::<Value>(low).unwrap()
    );
    assert_eq!(completion["choices"][0]["message"]["content"], "ab");
}

#[test]
fn choices_are_told_apart_by_their_index() {
    let stream = [
        event(
            r#"{"index":1,"delta":{"role":"assistant","content":"b"}},{"index":0,"delta":{"content":"a"}}"#,
        ),
        event(r#"{"index":0,"delta":{"content":"A"},"finish_reason":"length"}"#),
        event(r#"{"index":1,"delta":{"content":"B"},"finish_reason":"stop"}"#),
        DONE.to_owned(),
    ]
    .concat();
    let choices = assembled(&stream)["choices"].take();
    let said: Vec<_> =
        choices.as_array().unwrap().iter().map(|c| (&c["index"], &c["message"]["content"])).collect();
    assert_eq!(said, [(&json!(0), &json!("aA")), (&json!(1), &json!("bB"))]);
    assert_eq!(choices[0]["finish_reason"], "length");
}

#[test]
fn fragments_of_tool_calls_are_merged_by_index() {
    let message = message(&[
        r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","type":"custom","custom":{"name":"g","input":"1"}},{"index":0,"id":"","function":{"name":"","arguments":"\"é\"}"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"b","type":"custom","custom":{"name":"g","input":"2"}}]}"#,
    ]);
    let expected = json!([
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":\"é\"}"}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "12"}},
    ]);
    assert_eq!(message["tool_calls"], expected);
    assert_eq!(message["content"], Value::Null);
}

#[test]
fn every_known_field_of_a_delta_is_merged() {
    let message = message(&[
        r#"{"role":"assistant","reasoning_content":"hm","refusal":"n","function_call":{"name":"f"},"audio":null}"#,
        r#"{"role":"","reasoning_content":"m","refusal":"o","function_call":{"arguments":"{"},"annotations":[1]}"#,
        r#"{"role":"assistant","reasoning":"r","function_call":{"arguments":"}"},"annotations":[2],"tool_calls":[]}"#,
    ]);
    let expected = json!({"role": "assistant", "content": null, "refusal": "no", "reasoning_content": "hmm",
        "reasoning": "r", "function_call": {"name": "f", "arguments": "{}"}, "annotations": [1, 2]});
    assert_eq!(message, expected);
}

#[test]
fn an_unknown_field_is_kept_only_if_it_never_changes() {
    let with = |fields: [&str; 2]| {
        let event = |fields: &str, finish: &str| {
            format!(
                "data: {{{HEAD}{fields},\"choices\":[{{\"delta\":{{}}{fields},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        format!("{}{}{DONE}", event(fields[0], "null"), event(fields[1], "\"stop\""))
    };
    let kept = assembled(&with([r#","x":{"a":1.0}"#, r#","y":null,"x":{"a":1.0}"#]));
    assert_eq!((&kept["x"], &kept["choices"][0]["x"]), (&json!({"a": 1.0}), &json!({"a": 1.0})));
    assert_eq!(assembled(&with(["", r#","x":"late""#]))["x"], "late");
    assert_eq!(reason(&with([r#","x":1"#, r#","x":2"#])), NotCacheable::Unmergeable("x".to_owned()));
}

#[test]
fn what_cannot_be_merged_is_named() {
    for (delta, path) in [
        (r#"{"thinking":"hm"}"#, "delta.thinking"),
        (r#"{"audio":{"id":"a"}}"#, "delta.audio"),
        (r#"{"content":[{"type":"text"}]}"#, "delta.content"),
        (r#"{"content":1}"#, "delta.content"),
        (r#"{"role":"assistant"}"#, ""),
        (r#"{"role":"user"}"#, "delta.role"),
        (r#"{"function_call":"f"}"#, "delta.function_call"),
        (r#"{"tool_calls":{}}"#, "delta.tool_calls"),
        (r#"{"tool_calls":["x"]}"#, "delta.tool_calls"),
        (r#"{"tool_calls":[{"index":0,"extra_content":{}}]}"#, "tool_calls.extra_content"),
        (r#"{"tool_calls":[{"index":0,"id":"a"},{"index":0,"id":"b"}]}"#, "tool_calls.id"),
        (r#"{"tool_calls":[{"index":0,"function":{"arguments":{}}}]}"#, "function.arguments"),
    ] {
        let result = assemble(of_deltas(&[r#"{"role":"assistant","content":"x"}"#, delta]).as_bytes());
        let named = match result {
            Ok(_) => String::new(),
            Err(NotCacheable::Unmergeable(path)) => path,
            Err(other) => panic!("{other}: {delta}"),
        };
        assert_eq!(named, path, "{delta}");
    }
}

#[test]
fn a_stream_that_failed_or_was_cut_is_not_assembled() {
    let whole = of_deltas(&[r#"{"content":"a"}"#]);
    let finish = event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#);
    for (stream, code) in [
        (String::new(), "not_done"),
        (whole.replace(DONE, ""), "not_done"),
        (whole.replace("[DONE]", "[DON"), "malformed"),
        (whole.replace(&finish, ""), "unfinished"),
        (whole.replace(&finish, "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"), "error"),
        (whole.replace(&finish, "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n"), "error"),
        (
            whole.replace(&finish, &event(r#"{"index":0,"delta":{},"finish_reason":"stop","error":{}}"#)),
            "error",
        ),
        (whole.replace(&finish, &finish[..finish.len() / 2]), "malformed"),
        (whole.replace(&finish, "data: {}\n\n"), "malformed"),
        (whole.replace(&finish, "data: []\n\n"), "malformed"),
        (format!("{whole}{finish}"), "malformed"),
        (whole.replace(r#""index":0"#, r#""index":1"#), "malformed"),
        (whole.replace(r#""index":0"#, r#""index":128"#), "malformed"),
        (whole.replace(r#""index":0"#, r#""index":"0""#), "malformed"),
        (whole.replace(r#""delta":{}"#, r#""delta":{"tool_calls":[{"id":"a"}]}"#), "malformed"),
        (whole.replace(r#""delta":{}"#, r#""delta":{"tool_calls":[{"index":0,"id":"a"}]}"#), "malformed"),
        (whole.replace(r#""delta":{}"#, r#""delta":{"function_call":{"arguments":""}}"#), "malformed"),
        (whole.replace(DONE, &format!("{}{DONE}", finish.replace("stop", "length"))), "malformed"),
        (whole.replace(r#""delta":{}"#, r#""message":{}"#), "unmergeable"),
    ] {
        assert_eq!(reason(&stream).code(), code, "{stream}");
    }
    assert_eq!(assembled(&whole)["choices"][0]["message"]["content"], "a");
    assert_eq!(
        assembled(whole.trim_end())["choices"][0]["finish_reason"],
        "stop",
        "no empty line after [DONE]"
    );
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_before_done_is_never_assembled(cut in 0usize..400) {
        let whole = of_deltas(&[r#"{"role":"assistant","content":"é"}"#, r#"{"content":"漢😀"}"#]);
        let cut = cut.min(whole.len() - DONE.len() + "data: [DONE".len());
        prop_assert!(assemble(&whole.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn arbitrary_events_never_panic(data in prop::collection::vec("[\\[\\]{}:,\"a-z0-2 \n]{0,30}", 0..6), raw in prop::collection::vec(any::<u8>(), 0..60)) {
        let stream: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
        let _assembled = assemble(format!("{stream}{DONE}").as_bytes());
        let _assembled = assemble(&raw);
    }
}
