//! What an answer says that a gateway must know: its usage, whether it is whole, whether it is an error.
//!
//! Covers the whole `chat.completion` object and the `chat.completion.chunk` events of a stream. Everything else in
//! them is left alone.

use crate::Characters;
use crate::usage::{Usage, WireUsage};
use serde::Deserialize;
use serde::de::IgnoredAny;
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
    #[serde(skip)]
    form: Form,
}

/// Whether it was read as a chunk of a stream.
#[derive(Debug, Clone, Copy, Default)]
enum Form {
    #[default]
    Whole,
    Chunk,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    // Perplexity gives both, in streams and out of them: there `message` is all that was said so far, here `delta` is empty.
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    message: Option<Delta<'a>>,
}

impl<'a> Choice<'a> {
    /// What it says: one of the two, for they say the same.
    fn says(&self, form: Form) -> Option<&Delta<'a>> {
        match form {
            Form::Whole => self.message.as_ref().or(self.delta.as_ref()),
            Form::Chunk => self.delta.as_ref().or(self.message.as_ref()),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

/// One of the texts that a choice consists of. The parts of each, put together, are what the model said there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// `content`: the answer itself.
    Content,
    /// `refusal`: why there is none.
    Refusal,
    /// `reasoning_content`, as DeepSeek and vLLM name the thinking.
    ReasoningContent,
    /// `reasoning`, as OpenRouter and newer vLLM name it.
    Reasoning,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 4] = [Lane::Content, Lane::Refusal, Lane::ReasoningContent, Lane::Reasoning];

    /// The field of the delta.
    pub fn field(self) -> &'static str {
        match self {
            Lane::Content => "content",
            Lane::Refusal => "refusal",
            Lane::ReasoningContent => "reasoning_content",
            Lane::Reasoning => "reasoning",
        }
    }

    /// Whether it is thinking rather than answer.
    pub fn is_reasoning(self) -> bool {
        matches!(self, Lane::ReasoningContent | Lane::Reasoning)
    }
}

/// What one choice says in one chunk.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The choice's index.
    pub index: u32,
    delta: Option<&'a Delta<'a>>,
    /// Why the choice ends here, if it does.
    pub finish_reason: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// Its texts as they stand in the JSON; whatever is no string is left out, and so are empty ones.
    pub fn texts(self) -> impl Iterator<Item = (Lane, &'a RawValue)> {
        Lane::ALL.into_iter().filter_map(move |lane| Some((lane, self.delta?.text(lane)?)))
    }

    /// Whether it calls a tool, or goes on with a call.
    pub fn calls_tools(self) -> bool {
        self.delta.is_some_and(|delta| delta.calls().next().is_some())
    }

    /// Whether it names its role.
    pub fn has_role(self) -> bool {
        self.delta.is_some_and(|delta| delta.role.is_some())
    }
}

impl<'a> Delta<'a> {
    fn text(&self, lane: Lane) -> Option<&'a RawValue> {
        let raw = match lane {
            Lane::Content => self.content,
            Lane::Refusal => self.refusal,
            Lane::ReasoningContent => self.reasoning_content,
            Lane::Reasoning => self.reasoning,
        };
        raw.filter(|raw| raw.get().starts_with('"') && raw.get() != "\"\"")
    }

    /// Calls, but for an empty list of them.
    fn calls(&self) -> impl Iterator<Item = &'a RawValue> {
        [self.tool_calls, self.function_call].into_iter().flatten().filter(|raw| {
            !raw.get().strip_prefix('[').is_some_and(|list| list.trim_ascii_start().starts_with(']'))
        })
    }
}

