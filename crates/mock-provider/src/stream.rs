//! The course of a streamed answer: what is sent when, at the pace and with the faults of its model name.
//!
//! A role chunk per choice, the content, a finish chunk per choice, the usage if asked for, `[DONE]`. Events are
//! rendered one at a time, so that a long answer is never held as a stream in memory.

use std::time::Duration;

use crate::answer::{Answer, Choice, Usage};
use crate::behaviour::{EarlyEndKind, StreamShape};
use crate::deltas::{Cursor, Place};
use crate::errors::ApiError;
use crate::events::EventWriter;
use crate::script::Step;

/// The steps of a streamed answer.
pub struct AnswerStream {
    choices: Vec<Choice>,
    /// `None` if none is wanted.
    usage: Option<Usage>,
    shape: StreamShape,
    writer: EventWriter,
    phase: Phase,
    cursor: Cursor,
    /// The place whose gap is being waited for.
    delayed: Option<Place>,
    content_chunks_sent: u64,
}

/// Where the stream is; a number is the choice that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    BeforeFirst,
    Opening,
    Role(usize),
    Content,
    Finish(usize),
    Usage,
    Done,
    Ended,
}

impl AnswerStream {
    /// The stream of `answer`; `is_usage_wanted` is the request's `stream_options.include_usage`.
    pub fn new(answer: Answer, shape: StreamShape, is_usage_wanted: bool) -> Self {
        let usage = answer.usage.filter(|_| is_usage_wanted);
        Self {
            writer: EventWriter::new(&answer, &shape, usage.is_some()),
            choices: answer.choices,
            usage,
            shape,
            phase: Phase::BeforeFirst,
            cursor: Cursor::default(),
            delayed: None,
            content_chunks_sent: 0,
        }
    }

    /// The early end, if this is its moment: after its number of content chunks, or at the latest after the last.
    fn due_end(&self) -> Option<EarlyEndKind> {
        let end = self.shape.early_end?;
        let is_due = match self.phase {
            Phase::Opening => end.after_chunks == 0,
            Phase::Content => end.after_chunks == self.content_chunks_sent,
            Phase::Finish(_) => true,
            _ => false,
        };
        is_due.then_some(end.kind)
    }

    fn last_step(&mut self, kind: EarlyEndKind) -> Option<Step> {
        match kind {
            EarlyEndKind::Cut => Some(Step::Cut),
            EarlyEndKind::Stall => Some(Step::Stall),
            EarlyEndKind::CleanCut => None,
            EarlyEndKind::ErrorEvent => Some(Step::send(self.writer.other(&ApiError::in_stream().render()))),
            EarlyEndKind::NamedErrorEvent => {
                let error = ApiError::in_stream().render();
                Some(Step::send([b"event: error\n".as_slice(), &self.writer.other(&error)].concat()))
            }
        }
    }

    /// When the chunk at `place` may be sent, if it has to be waited for; counted from the head, so that the pace
    /// does not drift.
    fn due_time(&self, place: Place) -> Option<Duration> {
        let is_first_of_round = place.choice == 0 && place.round > 0;
        let rounds = u32::try_from(place.round).unwrap_or(u32::MAX);
        (is_first_of_round && !self.shape.gap.is_zero())
            .then(|| self.shape.ttft + self.shape.gap.saturating_mul(rounds))
    }

    fn content_step(&mut self, place: Place) -> Option<Step> {
        let delta = place.delta(&self.choices)?;
        self.content_chunks_sent += 1;
        let bytes = if self.shape.malformed_chunk == Some(self.content_chunks_sent) {
            self.writer.malformed()
        } else {
            self.writer.content(place, delta)
        };
        Some(Step::Send { bytes, is_content: true })
    }
}

impl Iterator for AnswerStream {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(kind) = self.due_end() {
                self.phase = Phase::Ended;
                return self.last_step(kind);
            }
            match self.phase {
                Phase::BeforeFirst => {
                    self.phase = Phase::Opening;
                    if !self.shape.ttft.is_zero() {
                        return Some(Step::WaitUntil(self.shape.ttft));
                    }
                }
                Phase::Opening => self.phase = Phase::Role(0),
                Phase::Role(index) => match self.choices.get(index) {
                    Some(choice) => {
                        self.phase = Phase::Role(index + 1);
                        return Some(Step::send(self.writer.role(index, &choice.payload)));
                    }
                    None => self.phase = Phase::Content,
                },
                Phase::Content => {
                    if let Some(place) = self.delayed.take() {
                        return self.content_step(place);
                    }
                    let Some(place) = self.cursor.next_place(&self.choices) else {
                        let has_content = self.content_chunks_sent > 0;
                        if self.shape.runaway && has_content {
                            self.cursor = Cursor::default();
                        } else {
                            self.phase = Phase::Finish(0);
                        }
                        continue;
                    };
                    if let Some(due) = self.due_time(place) {
                        self.delayed = Some(place);
                        return Some(Step::WaitUntil(due));
                    }
                    return self.content_step(place);
                }
                Phase::Finish(index) => match self.choices.get(index) {
                    Some(choice) => {
                        self.phase = Phase::Finish(index + 1);
                        return Some(Step::send(self.writer.finish(index, choice.finish_reason)));
                    }
                    None => self.phase = Phase::Usage,
                },
                Phase::Usage => {
                    self.phase = Phase::Done;
                    if let Some(usage) = &self.usage {
                        return Some(Step::send(self.writer.usage(usage)));
                    }
                }
                Phase::Done => {
                    self.phase = Phase::Ended;
                    if self.shape.lingers {
                        return Some(Step::Stall);
                    }
                    if !self.shape.no_done {
                        return Some(Step::send(self.writer.other(b"[DONE]")));
                    }
                }
                Phase::Ended => return None,
            }
        }
    }
}
