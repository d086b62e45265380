//! Makes one `chat.completion` object of a whole stream of `chat.completion.chunk`s.
//!
//! It only merges what it knows how to merge. What the protocol concatenates is concatenated; a field that may stand
//! in several chunks is kept if it never changes; anything else makes the stream [`NotCacheable::Unmergeable`], because
//! a completion that lacks something, or has it wrong, would be served again and again.
//!
//! Protocol: <https://platform.openai.com/docs/api-reference/chat/streaming>. Azure OpenAI adds
//! `prompt_filter_results` and `content_filter_results`.

mod call;
mod choice;
mod kept;
#[cfg(test)]
mod tests;

use crate::cacheable::NotCacheable;
use crate::json::{Fields, Json, Object};
use choice::Choice;
pub(crate) use choice::TEXTS;
use kept::Kept;
use openai_types::sse;
use std::collections::BTreeMap;

/// Most choices in one answer: the API's own maximum of `n`.
const MAX_CHOICES: u32 = 128;

/// Fields of a chunk that are padding, against readers of encrypted traffic who measure lengths.
const PADDING: [&str; 2] = ["obfuscation", "p"];

/// Assembles the whole text of a stream, `[DONE]` included.
///
/// # Errors
/// Why the stream must not be kept: it has an error, no end, or something that cannot be merged.
pub fn assemble(stream: &[u8]) -> Result<Vec<u8>, NotCacheable> {
    let mut completion = Completion::default();
    let mut is_done = false;
    for data in sse::events(stream).filter_map(sse::data) {
        if is_done {
            return Err(NotCacheable::Malformed("the stream goes on after [DONE]"));
        }
        if data.trim_ascii() == b"[DONE]" {
            is_done = true;
        } else {
            let chunk = Json::parse(&data).map_err(|_| NotCacheable::Malformed("a chunk is not JSON"))?;
            completion
                .merge(chunk.as_object().ok_or(NotCacheable::Malformed("a chunk is not an object"))?)?;
        }
    }
    if is_done { completion.finish() } else { Err(NotCacheable::NotDone) }
}

#[derive(Default)]
struct Completion {
    /// `id`, `created` and `model`, of the first chunk that belongs to a choice: Azure's first chunk, which does not,
    /// has them empty.
    head: Option<Kept>,
    choices: BTreeMap<u32, Choice>,
    /// Of the last chunk that has it: some providers send it with every chunk, and it grows.
    usage: Option<Vec<u8>>,
    /// `service_tier` and `system_fingerprint`, of the first chunk that has them.
    labels: Kept,
    /// Fields that we do not know and that never changed.
    others: Kept,
}

impl Completion {
    fn merge(&mut self, chunk: &Object<'_>) -> Result<(), NotCacheable> {
        if chunk.present("error").is_some() {
            return Err(NotCacheable::Error);
        }
        let choices = chunk.get("choices").and_then(Json::as_array);
        let choices = choices.ok_or(NotCacheable::Malformed("a chunk has no choices"))?;
        if self.head.is_none() && !choices.is_empty() {
            self.head = Some(Kept::of(chunk, &["id", "created", "model"]));
        }
        for (name, value) in chunk.iter() {
            match (name, value) {
                ("id" | "object" | "created" | "model" | "choices", _) | (_, Json::Null) => {}
                ("usage", usage) => self.usage = Some(usage.to_vec()),
                ("service_tier" | "system_fingerprint", label) => self.labels.keep_first(name, label),
                (name, _) if PADDING.contains(&name) => {}
                (name, other) => self.others.keep(name, other)?,
            }
        }
        for choice in choices {
            let choice = choice.as_object().ok_or(NotCacheable::Malformed("a choice is not an object"))?;
            let index = choice.present("index").map_or(Some(0), Json::as_u32);
            let index = index.filter(|&index| index < MAX_CHOICES);
            let index = index.ok_or(NotCacheable::Malformed("a choice has a wrong index"))?;
            self.choices.entry(index).or_default().merge(choice)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, NotCacheable> {
        let mut choices = vec![b'['];
        for (at, (index, choice)) in self.choices.into_iter().enumerate() {
            if usize::try_from(index) != Ok(at) {
                return Err(NotCacheable::Malformed("a choice is missing"));
            }
            if at > 0 {
                choices.push(b',');
            }
            choice.finish(index, &mut choices)?;
        }
        choices.push(b']');

        let mut out = Vec::with_capacity(choices.len().saturating_add(512));
        let mut fields = Fields::begin(&mut out);
        let head = self.head.unwrap_or_default();
        head.write_one("id", &mut fields);
        fields.text("object", "chat.completion");
        head.write_one("created", &mut fields);
        head.write_one("model", &mut fields);
        fields.raw("choices", &choices);
        if let Some(usage) = self.usage {
            fields.raw("usage", &usage);
        }
        self.labels.write(&mut fields);
        self.others.write(&mut fields);
        fields.end();
        Ok(out)
    }
}
