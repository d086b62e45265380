//! Gives a kept completion back as the stream that a client asked for.
//!
//! Per choice: a chunk with the role, the texts in pieces, each call in one chunk, a chunk with the finish reason; then
//! the usage if it was asked for, and `[DONE]`. Every chunk has the completion's own id, created, model, service tier
//! and system fingerprint. `logprobs` come whole with the first piece of the content, other fields of a choice with its
//! finish reason, other fields of the completion with the first chunk.
//!
//! Invariant: `assemble` makes the same completion of it again.

use crate::assemble::TEXTS;
use crate::json::{Fields, Json, Object};
use std::collections::BTreeSet;

/// Longest piece of a text in one chunk, in bytes. The whole replay is one body, so smaller pieces would only cost.
const MAX_PIECE_BYTES: usize = 256;

/// The `object` of every chunk.
const CHUNK: &str = "chat.completion.chunk";

/// Why a completion cannot be given back as a stream: the client's request must go upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayable {
    /// Not a `chat.completion`.
    #[error("it is not a chat.completion")]
    Malformed,
    /// A field of a message for which a delta has no known form.
    #[error("no delta is known for message.{0}")]
    Field(String),
}

/// Renders a `chat.completion` as SSE, `[DONE]` included.
///
/// # Errors
/// When it has something that cannot be said in deltas.
pub fn replay(completion: &[u8], include_usage: bool) -> Result<Vec<u8>, NotReplayable> {
    let json = Json::parse(completion).map_err(|_| NotReplayable::Malformed)?;
    let completion_fields = json.as_object().ok_or(NotReplayable::Malformed)?;
    let choices = completion_fields.get("choices").and_then(Json::as_array);
    let choices = choices.ok_or(NotReplayable::Malformed)?;
    check_indices(choices)?;
    let mut stream = Stream::new(completion_fields, include_usage, completion.len());
    for (at, choice) in choices.iter().enumerate() {
        replay_choice(&mut stream, at, choice.as_object().ok_or(NotReplayable::Malformed)?)?;
    }
    stream.end(completion_fields.present("usage").filter(|_| include_usage));
    Ok(stream.out)
}

struct Stream {
    out: Vec<u8>,
    /// The fields that every chunk begins with, without the closing brace.
    head: Vec<u8>,
    /// Fields that only the first chunk has; each begins with a comma.
    first_only: Vec<u8>,
    /// `,"usage":null` if the client asked for usage.
    usage_null: &'static [u8],
}

