//! The size of a prompt: messages, tools and images, with the chat format's overhead.
//!
//! The overhead is that of OpenAI's chat format, <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken_calls>:
//! three tokens for each message and one for its role, one more for a name, three that prime the answer.

use crate::estimate::{json_tokens, string_tokens};
use crate::view::{ChatRequestView, Each, InvalidRequest, MessageView, PartView, each};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

const TOKENS_PER_ANSWER: u64 = 3;
const TOKENS_PER_MESSAGE: u64 = 4;
const TOKENS_PER_NAME: u64 = 1;

/// An image of 1,024 × 1,024 pixels in four tiles of 170 tokens and 85 for the overview; `detail: "low"` is the overview
/// alone: <https://platform.openai.com/docs/guides/images-vision#calculating-costs>. The pixels are not looked at.
const TOKENS_PER_IMAGE: u64 = 765;
const TOKENS_PER_LOW_DETAIL_IMAGE: u64 = 85;

/// Audio, a file, or a kind of content that is not known here: its size says nothing about its tokens, so this is a
/// figure and not a count.
const TOKENS_PER_OTHER_PART: u64 = 1_000;

/// A number of tokens and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Tokens of the whole prompt.
    pub tokens: u64,
    /// Whether they were estimated rather than counted by the model's own tokenizer.
    pub estimated: bool,
}

/// Tokens of the prompt, as `model` (the public name) will see it.
///
/// No model has a tokenizer here yet, so every count is estimated by bytes, the same for each.
///
/// # Errors
/// [`InvalidRequest`] names the message that is none, or the content that is neither text nor parts.
pub fn count_prompt(model: &str, request: &ChatRequestView<'_>) -> Result<Count, InvalidRequest> {
    let counter = TextCounter::of(model);
    let mut tokens = TOKENS_PER_ANSWER;
    let mut add = |more: u64| tokens = tokens.saturating_add(more);
    each(request.messages, |at, message: MessageView<'_>| {
        add(message_tokens(counter, at, &message)?);
        Ok(())
    })
    .map_err(|stopped| match stopped {
        Each::Visit(error) => error,
        Each::WrongElement(at) => InvalidRequest::field(format!("messages[{at}]"), "is not a message"),
    })?;
    request.prompt_json.iter().flatten().for_each(|json| add(counter.json(json)));
    Ok(Count { tokens, estimated: counter.is_estimate() })
}

/// Who counts a text; one for each family of models.
#[derive(Debug, Clone, Copy)]
enum TextCounter {
    ByBytes,
}

impl TextCounter {
    fn of(_model: &str) -> Self {
        TextCounter::ByBytes
    }

    fn is_estimate(self) -> bool {
        match self {
            TextCounter::ByBytes => true,
        }
    }

    fn string(self, string: &RawValue) -> u64 {
        match self {
            TextCounter::ByBytes => string_tokens(string),
        }
    }

    fn json(self, value: &RawValue) -> u64 {
        match self {
            TextCounter::ByBytes => json_tokens(value),
        }
    }
}

fn message_tokens(counter: TextCounter, at: usize, message: &MessageView<'_>) -> Result<u64, InvalidRequest> {
    let content = match message.content {
        None => 0,
        Some(content) => match content.get().as_bytes().first() {
            Some(b'"') => counter.string(content),
            Some(b'[') => parts_tokens(counter, at, content)?,
            _ => {
                let param = format!("messages[{at}].content");
                return Err(InvalidRequest::field(param, "must be a string or an array of parts"));
            }
        },
    };
    let name = message.name.map_or(0, |name| TOKENS_PER_NAME.saturating_add(counter.json(name)));
    let calls = [message.tool_calls, message.function_call];
    Ok(calls
        .iter()
        .flatten()
        .map(|call| counter.json(call))
        .chain([content, name])
        .fold(TOKENS_PER_MESSAGE, u64::saturating_add))
}

fn parts_tokens(counter: TextCounter, at: usize, parts: &RawValue) -> Result<u64, InvalidRequest> {
    let mut tokens = 0_u64;
    each(parts, |_, part: PartView<'_>| {
        tokens = tokens.saturating_add(part_tokens(counter, &part));
        Ok::<(), std::convert::Infallible>(())
    })
    .map_err(|stopped| match stopped {
        Each::Visit(never) => match never {},
        Each::WrongElement(part) => InvalidRequest::field(
            format!("messages[{at}].content[{part}]"),
            "must be an object with a `type`",
        ),
    })?;
    Ok(tokens)
}

fn part_tokens(counter: TextCounter, part: &PartView<'_>) -> u64 {
    // Counted whatever the type says, so that a long text cannot pass as something small.
    let text = part.text.map_or(0, |text| counter.json(text));
    let rest = match part.r#type.as_ref() {
        "text" | "refusal" => 0,
        "image_url" if is_low_detail(part.image_url) => TOKENS_PER_LOW_DETAIL_IMAGE,
        "image_url" => TOKENS_PER_IMAGE,
        _ => TOKENS_PER_OTHER_PART,
    };
    rest.saturating_add(text)
}

fn is_low_detail(image_url: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Image<'a> {
        #[serde(borrow)]
        detail: Option<Cow<'a, str>>,
    }
    image_url
        .and_then(|raw| serde_json::from_str::<Image<'_>>(raw.get()).ok())
        .is_some_and(|image| image.detail.as_deref() == Some("low"))
}