impl<'a> Answer<'a> {
    /// Parses a whole answer.
    ///
    /// # Errors
    /// When it is not a JSON object of this shape.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        Self::read(json, Form::Whole)
    }

    /// Parses a chunk of a stream.
    ///
    /// # Errors
    /// When it is not a JSON object of this shape.
    pub fn parse_chunk(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        Self::read(json, Form::Chunk)
    }

    fn read(json: &'a [u8], form: Form) -> Result<Self, serde_json::Error> {
        // Serde would take an array of the fields' values as well.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(serde::de::Error::custom("not a JSON object"));
        }
        let answer: Self = serde_json::from_slice(json)?;
        Ok(Answer { form, ..answer })
    }

    /// Whether it carries an `error` instead of an answer (some servers send one with status 200).
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Whether it has `choices` at all.
    pub fn has_choices(&self) -> bool {
        self.choices.is_some()
    }

    /// Whether it is an answer: no error, with a choice, and none that its provider failed in the middle of (OpenRouter
    /// ends such a one with `error`).
    pub fn is_whole(&self) -> bool {
        !self.is_error()
            && self.indices().next().is_some()
            && self.finished().all(|(_, reason)| reason != "error")
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

    /// What it says, choice by choice.
    pub fn said(&self) -> impl Iterator<Item = Said<'_>> {
        self.choices.iter().flatten().map(|choice| Said {
            index: choice.index,
            delta: choice.says(self.form),
            finish_reason: choice.finish_reason.as_deref(),
        })
    }

    /// The generated text in it: content, refusal, reasoning, and tool calls as they stand.
    pub fn generated(&self) -> Characters {
        let deltas = self.choices.iter().flatten().filter_map(|choice| choice.says(self.form));
        deltas.fold(Characters::default(), |sum, delta| {
            let texts = Lane::ALL.into_iter().filter_map(|lane| delta.text(lane)).map(Characters::of_json);
            let calls = delta.calls().map(|raw| Characters::of(raw.get()));
            texts.chain(calls).fold(sum, Characters::plus)
        })
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
        assert_eq!(answer.generated(), Characters::of("hi é"));
        assert!(!answer.is_usage_chunk() && answer.has_choices() && !answer.is_error());
    }

    #[test]
    fn only_an_answer_is_a_whole_one() {
        for (json, is_whole) in [
            (r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#, true),
            (r#"{"choices":[{"message":{"content":"a"}}],"error":null}"#, true),
            (r#"{"choices":[{"finish_reason":"stop"},{"index":1,"finish_reason":"error"}]}"#, false),
            (r#"{"choices":[{"finish_reason":"stop"}],"error":{}}"#, false),
            (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, false),
            (r#"{"choices":null}"#, false),
            ("{}", false),
        ] {
            assert_eq!(Answer::parse(json.as_bytes()).unwrap().is_whole(), is_whole, "{json}");
        }
    }

    #[test]
    fn a_choice_with_a_message_and_a_delta_is_read_once_by_what_it_is() {
        // As Perplexity writes them: the message of a chunk is all that was said so far, the delta of a whole answer empty.
        let chunk =
            br#"{"choices":[{"index":0,"finish_reason":null,"message":{"role":"assistant","content":"Hello wor"},"delta":{"role":"assistant","content":"wor"}}]}"#;
        let whole =
            br#"{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello world"},"delta":{"role":"assistant","content":""}}]}"#;
        for (answer, said) in [
            (Answer::parse_chunk(chunk).unwrap(), "wor"),
            (Answer::parse(whole).unwrap(), "Hello world"),
            // The last chunk repeats all of it.
            (Answer::parse_chunk(whole).unwrap(), ""),
            (Answer::parse_chunk(br#"{"choices":[{"message":{"content":"alone"}}]}"#).unwrap(), "alone"),
            (Answer::parse(br#"{"choices":[{"delta":{"content":"alone"}}]}"#).unwrap(), "alone"),
        ] {
            assert_eq!(answer.generated(), Characters::of(said), "{said}");
            let texts: Vec<&str> =
                answer.said().flat_map(Said::texts).map(|(_, raw)| raw.get().trim_matches('"')).collect();
            assert_eq!(texts.concat(), said);
        }
        let twice = br#"{"choices":[{"delta":{"content":"a"},"delta":{"content":"a"}}]}"#;
        assert!(Answer::parse_chunk(twice).is_err(), "the same field twice has no one meaning");
    }

    #[test]
    fn whatever_is_generated_counts() {
        for (json, text) in [
            (r#""""#, ""),
            (r#""h\u00e9llo""#, "héllo"),
            ("null", ""),
            ("7", ""),
            (r#"["abc"]"#, ""),
            (r#"{"a":"b"}"#, ""),
        ] {
            for field in ["content", "refusal", "reasoning", "reasoning_content"] {
                let chunk = format!(r#"{{"choices":[{{"delta":{{"{field}":{json}}}}}]}}"#);
                let answer = Answer::parse(chunk.as_bytes()).unwrap();
                assert_eq!(answer.generated(), Characters::of(text), "{chunk}");
                assert_eq!(
                    answer.said().flat_map(Said::texts).count(),
                    usize::from(!text.is_empty()),
                    "{chunk}"
                );
            }
        }
        let calls = r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}},{"delta":{"content":"a"}}]}"#;
        let generated = Answer::parse(calls.as_bytes()).unwrap().generated();
        assert_eq!(generated, Characters::of(r#"[{"index":0}]a"#));
    }

    #[test]
    fn what_a_choice_says_is_told_apart() {
        for (delta, role, calls, lanes) in [
            (r#"{"role":"assistant","content":""}"#, true, false, vec![]),
            (r#"{"content":"a","reasoning":"b"}"#, false, false, vec![Lane::Content, Lane::Reasoning]),
            (r#"{"content":null,"tool_calls":[{"index":0}]}"#, false, true, vec![]),
            (r#"{"tool_calls":[ ]}"#, false, false, vec![]),
            (r#"{"tool_calls":null,"function_call":{"arguments":"x"}}"#, false, true, vec![]),
        ] {
            let json = format!(r#"{{"choices":[{{"index":3,"delta":{delta},"finish_reason":"length"}}]}}"#);
            let answer = Answer::parse(json.as_bytes()).unwrap();
            let said = answer.said().next().unwrap();
            assert_eq!((said.index, said.finish_reason), (3, Some("length")));
            assert_eq!((said.has_role(), said.calls_tools()), (role, calls), "{delta}");
            assert_eq!(said.texts().map(|(lane, _)| lane).collect::<Vec<_>>(), lanes, "{delta}");
        }
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
