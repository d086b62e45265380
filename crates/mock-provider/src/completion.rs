//! Renders an answer as one `chat.completion` object, in one buffer.

use crate::answer::{Answer, Choice, Payload};
use crate::json::{put, put_hex, put_value};
use crate::stable_hash::stable_hash;

/// Room for everything but the text.
const ENVELOPE_BYTES: usize = 768;

/// The body of a non-streaming answer.
pub fn render(answer: &Answer) -> Vec<u8> {
    let text_bytes: usize = answer.choices.iter().map(|choice| text_bytes(&choice.payload)).sum();
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + text_bytes + text_bytes / 8);
    put(&mut out, r#"{"id":"chatcmpl-"#);
    put_hex(&mut out, answer.request_hash);
    put(&mut out, r#"","object":"chat.completion","created":"#);
    put_value(&mut out, &answer.created);
    put(&mut out, r#","model":"#);
    put_value(&mut out, &answer.model);
    put(&mut out, r#","choices":["#);
    for (index, choice) in answer.choices.iter().enumerate() {
        if index > 0 {
            put(&mut out, ",");
        }
        put_choice(&mut out, answer, index, choice);
    }
    put(&mut out, "]");
    if let Some(usage) = &answer.usage {
        put(&mut out, r#","usage":"#);
        put_value(&mut out, usage);
    }
    put(&mut out, r#","service_tier":"default","system_fingerprint":"fp_mock"}"#);
    out
}

fn put_choice(out: &mut Vec<u8>, answer: &Answer, index: usize, choice: &Choice) {
    put(out, r#"{"index":"#);
    put_value(out, &index);
    put(out, r#","message":{"role":"assistant","content":"#);
    match &choice.payload {
        Payload::Text(text) => put_value(out, text),
        Payload::ToolCalls(calls) => {
            put(out, r#"null,"tool_calls":["#);
            for (call_index, call) in calls.iter().enumerate() {
                if call_index > 0 {
                    put(out, ",");
                }
                put(out, "{");
                put_call_head(out, answer.request_hash, [index, call_index], &call.name, &call.arguments);
            }
            put(out, "]");
        }
    }
    put(out, r#","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"#);
    put_value(out, choice.finish_reason);
    put(out, "}");
}

/// Appends a call from `"id":` on; `place` is its choice and its index there. A stream opens a call with empty
/// arguments.
pub fn put_call_head(out: &mut Vec<u8>, request_hash: u64, place: [usize; 2], name: &str, arguments: &str) {
    let [choice, call] = place.map(|index| index as u64);
    put(out, r#""id":"call_"#);
    put_hex(out, stable_hash(&[request_hash, choice, call].map(u64::to_le_bytes).concat()));
    put(out, r#"","type":"function","function":{"name":"#);
    put_value(out, name);
    put(out, r#","arguments":"#);
    put_value(out, arguments);
    put(out, "}}");
}

fn text_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Text(text) => text.len(),
        Payload::ToolCalls(calls) => calls.iter().map(|call| call.arguments.len() + 128).sum(),
    }
}
