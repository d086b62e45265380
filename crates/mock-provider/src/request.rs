//! Reads a chat completion request, borrowing from its body.
//!
//! Only what shapes the answer is kept; unknown fields are skipped unread. Counting the prompt happens while
//! parsing, so that a long conversation costs no list of messages.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::token_count;

/// Tokens of a message beside its text, and of the conversation beside its messages: OpenAI's published rule for
/// its chat format (cookbook, "How to count tokens with tiktoken").
const TOKENS_PER_MESSAGE: u64 = 3;
const TOKENS_PER_CONVERSATION: u64 = 3;
/// Tokens of a content part that is not text, such as a low-detail image.
const TOKENS_PER_OTHER_PART: u64 = 85;

/// The fields of the body that matter here, as OpenAI names them.
#[derive(Debug, Deserialize)]
pub struct ChatRequest<'a> {
    /// `model`; required, but its absence has an error of its own.
    #[serde(borrow, default)]
    pub model: Option<Text<'a>>,
    /// `messages`; required likewise.
    #[serde(borrow, default)]
    pub messages: Option<Conversation<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<i64>,
    #[serde(default)]
    max_completion_tokens: Option<i64>,
    #[serde(default)]
    n: Option<i64>,
    #[serde(default)]
    continue_final_message: Option<bool>,
    /// `tools`, unread: only a model that is asked for tool calls looks into it.
    #[serde(borrow, default)]
    pub tools: Option<&'a RawValue>,
    /// `tool_choice`, unread likewise.
    #[serde(borrow, default)]
    pub tool_choice: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// A value that OpenAI refuses: the parameter and the least and greatest it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange {
    /// Name of the field.
    pub parameter: &'static str,
    /// What it may be.
    pub expected: &'static str,
}

impl ChatRequest<'_> {
    /// True if the answer is to be streamed.
    pub fn is_streaming(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// True if a stream is to end with its usage.
    pub fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The most tokens each choice may have; `max_completion_tokens` goes before `max_tokens`.
    ///
    /// # Errors
    /// If it is below 1.
    pub fn token_limit(&self) -> Result<u64, OutOfRange> {
        let (parameter, limit) = match self.max_completion_tokens {
            Some(limit) => ("max_completion_tokens", limit),
            None => ("max_tokens", self.max_tokens.unwrap_or(i64::MAX)),
        };
        let limit = u64::try_from(limit).ok().filter(|limit| *limit >= 1);
        limit.ok_or(OutOfRange { parameter, expected: "a value >= 1" })
    }

    /// The beginning of the answer that the request wants continued: its last message, if that is the assistant's and
    /// the request says so (`continue_final_message` as vLLM has it, `prefix` as DeepSeek and Mistral), or if
    /// `any_prefix` makes that the rule (as Anthropic does).
    pub fn prefill(&self, any_prefix: bool) -> Option<&str> {
        let prefix = self.messages.as_ref()?.final_assistant_message.as_ref()?;
        let is_wanted = any_prefix || prefix.is_marked || self.continue_final_message == Some(true);
        is_wanted.then_some(&*prefix.text)
    }

    /// How many choices are wanted.
    ///
    /// # Errors
    /// If it is not within OpenAI's 1 to 128.
    pub fn choice_count(&self) -> Result<u64, OutOfRange> {
        let count = u64::try_from(self.n.unwrap_or(1)).ok().filter(|count| (1..=128).contains(count));
        count.ok_or(OutOfRange { parameter: "n", expected: "a value from 1 to 128" })
    }
}

/// A string that is borrowed unless it has escapes (serde's `Option<Cow>` always copies).
#[derive(Debug, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// What is remembered of `messages`.
#[derive(Debug, Default)]
pub struct Conversation<'a> {
    /// Tokens of the whole prompt, by the rule of the README.
    pub prompt_tokens: u64,
    /// Text of the last message of the user, empty if there is none.
    pub last_user_message: Cow<'a, str>,
    /// The last message, if it is the assistant's.
    pub final_assistant_message: Option<FinalAssistantMessage<'a>>,
    /// True if the last message is the result of a tool.
    pub ends_with_tool_result: bool,
}

