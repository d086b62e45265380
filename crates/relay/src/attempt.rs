//! One upstream's stream: from its bytes to the events that the client shall get, and to its end.

use crate::meter::{Meter, Verdict};
use crate::splice::{Disagrees, Splice};
use crate::spoken::Spoken;
use crate::{Failure, Joint, Late, Limits, Options, Source, SourceFailed, Spent};
use openai_types::sse::{self, EventTooLarge, Splitter};
use openai_types::{Answer, Usage};

/// How long an upstream that has finished every choice is waited for: its usage and its `[DONE]` follow at once, or never.
const AFTER_FINISH_MS: u64 = 2_000;
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// One upstream, being read.
#[derive(Debug)]
pub(crate) struct Attempt<S> {
    pub(crate) source: S,
    pub(crate) intake: Intake,
}

/// What has been taken in from one upstream.
#[derive(Debug)]
pub(crate) struct Intake {
    splitter: Splitter,
    pub(crate) meter: Meter,
    /// For a second stream.
    splice: Option<Splice>,
    /// Whether the stream is gathered for the cache.
    keeps: bool,
    asked_ms: u64,
    progress_ms: u64,
    received_bytes: usize,
    limits: Limits,
}

/// What came of a step.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Whole events for the client.
    pub(crate) forward: Vec<u8>,
    /// The same and the usage chunk, for the cache; nothing where nothing is kept.
    pub(crate) keep: Vec<u8>,
    /// Events with data among them.
    pub(crate) events: usize,
    /// How the stream ends here, if it does.
    pub(crate) end: Option<Result<(), Failure>>,
}

impl Taken {
    fn failed(failure: impl Into<Failure>) -> Self {
        Taken { end: Some(Err(failure.into())), ..Taken::default() }
    }
}

impl<S: Source> Attempt<S> {
    /// `second`: how it joins what has been said before.
    pub(crate) fn new(source: S, asked_ms: u64, options: &Options, second: Option<(Joint, &Spoken)>) -> Self {
        let intake = Intake {
            splitter: Splitter::new(options.limits.max_event_bytes),
            meter: Meter::new(options.choices, options.strip_usage),
            splice: second.map(|(joint, spoken)| Splice::new(joint, spoken)),
            keeps: options.keep_bytes > 0,
            asked_ms,
            progress_ms: asked_ms,
            received_bytes: 0,
            limits: options.limits,
        };
        Attempt { source, intake }
    }
}

impl Intake {
    /// When the wait for this upstream's next word is over, and what it then was.
    pub(crate) fn deadline(&self) -> (u64, Late) {
        let Limits { first_token_ms, idle_ms, total_ms, .. } = self.limits;
        let quiet = if self.meter.is_whole() {
            (self.progress_ms.saturating_add(idle_ms.min(AFTER_FINISH_MS)), Late::Idle)
        } else if self.meter.has_spoken() {
            (self.progress_ms.saturating_add(idle_ms), Late::Idle)
        } else {
            (self.asked_ms.saturating_add(first_token_ms), Late::FirstToken)
        };
        if total_ms < quiet.0 { (total_ms, Late::Total) } else { quiet }
    }

    /// The deadline has passed.
    pub(crate) fn too_late(&self, late: Late) -> Taken {
        if self.meter.is_whole() { self.finish(None) } else { Taken::failed(late) }
    }

    /// Takes in what the source gave.
    pub(crate) fn take(
        &mut self,
        read: Result<Option<Vec<u8>>, SourceFailed>,
        now_ms: u64,
        spoken: &mut Spoken,
    ) -> Taken {
        match read {
            Ok(Some(data)) => self.take_bytes(&data, now_ms, spoken),
            Ok(None) => self.finish(None),
            Err(failed) => self.finish(Some(failed)),
        }
    }

    fn take_bytes(&mut self, data: &[u8], now_ms: u64, spoken: &mut Spoken) -> Taken {
        self.received_bytes = self.received_bytes.saturating_add(data.len());
        if self.received_bytes > self.limits.max_stream_bytes {
            return Taken::failed(Failure::TooLarge { max_bytes: self.limits.max_stream_bytes });
        }
        let block = match self.splitter.push(data) {
            Ok(Some(block)) => block,
            Ok(None) => {
                self.progress_ms = now_ms;
                return Taken::default();
            }
            Err(EventTooLarge { max_bytes }) => return Taken::failed(Failure::TooLarge { max_bytes }),
        };
        let mut taken = Taken { forward: Vec::with_capacity(block.len()), ..Taken::default() };
        for event in sse::events(&block) {
            if let Some(end) = self.take_event(event, &mut taken, spoken) {
                taken.end = Some(end);
                break;
            }
        }
        if taken.events > 0 {
            self.progress_ms = now_ms;
        }
        taken
    }

