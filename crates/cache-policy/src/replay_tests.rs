use super::*;
use crate::assemble;
use openai_types::sse;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\n\r\"\\\\é漢😀\u{2028}]{0,40}",
        "[a-z é漢😀]{200,700}",
        "[漢😀]{90,200}",
        Just(String::new())
    ]
}

fn any_call(kind: &'static str, payload: &'static str) -> impl Strategy<Value = Value> {
    ("call_[a-z0-9]{4}", "[a-z_]{1,12}", any_text()).prop_map(move |(id, name, text)| {
        let mut call = json!({"id": id, "type": kind});
        call[kind] = json!({"name": name, payload: text});
        call
    })
}

fn any_logprobs() -> impl Strategy<Value = Value> {
    let token = ("[a-zé]{1,3}", -9000i32..0).prop_map(
        |(token, p)| json!({"token": token, "logprob": f64::from(p) / 64.0, "bytes": null, "top_logprobs": []}),
    );
    prop_oneof![
        3 => Just(Value::Null),
        1 => prop::collection::vec(token, 0..4).prop_map(|content| json!({"content": content, "refusal": null})),
    ]
}

prop_compose! {
    fn any_choice()(
        content in prop::option::of(any_text()), refusal in prop::option::of(any_text()),
        reasoning in prop::option::of(any_text()), which_reasoning in any::<bool>(),
        calls in prop::collection::vec(prop_oneof![any_call("function", "arguments"), any_call("custom", "input")], 0..3),
        function_call in prop::option::of(("[a-z]{1,5}", any_text())),
        annotations in prop::option::of(prop::collection::vec(any::<u8>().prop_map(|n| json!({"start_index": n})), 1..3)),
        logprobs in any_logprobs(), finish in prop::sample::select(&crate::cacheable::FINISH_REASONS),
        filter in any::<bool>(), stop_reason in prop::option::of("[a-z]{1,4}"),
    ) -> Value {
        let mut message = json!({"role": "assistant", "content": content, "refusal": refusal});
        if let Some(text) = reasoning {
            message[if which_reasoning { "reasoning_content" } else { "reasoning" }] = text.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if let Some((name, arguments)) = function_call {
            message["function_call"] = json!({"name": name, "arguments": arguments});
        }
        if let Some(annotations) = annotations {
            message["annotations"] = annotations.into();
        }
        let mut choice = json!({"message": message, "logprobs": logprobs, "finish_reason": finish});
        if filter {
            choice["content_filter_results"] = json!({"hate": {"filtered": false, "severity": "safe"}});
        }
        if let Some(reason) = stop_reason {
            choice["stop_reason"] = reason.into();
        }
        choice
    }
}

prop_compose! {
    fn any_completion()(
        id in "chatcmpl-[a-z0-9]{1,8}", created in any::<u32>(), model in "[a-z0-9./-]{1,12}",
        mut choices in prop::collection::vec(any_choice(), 1..4), usage in any::<[u16; 2]>(),
        tier in any::<bool>(), citations in prop::option::of(prop::collection::vec("[a-z]{1,8}", 0..3)),
    ) -> Value {
        for (index, choice) in choices.iter_mut().enumerate() {
            choice["index"] = index.into();
        }
        let mut completion = json!({"id": id, "object": "chat.completion", "created": created, "model": model,
            "choices": choices, "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}});
        if tier {
            completion["service_tier"] = "default".into();
            completion["system_fingerprint"] = "fp_1".into();
        }
        if let Some(citations) = citations {
            completion["citations"] = citations.into();
        }
        completion
    }
}

fn replay_value(completion: &Value, include_usage: bool) -> Result<Vec<u8>, NotReplayable> {
    replay(completion.to_string().as_bytes(), include_usage)
}

fn chunks(stream: &[u8]) -> Vec<Value> {
    let mut data: Vec<_> = sse::events(stream).filter_map(sse::data).collect();
    assert_eq!(data.pop().as_deref(), Some(&b"[DONE]"[..]));
    data.iter().map(|data| serde_json::from_slice(data).unwrap()).collect()
}

proptest! {
    #[test]
    fn assembling_a_replay_gives_the_completion_back(completion in any_completion()) {
        let stream = replay_value(&completion, true).unwrap();
        let assembled: Value = serde_json::from_slice(&assemble(&stream).unwrap()).unwrap();
        prop_assert_eq!(&assembled, &completion);

        let stream = replay_value(&completion, false).unwrap();
        let assembled: Value = serde_json::from_slice(&assemble(&stream).unwrap()).unwrap();
        let mut without_usage = completion;
        without_usage.as_object_mut().unwrap().remove("usage");
        prop_assert_eq!(assembled, without_usage);
    }

    #[test]
    fn every_chunk_is_one_that_openai_could_send(completion in any_completion(), include_usage in any::<bool>()) {
        let stream = replay_value(&completion, include_usage).unwrap();
        let mut chunks = chunks(&stream);
        if include_usage {
            let last = chunks.pop().unwrap();
            prop_assert_eq!(&last["usage"], &completion["usage"]);
            prop_assert_eq!(&last["choices"], &json!([]));
        }
        let mut finished = vec![false; completion["choices"].as_array().unwrap().len()];
        for chunk in &chunks {
            prop_assert_eq!(&chunk["object"], "chat.completion.chunk");
            for name in ["id", "created", "model"] {
                prop_assert_eq!(&chunk[name], &completion[name]);
            }
            prop_assert_eq!(chunk.get("usage"), include_usage.then_some(&Value::Null));
            let choices = chunk["choices"].as_array().unwrap();
            prop_assert_eq!(choices.len(), 1);
            let index = usize::try_from(choices[0]["index"].as_u64().unwrap()).unwrap();
            prop_assert!(!finished[index], "nothing comes after a choice has finished");
            finished[index] = !choices[0]["finish_reason"].is_null();
            prop_assert!(choices[0]["delta"].is_object());
            prop_assert!(choices[0].get("message").is_none());
        }
        prop_assert!(finished.into_iter().all(|finished| finished));
    }

    #[test]
    fn pieces_are_bounded_and_lose_nothing(text in any_text()) {
        prop_assert_eq!(pieces(&text).collect::<String>(), text.as_str());
        prop_assert!(pieces(&text).all(|piece| !piece.is_empty() && piece.len() <= MAX_PIECE_BYTES));
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _replayed = replay(&body, true);
    }
}

#[test]
fn a_replay_reads_like_the_stream_of_the_provider() {
    let completion = json!({"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": null,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hé", "refusal": null, "annotations": []},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    let stream = replay(serde_json::to_string(&completion).unwrap().as_bytes(), true).unwrap();
    let chunk = |choice: &str| {
        format!(
            r#"data: {{"created":7,"id":"c1","model":"m","object":"chat.completion.chunk","system_fingerprint":null,"choices":[{choice}],"usage":null}}"#
        )
    };
    let expected = [
        chunk(
            r#"{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}"#,
        ),
        chunk(r#"{"index":0,"delta":{"content":"Hé"},"logprobs":null,"finish_reason":null}"#),
        chunk(r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}"#),
        chunk("").replace("null}", r#"{"completion_tokens":2,"prompt_tokens":1,"total_tokens":3}}"#),
        "data: [DONE]".to_owned(),
    ];
    let stream = String::from_utf8(stream).unwrap();
    assert_eq!(stream.split("\n\n").filter(|event| !event.is_empty()).collect::<Vec<_>>(), expected);
}

#[test]
fn numbers_come_back_as_their_text() {
    let body = br#"{"id":"c","created":1e3,"model":"m","choices":[{"index":0,"message":{"content":"x"},
        "logprobs":{"content":[{"logprob":-0.10}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1.0}}"#;
    let stream = String::from_utf8(replay(body, true).unwrap()).unwrap();
    for text in [r#""created":1e3,"#, r#""logprob":-0.10}"#, r#""prompt_tokens":1.0}"#] {
        assert!(stream.contains(text), "{text} in {stream}");
    }
}

#[test]
fn what_no_delta_can_say_is_not_replayed() {
    for (message, field) in [
        (json!({"content": "x", "audio": {"id": "a"}}), Some("audio")),
        (json!({"content": [{"type": "text"}]}), Some("content")),
        (json!({"content": "x", "thinking": "hm"}), Some("thinking")),
        (json!({"content": 1}), Some("content")),
        (json!({"content": null, "tool_calls": ["x"]}), Some("tool_calls")),
        (json!({"content": "x", "audio": null, "thinking": []}), None),
    ] {
        let completion = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
        let error = replay_value(&completion, false).err();
        assert_eq!(error, field.map(|field| NotReplayable::Field(field.to_owned())), "{completion}");
    }
    for body in ["", "[]", "{}", r#"{"choices":[1]}"#, r#"{"choices":[{}]}"#] {
        assert_eq!(replay(body.as_bytes(), false), Err(NotReplayable::Malformed), "{body}");
    }
}

#[test]
fn a_replayed_message_has_only_its_own_fields() {
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    message.insert("content".to_owned(), Value::Null);
    message.insert(
        "tool_calls".to_owned(),
        json!([{"id": "c", "index": 9, "type": "function", "function": {}}]),
    );
    let completion = json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let chunks = chunks(&replay_value(&completion, false).unwrap());
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {}}]});
    assert_eq!(chunks[1]["choices"][0]["delta"], call);
}

#[test]
fn a_choice_without_an_index_gets_its_place() {
    let choice = json!({"message": {"content": "x"}, "finish_reason": "stop"});
    let chunks = chunks(&replay_value(&json!({"choices": [choice, choice]}), false).unwrap());
    let indices: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 0, 0, 1, 1, 1]);
}

#[test]
fn choices_whose_indices_a_stream_would_confuse_are_not_replayed() {
    let choice = |index: Value| json!({"index": index, "message": {"content": "x"}, "finish_reason": "stop"});
    for indices in
        [[json!(0), json!(0)], [json!(1), Value::Null], [json!(0), json!("1")], [json!(2), json!(0)]]
    {
        let completion = json!({"choices": indices.clone().map(choice)});
        assert_eq!(replay_value(&completion, false), Err(NotReplayable::Malformed), "{indices:?}");
    }
}

#[test]
fn texts_are_cut_after_a_space_and_between_characters() {
    let long = |prefix: &str, letter: &str, letters: usize| format!("{prefix}{}", letter.repeat(letters));
    for (text, piece_bytes) in [
        (String::new(), vec![]),
        (long("", "x", 256), vec![256]),
        (long("", "x", 257), vec![256, 1]),
        (long(" ", "x", 300), vec![1, 256, 44]),
        (long("two words ", "x", 300), vec![10, 256, 44]),
        (long("x", "漢", 100), vec![256, 45]),
        (long("", "漢", 100), vec![255, 45]),
        (long("", " ", 300), vec![256, 44]),
    ] {
        assert_eq!(pieces(&text).map(str::len).collect::<Vec<_>>(), piece_bytes, "{text}");
    }
}