/// A conversation's last message, when the assistant said it.
#[derive(Debug, Default)]
pub struct FinalAssistantMessage<'a> {
    text: Cow<'a, str>,
    /// It has `"prefix":true`.
    is_marked: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Text<'a>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(default)]
    prefix: Option<bool>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Conversation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MessagesVisitor;
        impl<'de> Visitor<'de> for MessagesVisitor {
            type Value = Conversation<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Self::Value, A::Error> {
                let mut seen =
                    Conversation { prompt_tokens: TOKENS_PER_CONVERSATION, ..Conversation::default() };
                while let Some(message) = messages.next_element::<Message<'de>>()? {
                    seen.prompt_tokens += TOKENS_PER_MESSAGE + message.content.tokens();
                    seen.ends_with_tool_result = message.role.0 == "tool";
                    seen.final_assistant_message = None;
                    match &*message.role.0 {
                        "user" => seen.last_user_message = message.content.text,
                        "assistant" => {
                            let is_marked = message.prefix == Some(true);
                            let text = message.content.text;
                            seen.final_assistant_message = Some(FinalAssistantMessage { text, is_marked });
                        }
                        _ => {}
                    }
                }
                Ok(seen)
            }
        }
        deserializer.deserialize_seq(MessagesVisitor)
    }
}

/// The content of a message: a string, nothing, or parts.
#[derive(Debug, Default)]
struct Content<'a> {
    text: Cow<'a, str>,
    other_parts: u64,
}

impl Content<'_> {
    fn tokens(&self) -> u64 {
        token_count(self.text.len()) + self.other_parts * TOKENS_PER_OTHER_PART
    }
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content parts")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Borrowed(text), other_parts: 0 })
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Content { text: Cow::Owned(text.to_owned()), other_parts: 0 })
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
                let mut content = Content::default();
                while let Some(part) = parts.next_element::<Part<'de>>()? {
                    match part.text {
                        Some(text) => content.text.to_mut().push_str(&text.0),
                        None => content.other_parts += 1,
                    }
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt_tokens(messages: &str) -> u64 {
        let body = format!(r#"{{"model":"mock","messages":{messages}}}"#);
        serde_json::from_str::<ChatRequest<'_>>(&body).unwrap().messages.unwrap().prompt_tokens
    }

    #[test]
    fn the_prompt_is_counted_by_the_rule_of_the_readme() {
        for (messages, expected) in [
            ("[]", 3),
            (r#"[{"role":"user","content":""}]"#, 6),
            (r#"[{"role":"user","content":"abcd"}]"#, 7),
            (r#"[{"role":"user","content":"abcde"}]"#, 8),
            (r#"[{"role":"user","content":"日本"}]"#, 8),
            (r#"[{"role":"user","content":"a\nb"}]"#, 7),
            (r#"[{"content":"abcd","role":"system"},{"role":"user","content":"abcd"}]"#, 11),
            (r#"[{"role":"assistant","content":null,"tool_calls":[{}]},{"role":"tool"}]"#, 9),
            (r#"[{"role":"user","content":[{"type":"text","text":"ab"},{"type":"text","text":"cd"}]}]"#, 7),
            (r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#, 91),
        ] {
            assert_eq!(prompt_tokens(messages), expected, "{messages}");
        }
    }

    #[test]
    fn limits_below_one_are_refused_and_the_newer_name_wins() {
        let parse = |fields: &str| serde_json::from_str::<ChatRequest<'_>>(fields).unwrap().token_limit();
        assert_eq!(parse("{}"), Ok(u64::try_from(i64::MAX).unwrap()));
        assert_eq!(parse(r#"{"max_tokens":7}"#), Ok(7));
        assert_eq!(parse(r#"{"max_tokens":7,"max_completion_tokens":5}"#), Ok(5));
        assert!(parse(r#"{"max_tokens":0}"#).is_err());
        assert!(parse(r#"{"max_completion_tokens":-1}"#).is_err());
    }

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let body = r#"{"model":"mock","messages":[{"role":"user","content":"plain"}]}"#;
        let request: ChatRequest<'_> = serde_json::from_str(body).unwrap();
        assert!(matches!(request.model, Some(Text(Cow::Borrowed("mock")))));
        assert!(matches!(request.messages.unwrap().last_user_message, Cow::Borrowed("plain")));
    }
}
