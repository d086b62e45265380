//! The chat request as far as its size matters: where the parts stand in the body, not what they say.
//!
//! Checks only what it reads. What it does not know (other fields, other kinds of content) is left to the provider.

use crate::json::starts_with;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A request body that is not a chat request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", match .param { Some(param) => format!("`{param}` {what}."), None => format!("The request body {what}.") })]
pub struct InvalidRequest {
    /// The wrong field, as a path (`messages[3].content`); `None` when the body as a whole is wrong.
    pub param: Option<String>,
    /// What is wrong with it, a predicate without a subject.
    pub what: Cow<'static, str>,
}

impl InvalidRequest {
    pub(crate) fn field(param: impl Into<String>, what: impl Into<Cow<'static, str>>) -> Self {
        InvalidRequest { param: Some(param.into()), what: what.into() }
    }
}

/// A chat request, borrowed from its body.
#[derive(Debug)]
pub struct ChatRequestView<'a> {
    pub(crate) messages: &'a RawValue,
    pub(crate) tools: Option<&'a RawValue>,
    /// The forerunner of `tools`.
    pub(crate) functions: Option<&'a RawValue>,
    pub(crate) response_format: Option<&'a RawValue>,
    /// Most tokens that one completion may have (the larger of `max_completion_tokens` and `max_tokens`); `None` when the client
    /// sets no bound.
    pub max_completion_tokens: Option<u64>,
    /// How many completions are asked for, at least 1.
    pub n: u64,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
}

impl<'a> ChatRequestView<'a> {
    /// Finds the parts of a request body.
    ///
    /// # Errors
    /// [`InvalidRequest`] when the body is not a JSON object, has no array of messages, or bounds its completion by
    /// anything but a number. The messages themselves are checked when they are counted.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidRequest> {
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidRequest { param: None, what: "must be a JSON object".into() });
        }
        let fields: Fields<'a> = serde_json::from_slice(body)
            .map_err(|e| InvalidRequest { param: None, what: format!("is not valid JSON: {e}").into() })?;
        let messages = fields
            .messages
            .filter(|raw| starts_with(raw, b'['))
            .ok_or_else(|| InvalidRequest::field("messages", "must be an array of messages"))?;
        // Where both are given, the larger: servers that know only one of the two go by that.
        let max_tokens = whole_number("max_tokens", fields.max_tokens, 0)?;
        let max_completion_tokens = whole_number("max_completion_tokens", fields.max_completion_tokens, 0)?;
        Ok(ChatRequestView {
            messages,
            tools: fields.tools,
            functions: fields.functions,
            response_format: fields.response_format,
            max_completion_tokens: max_completion_tokens.max(max_tokens),
            n: whole_number("n", fields.n, 1)?.unwrap_or(1),
        })
    }
}

fn whole_number(param: &str, raw: Option<&RawValue>, min: u64) -> Result<Option<u64>, InvalidRequest> {
    let Some(raw) = raw else { return Ok(None) };
    match raw.get().parse() {
        Ok(number) if number >= min => Ok(Some(number)),
        _ => Err(InvalidRequest::field(param, format!("must be a whole number of at least {min}"))),
    }
}

/// One message.
#[derive(Deserialize)]
pub(crate) struct MessageView<'a> {
    #[serde(borrow)]
    pub role: Option<&'a RawValue>,
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    pub function_call: Option<&'a RawValue>,
}

/// One part of a message's content.
#[derive(Deserialize)]
pub(crate) struct PartView<'a> {
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    pub image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    pub input_audio: Option<&'a RawValue>,
}
