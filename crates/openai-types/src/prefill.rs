//! A request whose answer begins with a given text: for going on with an answer that another provider began.
//!
//! OpenAI itself has no such thing; a final message of the assistant is history to it. Each of those who have it words it in
//! its own way, so which one a deployment takes is for its operator to say.

use crate::raw_object::RawObject;
use bytes::Bytes;
use serde_json::value::RawValue;

/// How a provider is told where its answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// The last message is the assistant's. Anthropic, also behind an OpenAI-compatible face, and OpenRouter for its models;
    /// a text that ends with white space is refused there.
    /// <https://docs.anthropic.com/en/docs/build-with-claude/prompt-engineering/prefill-claudes-response>
    LastMessage,
    /// The last message is the assistant's and has `"prefix":true`. DeepSeek, under its `/beta` address
    /// (<https://api-docs.deepseek.com/guides/chat_prefix_completion>), and Mistral (`AssistantMessage.prefix` in its API).
    /// Whether the answer says the prefix again must be tried.
    MarkedMessage,
    /// `"continue_final_message":true` and `"add_generation_prompt":false` beside the messages. vLLM and SGLang
    /// (<https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>).
    ContinueFinalMessage,
}

impl Prefill {
    /// The request body with `text`, which took about `text_tokens`, as the beginning of the answer. Where it bounds the
    /// answer's tokens, the rest may have so many fewer, and at least one. Every other value in it but `messages` stays as
    /// it stood.
    ///
    /// `None` where that cannot be said: the client itself ended with a message of the assistant, the text is empty, or the
    /// provider would refuse it.
    pub fn apply(self, body: &[u8], text: &str, text_tokens: u64) -> Option<Bytes> {
        let ends_with_space = text.ends_with(char::is_whitespace);
        if text.is_empty() || (self == Prefill::LastMessage && ends_with_space) {
            return None;
        }
        let mut request = RawObject::parse(std::str::from_utf8(body).ok()?)?;
        let messages = request.get("messages")?;
        let each: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
        if RawObject::parse(each.last()?.get())?.get("role") == Some("\"assistant\"") {
            return None;
        }
        let mark = if self == Prefill::MarkedMessage { ",\"prefix\":true" } else { "" };
        let text = serde_json::Value::from(text);
        let before = messages.trim_end().strip_suffix(']')?;
        let messages = format!("{before},{{\"role\":\"assistant\",\"content\":{text}{mark}}}]");
        request.set("messages", messages);
        for bound in ["max_tokens", "max_completion_tokens"] {
            if let Some(most) = request.get(bound).and_then(|json| json.parse::<u64>().ok()) {
                request.set(bound, most.saturating_sub(text_tokens).max(1).to_string());
            }
        }
        if self == Prefill::ContinueFinalMessage {
            request.set("continue_final_message", "true");
            request.set("add_generation_prompt", "false");
        }
        Some(request.to_json().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"model": "m", "messages": [{"role":"user","content":"h\u00e9"} ], "seed":1.50}"#;

    #[test]
    fn each_provider_is_told_in_its_own_words() {
        for (prefill, expected) in [
            (
                Prefill::LastMessage,
                r#"{"model":"m","messages":[{"role":"user","content":"h\u00e9"} ,{"role":"assistant","content":"a\"é"}],"seed":1.50}"#,
            ),
            (
                Prefill::MarkedMessage,
                r#"{"model":"m","messages":[{"role":"user","content":"h\u00e9"} ,{"role":"assistant","content":"a\"é","prefix":true}],"seed":1.50}"#,
            ),
            (
                Prefill::ContinueFinalMessage,
                r#"{"model":"m","messages":[{"role":"user","content":"h\u00e9"} ,{"role":"assistant","content":"a\"é"}],"seed":1.50,"continue_final_message":true,"add_generation_prompt":false}"#,
            ),
        ] {
            assert_eq!(prefill.apply(BODY.as_bytes(), "a\"é", 1).unwrap(), expected, "{prefill:?}");
        }
    }

    #[test]
    fn the_rest_may_have_what_the_beginning_has_left_of_the_bound() {
        for (bounds, text_tokens, expected) in [
            (r#""max_tokens":20"#, 5, r#""max_tokens":15"#),
            (
                r#""max_completion_tokens":20,"max_tokens":null"#,
                19,
                r#""max_completion_tokens":1,"max_tokens":null"#,
            ),
            (r#""max_tokens":20"#, 21, r#""max_tokens":1"#),
            (r#""max_tokens":"20""#, 5, r#""max_tokens":"20""#),
        ] {
            let body = |bounds| format!(r#"{{{bounds},"messages":[{{}}]}}"#);
            let told = Prefill::ContinueFinalMessage.apply(body(bounds).as_bytes(), "a", text_tokens);
            let told = String::from_utf8(told.unwrap().to_vec()).unwrap();
            assert!(told.starts_with(&format!("{{{expected},")), "{told}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_not() {
        let own = r#"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#;
        for (prefill, body, text, is_said) in [
            (Prefill::LastMessage, BODY, "a ", false),
            (Prefill::MarkedMessage, BODY, "a ", true),
            (Prefill::ContinueFinalMessage, BODY, "a\n", true),
            (Prefill::ContinueFinalMessage, BODY, "", false),
            (Prefill::MarkedMessage, own, "a", false),
            (Prefill::MarkedMessage, r#"{"messages":[]}"#, "a", false),
            (Prefill::MarkedMessage, r#"{"messages":7}"#, "a", false),
            (Prefill::MarkedMessage, "{}", "a", false),
            (Prefill::MarkedMessage, "", "a", false),
        ] {
            assert_eq!(
                prefill.apply(body.as_bytes(), text, 1).is_some(),
                is_said,
                "{prefill:?} {body} {text:?}"
            );
        }
    }
}
