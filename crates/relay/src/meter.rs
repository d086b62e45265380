//! Reads the events of one stream: what each is, and what they add up to.

use openai_types::{Answer, Usage, sse};
use std::collections::BTreeSet;

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Hand it on.
    Forward,
    /// Hand it on to nobody: the usage chunk that the client did not ask for.
    HoldBack,
    /// `[DONE]`: hand it on, nothing follows.
    Done,
    /// The provider's own error: hand it on, nothing follows.
    Error,
    /// Not an event of this API: nothing of it may reach the client.
    Malformed,
}

/// Follows one stream.
#[derive(Debug, Default)]
pub struct Meter {
    strip_usage: bool,
    usage: Option<Usage>,
    generated_bytes: usize,
    /// Choices that have begun and not ended.
    open: BTreeSet<u32>,
    any_finished: bool,
}

/// More choices than any provider gives; beyond it a stream is not followed choice by choice.
const MAX_CHOICES: usize = 1024;

impl Meter {
    /// `strip_usage`: hold back the usage chunk.
    pub fn new(strip_usage: bool) -> Self {
        Meter { strip_usage, ..Meter::default() }
    }

    /// Takes note of one event and says what to do with it.
    pub fn observe(&mut self, event: &[u8]) -> Verdict {
        let Some(data) = sse::data(event) else {
            return Verdict::Forward; // a comment, or an event without data
        };
        let data = data.trim_ascii();
        if data.is_empty() {
            return Verdict::Forward;
        }
        if data == b"[DONE]" {
            return Verdict::Done;
        }
        let Ok(chunk) = Answer::parse(data) else {
            return Verdict::Malformed;
        };
        if chunk.is_error() {
            return Verdict::Error;
        }
        if let Some(usage) = chunk.usage() {
            self.usage = Some(usage);
        }
        self.generated_bytes = self.generated_bytes.saturating_add(chunk.generated_bytes());
        if self.open.len() < MAX_CHOICES {
            self.open.extend(chunk.indices());
        }
        for (index, _) in chunk.finished() {
            self.any_finished = true;
            self.open.remove(&index);
        }
        if self.strip_usage && chunk.is_usage_chunk() { Verdict::HoldBack } else { Verdict::Forward }
    }

    /// Whether every choice that began has ended, and at least one has: the answer is complete even if `[DONE]` is
    /// missing.
    pub fn is_whole(&self) -> bool {
        self.any_finished && self.open.is_empty()
    }

    /// The provider's last usage.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// UTF-8 bytes of generated text so far.
    pub fn generated_bytes(&self) -> usize {
        self.generated_bytes
    }
}
