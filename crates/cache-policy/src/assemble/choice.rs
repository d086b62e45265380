//! One choice of a stream, delta by delta.

use super::call::{ARGUMENTS, Call, ToolCall};
use super::kept::Kept;
use crate::cacheable::NotCacheable;
use crate::json::{Fields, Json, Object};
use std::collections::BTreeMap;

/// Fields of a message whose fragments are concatenated, in the order in which they are written.
///
/// `reasoning_content` is DeepSeek's and vLLM's, `reasoning` OpenRouter's and Groq's.
pub(crate) const TEXTS: [&str; 4] = ["content", "refusal", "reasoning_content", "reasoning"];

/// Those of [`TEXTS`] that a message always has, null if it has none.
const ALWAYS_PRESENT: [&str; 2] = ["content", "refusal"];

/// Lists of `logprobs`.
const LOGPROBS: [&str; 2] = ["content", "refusal"];

#[derive(Default)]
pub(super) struct Choice {
    role: Option<String>,
    texts: [Option<String>; TEXTS.len()],
    tool_calls: BTreeMap<u32, ToolCall>,
    function_call: Option<Call>,
    annotations: List,
    logprobs: Option<[List; LOGPROBS.len()]>,
    finish_reason: Option<String>,
    /// Azure's, per category; the last chunk that names a category holds.
    content_filter_results: Kept,
    others: Kept,
}

/// Elements of an array, as JSON with commas between them; `None` until the array was there.
#[derive(Default)]
struct List(Option<Vec<u8>>);

impl List {
    fn extend(&mut self, elements: &[Json<'_>]) {
        let list = self.0.get_or_insert_default();
        for element in elements {
            if !list.is_empty() {
                list.push(b',');
            }
            element.write(list);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            None => out.extend_from_slice(b"null"),
            Some(elements) => {
                out.push(b'[');
                out.extend_from_slice(elements);
                out.push(b']');
            }
        }
    }
}

fn unmergeable(parent: &str, name: &str) -> NotCacheable {
    NotCacheable::Unmergeable(format!("{parent}.{name}"))
}

impl Choice {
    pub(super) fn merge(&mut self, choice: &Object<'_>) -> Result<(), NotCacheable> {
        for (name, value) in choice.iter() {
            match (name, value) {
                ("index", _) | (_, Json::Null) => {}
                ("error", _) => return Err(NotCacheable::Error),
                ("delta", Json::Object(delta)) => self.merge_delta(delta)?,
                ("logprobs", Json::Object(logprobs)) => self.merge_logprobs(logprobs)?,
                ("finish_reason", Json::Text(reason)) => match &self.finish_reason {
                    Some(before) if before != reason => {
                        return Err(NotCacheable::Malformed("a choice has two finish_reasons"));
                    }
                    _ => self.finish_reason = Some(reason.clone().into_owned()),
                },
                ("content_filter_results", Json::Object(results)) => {
                    results
                        .iter()
                        .for_each(|(name, value)| self.content_filter_results.keep_last(name, value));
                }
                ("delta" | "message" | "logprobs" | "finish_reason" | "content_filter_results", _) => {
                    return Err(unmergeable("choices", name));
                }
                (other, value) => self.others.keep(other, value)?,
            }
        }
        Ok(())
    }

    fn merge_delta(&mut self, delta: &Object<'_>) -> Result<(), NotCacheable> {
        for (name, value) in delta.iter() {
            match (name, value) {
                (_, Json::Null) => {}
                ("role", Json::Text(role)) if !role.is_empty() => match &self.role {
                    Some(before) if before != role => return Err(unmergeable("delta", name)),
                    _ => self.role = Some(role.clone().into_owned()),
                },
                ("role", Json::Text(_)) => {}
                ("tool_calls", Json::Array(fragments)) => {
                    for fragment in fragments {
                        self.merge_tool_call(fragment)?;
                    }
                }
                ("function_call", Json::Object(call)) => {
                    self.function_call.get_or_insert_default().merge(call, ARGUMENTS)?;
                }
                ("annotations", Json::Array(annotations)) => self.annotations.extend(annotations),
                (name, Json::Text(fragment)) => {
                    let text = TEXTS.iter().zip(&mut self.texts).find(|(known, _)| **known == name);
                    let (_, text) = text.ok_or_else(|| unmergeable("delta", name))?;
                    text.get_or_insert_default().push_str(fragment);
                }
                (name, _) => return Err(unmergeable("delta", name)),
            }
        }
        Ok(())
    }

    fn merge_tool_call(&mut self, fragment: &Json<'_>) -> Result<(), NotCacheable> {
        let fragment = fragment.as_object().ok_or_else(|| unmergeable("delta", "tool_calls"))?;
        let index = fragment.present("index").and_then(Json::as_u32);
        let index = index.ok_or(NotCacheable::Malformed("a fragment of a tool call has no index"))?;
        self.tool_calls.entry(index).or_default().merge(fragment)
    }

    fn merge_logprobs(&mut self, logprobs: &Object<'_>) -> Result<(), NotCacheable> {
        let lists = self.logprobs.get_or_insert_default();
        for (name, value) in logprobs.iter() {
            let list = LOGPROBS.iter().zip(lists.iter_mut()).find(|(known, _)| **known == name);
            match (list, value) {
                (_, Json::Null) => {}
                (Some((_, list)), Json::Array(elements)) => list.extend(elements),
                _ => return Err(unmergeable("logprobs", name)),
            }
        }
        Ok(())
    }

    /// Writes it as a choice of a `chat.completion`.
    pub(super) fn finish(self, index: u32, out: &mut Vec<u8>) -> Result<(), NotCacheable> {
        let mut fields = Fields::begin(out);
        fields.raw("index", index.to_string().as_bytes());
        self.write_message(fields.name("message"))?;
        let logprobs_out = fields.name("logprobs");
        match &self.logprobs {
            None => logprobs_out.extend_from_slice(b"null"),
            Some(lists) => {
                let mut logprobs = Fields::begin(logprobs_out);
                for (name, list) in LOGPROBS.iter().zip(lists) {
                    list.write(logprobs.name(name));
                }
                logprobs.end();
            }
        }
        fields.text("finish_reason", self.finish_reason.as_deref().ok_or(NotCacheable::Unfinished)?);
        if !self.content_filter_results.is_empty() {
            let mut results = Fields::begin(fields.name("content_filter_results"));
            self.content_filter_results.write(&mut results);
            results.end();
        }
        self.others.write(&mut fields);
        fields.end();
        Ok(())
    }

    fn write_message(&self, out: &mut Vec<u8>) -> Result<(), NotCacheable> {
        let mut message = Fields::begin(out);
        message.text("role", self.role.as_deref().unwrap_or("assistant"));
        for (name, text) in TEXTS.iter().zip(&self.texts) {
            match text {
                Some(text) => message.text(name, text),
                None if ALWAYS_PRESENT.contains(name) => message.raw(name, b"null"),
                None => {}
            }
        }
        if !self.tool_calls.is_empty() {
            let calls = message.name("tool_calls");
            calls.push(b'[');
            for (at, call) in self.tool_calls.values().enumerate() {
                if at > 0 {
                    calls.push(b',');
                }
                call.write(calls)?;
            }
            calls.push(b']');
        }
        if let Some(call) = &self.function_call {
            call.write(message.name("function_call"), ARGUMENTS)?;
        }
        if self.annotations.0.is_some() {
            self.annotations.write(message.name("annotations"));
        }
        message.end();
        Ok(())
    }
}
