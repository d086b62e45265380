//! What the client has been told so far: what another upstream must know to go on, and what it must not say again.
//!
//! Texts are kept decoded, so that nothing depends on where a provider cuts its chunks or how it escapes them.

use openai_types::{Answer, Lane, RawObject, Said};
use std::collections::BTreeMap;

/// Longest answer that can still be continued, in bytes of text: 64 thousand tokens at four bytes each.
const MAX_TEXT_BYTES: usize = 256 * 1024;
/// Most choices that can be continued: as many as OpenAI gives.
const MAX_CHOICES: usize = 128;

/// What has been said of one choice.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SpokenChoice {
    pub(crate) texts: BTreeMap<Lane, String>,
    pub(crate) has_finished: bool,
}

/// What has been said.
#[derive(Debug, Default)]
pub struct Spoken {
    pub(crate) choices: BTreeMap<u32, SpokenChoice>,
    /// `id`, `created` and `model` of the first chunk, as they stood.
    pub(crate) identity: Option<Vec<(&'static str, String)>>,
    text_bytes: usize,
    /// Something was said that cannot be picked up again.
    is_beyond_repair: bool,
}

/// Fields that are the same in every chunk of a stream.
const IDENTITY: [&str; 3] = ["id", "created", "model"];

impl Spoken {
    /// Takes note of a chunk that goes to the client; `data` is its JSON.
    pub(crate) fn note(&mut self, chunk: &Answer<'_>, data: &[u8]) {
        self.identity.get_or_insert_with(|| identity(data));
        for said in chunk.said() {
            self.note_choice(said);
        }
    }

    fn note_choice(&mut self, said: Said<'_>) {
        if self.is_beyond_repair {
            return;
        }
        // A half-made call cannot be gone on with: its id and its arguments are the first model's.
        if said.calls_tools() || self.choices.len() >= MAX_CHOICES || self.text_bytes > MAX_TEXT_BYTES {
            self.give_up();
            return;
        }
        let choice = self.choices.entry(said.index).or_default();
        choice.has_finished |= said.finish_reason.is_some();
        for (lane, raw) in said.texts() {
            // Half a surrogate pair is no text yet, and its other half may never come.
            let Ok(text) = serde_json::from_str::<String>(raw.get()) else { return self.give_up() };
            self.text_bytes += text.len();
            choice.texts.entry(lane).or_default().push_str(&text);
        }
    }

    /// Never continue this.
    pub(crate) fn give_up(&mut self) {
        self.is_beyond_repair = true;
        self.choices.clear();
    }

    /// Whether another upstream can go on: no tool call was begun, every text could be read, and there is not too much
    /// of it.
    pub fn can_be_continued(&self) -> bool {
        !self.is_beyond_repair
    }

    /// The text for an upstream to go on from, as the beginning of its own message: of an only choice that has begun to
    /// answer. Where there is none, the answer can only be begun again ([`Joint::Cut`](crate::Joint::Cut)).
    pub fn prefill(&self) -> Option<&str> {
        let mut choices = self.choices.iter();
        let (Some((0, choice)), None) = (choices.next(), choices.next()) else { return None };
        if choice.texts.contains_key(&Lane::Refusal) || choice.has_finished || self.is_beyond_repair {
            return None;
        }
        choice.texts.get(&Lane::Content).map(String::as_str)
    }

    /// Bytes of text that the client has, all choices together.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }
}

fn identity(data: &[u8]) -> Vec<(&'static str, String)> {
    let object = std::str::from_utf8(data).ok().and_then(RawObject::parse).unwrap_or_default();
    IDENTITY.into_iter().filter_map(|name| Some((name, object.get(name)?.to_owned()))).collect()
}
