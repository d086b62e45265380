//! Reads the events of one stream: what each is, and what they add up to.

use openai_types::{Answer, Characters, ReportedError, Usage, sse};
use std::collections::BTreeSet;

/// What an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A comment, an event without data: for the client, and no progress.
    Aside,
    /// A chunk.
    Chunk,
    /// The usage chunk that the client did not ask for: for nobody.
    HoldBack,
    /// `[DONE]`: nothing follows.
    Done,
    /// The provider's own error: nothing follows.
    Error(Box<ReportedError>),
    /// Not an event of this API: nothing of it may reach the client.
    Malformed,
}

/// Follows one stream.
#[derive(Debug, Default)]
pub struct Meter {
    choices: usize,
    strip_usage: bool,
    usage: Option<Usage>,
    generated: Characters,
    begun: BTreeSet<u32>,
    finished: BTreeSet<u32>,
}

/// More choices than any provider gives (OpenAI: 128); beyond it a stream is not followed choice by choice, and needs its
/// `[DONE]`.
const MAX_CHOICES: usize = 1024;

impl Meter {
    /// `choices`: as many as were asked for. `strip_usage`: hold back the usage chunk.
    pub fn new(choices: usize, strip_usage: bool) -> Self {
        Meter { choices, strip_usage, ..Meter::default() }
    }

    /// Takes note of one event and says what it is; `each` gets the chunk, if it is one.
    pub fn observe(&mut self, event: &[u8], each: impl FnOnce(&Answer<'_>, &[u8])) -> Verdict {
        let Some(data) = sse::data(event) else { return Verdict::Aside };
        let data = data.trim_ascii();
        if data.is_empty() {
            return Verdict::Aside;
        }
        if data == b"[DONE]" {
            return Verdict::Done;
        }
        // Providers name the event when they mean to say that something went wrong, and then anything may stand in it.
        if sse::name(event) == Some(b"error") {
            let error = ReportedError::parse(data).unwrap_or_else(|| ReportedError::unreadable(data));
            return Verdict::Error(Box::new(error));
        }
        let Ok(chunk) = Answer::parse_chunk(data) else { return Verdict::Malformed };
        if (chunk.is_error() || !chunk.has_choices())
            && let Some(error) = ReportedError::parse(data)
        {
            return Verdict::Error(Box::new(error));
        }
        // OpenRouter ends a choice like this when its provider failed.
        if chunk.finished().any(|(_, reason)| reason == "error") {
            return Verdict::Error(Box::new(ReportedError::unreadable(data)));
        }
        self.count(&chunk);
        each(&chunk, data);
        if self.strip_usage && chunk.is_usage_chunk() { Verdict::HoldBack } else { Verdict::Chunk }
    }

    fn count(&mut self, chunk: &Answer<'_>) {
        if let Some(usage) = chunk.usage() {
            self.usage = Some(usage);
        }
        self.generated = self.generated.plus(chunk.generated());
        for said in chunk.said() {
            if self.begun.len() < MAX_CHOICES {
                self.begun.insert(said.index);
                if said.finish_reason.is_some() {
                    self.finished.insert(said.index);
                }
            }
        }
    }

    /// Whether it has begun to answer: a text, a tool call or a finish.
    pub fn has_spoken(&self) -> bool {
        !self.generated.is_empty() || !self.finished.is_empty()
    }

    /// Whether every choice that began has ended, and as many as were asked for: the answer is complete even if `[DONE]` is
    /// missing. Of a provider that gives fewer only its `[DONE]` tells that no more come. Chunks that repeat an ended choice
    /// (with its usage, or its finish once more) do not open it again.
    pub fn is_whole(&self) -> bool {
        let finished = self.finished.len();
        finished >= self.choices.max(1) && self.begun.len() == finished && finished < MAX_CHOICES
    }

    /// The provider's last usage.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The generated text so far.
    pub fn generated(&self) -> Characters {
        self.generated
    }
}