impl Stream {
    fn new(completion: &Object<'_>, include_usage: bool, completion_bytes: usize) -> Self {
        let mut head = Vec::with_capacity(256);
        let mut fields = Fields::begin(&mut head);
        if completion.get("object").is_none() {
            fields.text("object", CHUNK);
        }
        let mut first_only = Vec::new();
        for (name, value) in completion.iter() {
            match name {
                "choices" | "usage" => {}
                "object" => fields.text("object", CHUNK),
                "id" | "created" | "model" | "service_tier" | "system_fingerprint" => {
                    fields.value(name, value)
                }
                _ => {
                    first_only.push(b',');
                    crate::json::write_text(&mut first_only, name);
                    first_only.push(b':');
                    value.write(&mut first_only);
                }
            }
        }
        let usage_null: &[u8] = if include_usage { br#","usage":null"# } else { b"" };
        let out = Vec::with_capacity(completion_bytes.saturating_mul(3));
        Stream { out, head, first_only, usage_null }
    }

    /// One chunk about one choice; `delta` and `rest` write fields of the delta and of the choice.
    fn chunk(
        &mut self,
        choice: &Choice<'_, '_>,
        logprobs: Option<&Json<'_>>,
        delta: impl FnOnce(&mut Fields<'_>),
        finish: Option<&Object<'_>>,
    ) {
        self.out.extend_from_slice(b"data: ");
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(br#","choices":["#);
        let mut fields = Fields::begin(&mut self.out);
        match choice.index {
            Some(index) => fields.value("index", index),
            None => fields.raw("index", choice.at.to_string().as_bytes()),
        }
        let mut delta_fields = Fields::begin(fields.name("delta"));
        delta(&mut delta_fields);
        delta_fields.end();
        fields.value("logprobs", logprobs.unwrap_or(&Json::Null));
        match finish {
            None => fields.value("finish_reason", &Json::Null),
            Some(all) => all
                .iter()
                .filter(|(name, _)| !matches!(*name, "index" | "message" | "logprobs"))
                .for_each(|(name, value)| fields.value(name, value)),
        }
        fields.end();
        self.out.push(b']');
        self.out.extend_from_slice(self.usage_null);
        self.out.append(&mut self.first_only);
        self.out.extend_from_slice(b"}\n\n");
    }

    fn end(&mut self, usage: Option<&Json<'_>>) {
        if let Some(usage) = usage {
            self.out.extend_from_slice(b"data: ");
            self.out.extend_from_slice(&self.head);
            self.out.extend_from_slice(br#","choices":[],"usage":"#);
            usage.write(&mut self.out);
            self.out.extend_from_slice(b"}\n\n");
        }
        self.out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// Two choices of one index would become one for whoever reads the stream, and beside a gap one would seem to be missing.
fn check_indices(choices: &[Json<'_>]) -> Result<(), NotReplayable> {
    let mut seen = BTreeSet::new();
    let is_in_range = |index: u32| usize::try_from(index).is_ok_and(|index| index < choices.len());
    for (at, choice) in choices.iter().enumerate() {
        let index = match choice.as_object().and_then(|choice| choice.present("index")) {
            Some(index) => index.as_u32(),
            None => u32::try_from(at).ok(),
        };
        if !index.is_some_and(|index| is_in_range(index) && seen.insert(index)) {
            return Err(NotReplayable::Malformed);
        }
    }
    Ok(())
}

struct Choice<'c, 'a> {
    at: usize,
    /// Absent from some servers' answers; a client needs it in a stream.
    index: Option<&'c Json<'a>>,
    message: &'c Object<'a>,
}

fn replay_choice(stream: &mut Stream, at: usize, fields: &Object<'_>) -> Result<(), NotReplayable> {
    let message = fields.get("message").and_then(Json::as_object).ok_or(NotReplayable::Malformed)?;
    let choice = Choice { at, index: fields.present("index"), message };
    check_fields(message)?;
    // Taken by the first piece of the content, or else by the end of the choice.
    let mut logprobs = fields.present("logprobs");

    stream.chunk(&choice, None, |delta| open(&choice, delta), None);
    for name in TEXTS {
        for piece in pieces(message.present(name).and_then(Json::as_text).unwrap_or_default()) {
            let logprobs = if name == "content" { logprobs.take() } else { None };
            stream.chunk(&choice, logprobs, |delta| delta.text(name, piece), None);
        }
    }
    for (at, call) in
        message.get("tool_calls").and_then(Json::as_array).unwrap_or_default().iter().enumerate()
    {
        let call = call.as_object().ok_or_else(|| NotReplayable::Field("tool_calls".to_owned()))?;
        stream.chunk(&choice, None, |delta| write_tool_call(at, call, delta), None);
    }
    for name in ["function_call", "annotations"] {
        if let Some(value) = message.get(name).filter(|value| !value.is_empty()) {
            stream.chunk(&choice, None, |delta| delta.value(name, value), None);
        }
    }
    stream.chunk(&choice, logprobs, |_| (), Some(fields));
    Ok(())
}

/// The first delta: the role, and each text that the message has as empty or null.
fn open(choice: &Choice<'_, '_>, delta: &mut Fields<'_>) {
    delta.value("role", choice.message.present("role").unwrap_or(&Json::Text("assistant".into())));
    for name in TEXTS {
        match choice.message.get(name) {
            Some(Json::Text(_)) => delta.text(name, ""),
            Some(null) => delta.value(name, null),
            None => {}
        }
    }
}

/// What a message has must have a form as a delta; null and empty arrays say nothing.
fn check_fields(message: &Object<'_>) -> Result<(), NotReplayable> {
    for (name, value) in message.iter() {
        let is_known = match value {
            Json::Null => true,
            Json::Text(_) => name == "role" || TEXTS.contains(&name),
            Json::Array(elements) => elements.is_empty() || matches!(name, "tool_calls" | "annotations"),
            Json::Object(_) => name == "function_call",
            Json::Bool(_) | Json::Number(_) => false,
        };
        if !is_known {
            return Err(NotReplayable::Field(name.to_owned()));
        }
    }
    Ok(())
}

fn write_tool_call(at: usize, call: &Object<'_>, delta: &mut Fields<'_>) {
    let out = delta.name("tool_calls");
    out.push(b'[');
    let mut fragment = Fields::begin(out);
    fragment.raw("index", at.to_string().as_bytes());
    call.iter().filter(|(name, _)| *name != "index").for_each(|(name, value)| fragment.value(name, value));
    fragment.end();
    out.push(b']');
}

/// Pieces of at most [`MAX_PIECE_BYTES`], cut between characters, after a space if there is one.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.floor_char_boundary(MAX_PIECE_BYTES);
        if end < rest.len() {
            let space = rest.get(..end).and_then(|piece| piece.rfind(' '));
            end = space.map_or(end, |space| space + 1);
        }
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
