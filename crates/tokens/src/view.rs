//! The chat request as far as its size matters: where the parts stand in the body, not what they say.
//!
//! Checks only what it reads. What it does not know (other fields, other kinds of content) is left to the provider.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

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
    /// What else becomes part of the prompt: tools, legacy functions, the schema of the answer.
    pub(crate) prompt_json: [Option<&'a RawValue>; 3],
    /// Most tokens that one completion may have (`max_completion_tokens`, else `max_tokens`); `None` when the client
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
            .filter(|raw| raw.get().starts_with('['))
            .ok_or_else(|| InvalidRequest::field("messages", "must be an array of messages"))?;
        // Both are checked, though only one counts: a wrong one is the client's mistake either way.
        let max_tokens = whole_number("max_tokens", fields.max_tokens, 0)?;
        let max_completion_tokens = whole_number("max_completion_tokens", fields.max_completion_tokens, 0)?;
        Ok(ChatRequestView {
            messages,
            prompt_json: [fields.tools, fields.functions, fields.response_format],
            max_completion_tokens: max_completion_tokens.or(max_tokens),
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
    pub image_url: Option<&'a RawValue>,
}

/// Hands the elements of a JSON array to `visit` one by one, so that an array of any length takes no memory.
///
/// # Errors
/// The first error of `visit`, or the index of the first element that is not a `T`.
pub(crate) fn each<'a, T, E>(
    array: &'a RawValue,
    visit: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), Each<E>>
where
    T: Deserialize<'a>,
{
    let mut at = 0;
    let mut failed = None;
    let elements = Elements { visit, at: &mut at, failed: &mut failed, element: PhantomData };
    match elements.deserialize(&mut serde_json::Deserializer::from_str(array.get())) {
        Ok(()) => Ok(()),
        Err(_) => Err(failed.map_or(Each::WrongElement(at), Each::Visit)),
    }
}

/// Why [`each`] stopped.
pub(crate) enum Each<E> {
    WrongElement(usize),
    Visit(E),
}

struct Elements<'s, T, E, F> {
    visit: F,
    at: &'s mut usize,
    failed: &'s mut Option<E>,
    element: PhantomData<T>,
}

impl<'de, T, E, F> DeserializeSeed<'de> for Elements<'_, T, E, F>
where
    T: Deserialize<'de>,
    F: FnMut(usize, T) -> Result<(), E>,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, E, F> Visitor<'de> for Elements<'_, T, E, F>
where
    T: Deserialize<'de>,
    F: FnMut(usize, T) -> Result<(), E>,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<T>()? {
            if let Err(error) = (self.visit)(*self.at, element) {
                *self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
            *self.at += 1;
        }
        Ok(())
    }
}