    /// Adds what of an event goes on; how the stream ends with it, if it does.
    fn take_event(
        &mut self,
        event: &[u8],
        taken: &mut Taken,
        spoken: &mut Spoken,
    ) -> Option<Result<(), Failure>> {
        let splice = &mut self.splice;
        let mut rewritten = None;
        let verdict = self.meter.observe(event, |chunk, data| match splice {
            None => spoken.note(chunk, data),
            Some(splice) => rewritten = Some(splice.rewrite(data)),
        });
        taken.events += usize::from(verdict != Verdict::Aside);
        match verdict {
            Verdict::Aside => {
                taken.forward.extend_from_slice(event);
                if event == b"\n" {
                    self.keep(taken, event); // of a CR LF that was cut in two
                }
            }
            Verdict::HoldBack => self.keep(taken, event),
            Verdict::Chunk => match rewritten {
                None => {
                    taken.forward.extend_from_slice(event);
                    self.keep(taken, event);
                }
                Some(Ok(None)) => {}
                Some(Ok(Some(json))) => {
                    if let Ok(chunk) = Answer::parse_chunk(json.as_bytes()) {
                        spoken.note(&chunk, json.as_bytes());
                    }
                    put_event(&mut taken.forward, &json);
                }
                Some(Err(Disagrees)) => return Some(Err(Failure::Disagrees)),
            },
            Verdict::Done => {
                let end = self.done();
                if end.is_ok() {
                    // Frames may be cut between the last CR and its LF, and nothing is read after this.
                    let lost_lf =
                        if event.ends_with(b"\r") && event.contains(&b'\n') { &b"\n"[..] } else { &[] };
                    for part in [event, lost_lf] {
                        taken.forward.extend_from_slice(part);
                        self.keep(taken, part);
                    }
                }
                return Some(end);
            }
            Verdict::Error(error) => return Some(Err(Failure::Reported(error))),
            Verdict::Malformed => return Some(Err(Failure::Malformed)),
        }
        None
    }

    fn keep(&self, taken: &mut Taken, bytes: &[u8]) {
        if self.keeps {
            taken.keep.extend_from_slice(bytes);
        }
    }

    /// The upstream says that it is done.
    fn done(&self) -> Result<(), Failure> {
        if self.splice.as_ref().is_some_and(|splice| !splice.is_settled()) {
            return Err(Failure::Disagrees);
        }
        // An empty answer has a finish; a text may lack it, since this says as much.
        if self.meter.has_spoken() { Ok(()) } else { Err(Failure::Empty) }
    }

    /// The upstream closed without `[DONE]`. One that has said all may drop the connection as it likes, and some servers
    /// leave out the empty line after their last event.
    fn finish(&self, failed: Option<SourceFailed>) -> Taken {
        let unended_done = sse::data(self.splitter.rest()).is_some_and(|data| data.trim_ascii() == b"[DONE]");
        if !unended_done && !self.meter.is_whole() {
            return Taken::failed(failed.map_or(Failure::Truncated, Failure::Source));
        }
        match self.done() {
            Ok(()) => {
                let mut taken =
                    Taken { forward: DONE.to_vec(), events: 1, end: Some(Ok(())), ..Taken::default() };
                self.keep(&mut taken, DONE);
                taken
            }
            Err(failure) => Taken::failed(failure),
        }
    }

    /// The client took so long over what it was sent: that is not the upstream's silence.
    pub(crate) fn was_not_read_for(&mut self, ms: u64) {
        self.asked_ms = self.asked_ms.saturating_add(ms);
        self.progress_ms = self.progress_ms.saturating_add(ms);
    }

    /// What this upstream has taken so far.
    pub(crate) fn spent(&self) -> Spent {
        Spent { usage: self.meter.usage(), generated: self.meter.generated() }
    }

    /// Whether this is the first stream.
    pub(crate) fn is_first(&self) -> bool {
        self.splice.is_none()
    }
}

/// Frames a chunk. A line end in JSON can only stand between its tokens; in an event it would end the data.
fn put_event(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(b"data: ");
    out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.extend_from_slice(b"\n\n");
}

impl Spent {
    /// Whether the provider can have billed anything: it gave usage, or text.
    pub fn is_something(&self) -> bool {
        self.usage.is_some_and(|usage| usage != Usage::default()) || !self.generated.is_empty()
    }
}
