//! What an answer says that a gateway must know: its usage, whether it is whole, whether it is an error.
//!
//! Covers the whole `chat.completion` object and the `chat.completion.chunk` events of a stream. Everything else in
//! them is left alone.

use crate::usage::{Usage, WireUsage};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A `chat.completion` or a `chat.completion.chunk`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Answer<'a> {
    /// `None` when the field is missing: then this is not an answer.
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<WireUsage>,
    error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "message")]
    delta: Option<Delta<'a>>,
}

#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(default)]
    content: TextBytes,
    #[serde(default)]
    refusal: TextBytes,
    #[serde(default)]
    reasoning_content: TextBytes,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

/// Length of a text in UTF-8 bytes; 0 for null and for whatever a lenient provider puts in a text's place.
///
/// Only the length is wanted, and it is wanted for every chunk of every stream: nothing is copied.
#[derive(Debug, Default, Clone, Copy)]
struct TextBytes(usize);

impl<'de> Deserialize<'de> for TextBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Length;
        impl<'de> Visitor<'de> for Length {
            type Value = TextBytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<TextBytes, E> {
                Ok(TextBytes(text.len()))
            }
            fn visit_unit<E>(self) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_bool<E>(self, _: bool) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_i64<E>(self, _: i64) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_u64<E>(self, _: u64) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_f64<E>(self, _: f64) -> Result<TextBytes, E> {
                Ok(TextBytes(0))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TextBytes, A::Error> {
                IgnoredAny.visit_seq(seq).map(|_| TextBytes(0))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextBytes, A::Error> {
                IgnoredAny.visit_map(map).map(|_| TextBytes(0))
            }
        }
        deserializer.deserialize_any(Length)
    }
}

impl<'a> Answer<'a> {
    /// Parses an answer or a chunk.
    ///
    /// # Errors
    /// When it is not a JSON object of this shape.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Whether it carries an `error` instead of an answer (some servers send one with status 200).
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Whether it has `choices` at all.
    pub fn has_choices(&self) -> bool {
        self.choices.is_some()
    }

    /// Whether it is the last chunk of a stream that only carries the usage: `"choices":[]` and a `usage`.
    pub fn is_usage_chunk(&self) -> bool {
        self.usage.is_some() && self.choices.as_ref().is_some_and(Vec::is_empty)
    }

    /// The provider's usage, if it gave one.
    pub fn usage(&self) -> Option<Usage> {
        self.usage.and_then(WireUsage::into_usage)
    }

    /// The choices that this object ends: `(index, finish_reason)`.
    pub fn finished(&self) -> impl Iterator<Item = (u32, &str)> {
        self.choices.iter().flatten().filter_map(|c| c.finish_reason.as_deref().map(|r| (c.index, r)))
    }

    /// The choices it says anything about, by index.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        self.choices.iter().flatten().map(|c| c.index)
    }

    /// UTF-8 bytes of generated text in it: content, refusal, reasoning, and tool calls as they stand.
    pub fn generated_bytes(&self) -> usize {
        let deltas = self.choices.iter().flatten().filter_map(|c| c.delta.as_ref());
        deltas
            .map(|d| {
                let texts = [d.content, d.refusal, d.reasoning_content];
                let calls = [d.tool_calls, d.function_call];
                texts.into_iter().map(|text| text.0).sum::<usize>()
                    + calls.into_iter().flatten().map(|raw| raw.get().len()).sum::<usize>()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_with_its_details() {
        let answer = Answer::parse(
            br#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi \u00e9"},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,
            "prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
        )
        .unwrap();
        let usage = Usage { prompt_tokens: 10, completion_tokens: 4, cached_tokens: 8, reasoning_tokens: 3 };
        assert_eq!(answer.usage(), Some(usage));
        assert_eq!(answer.finished().collect::<Vec<_>>(), [(0, "stop")]);
        assert_eq!(answer.generated_bytes(), 5);
        assert!(!answer.is_usage_chunk() && answer.has_choices() && !answer.is_error());
    }

    #[test]
    fn missing_null_and_empty_usage_are_no_usage_but_zero_is() {
        for (json, expected) in [
            (r#"{"choices":[]}"#, None),
            (r#"{"choices":[],"usage":null}"#, None),
            (r#"{"choices":[],"usage":{}}"#, None),
            (r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#, Some(Usage::default())),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":5,"prompt_tokens_details":null}}"#,
                Some(Usage { prompt_tokens: 5, ..Usage::default() }),
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":9}}}"#,
                Some(Usage { prompt_tokens: 5, cached_tokens: 5, ..Usage::default() }),
            ),
        ] {
            assert_eq!(Answer::parse(json.as_bytes()).unwrap().usage(), expected, "{json}");
        }
    }

    #[test]
    fn chunks_are_told_apart() {
        for (json, usage_chunk, error, choices) in [
            (r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#, true, false, true),
            (
                r#"{"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}],"usage":null}"#,
                false,
                false,
                true,
            ),
            (r#"{"choices":[{"delta":{"content":null}}]}"#, false, false, true),
            (r#"{"choices":[{"delta":{"content":[{"type":"text"}]}}]}"#, false, false, true),
            (r#"{"error":{"message":"overloaded"}}"#, false, true, false),
            (r#"{"error":null,"choices":[{"index":1,"delta":{"tool_calls":[]}}]}"#, false, false, true),
            (r#"{}"#, false, false, false),
        ] {
            let answer = Answer::parse(json.as_bytes()).unwrap();
            assert_eq!(
                (answer.is_usage_chunk(), answer.is_error(), answer.has_choices()),
                (usage_chunk, error, choices),
                "{json}"
            );
        }
    }
}
