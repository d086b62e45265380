//! Waits until a stream has begun to answer, so that a failure before that can still be answered by another upstream, or
//! by an honest status.
//!
//! Nothing is sent meanwhile. Who wants the client to hear something after a while races this with
//! [`within_patience`](crate::within_patience).

use crate::attempt::{Attempt, Taken};
use crate::pulse::{Interrupted, NoClient, Pulse};
use crate::spoken::Spoken;
use crate::{Beat, Clock, Failure, Heard, Hold, MidStream, Options, Source, Spent};

/// Most events held back while an answer has not begun; a stream beyond it is handed on as it is. Bifrost's figures.
const MAX_OPENING_EVENTS: usize = 64;
/// Most bytes, likewise.
const MAX_OPENING_BYTES: usize = 256 * 1024;

/// A stream that has begun to answer. Dropping it closes the upstream.
#[derive(Debug)]
pub struct Opened<S> {
    pub(crate) attempt: Attempt<S>,
    /// All that came so far.
    pub(crate) held: Taken,
    pub(crate) spoken: Spoken,
}

/// A stream that failed before any of it was handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// Why.
    pub failure: Failure,
    /// What it cost all the same: nothing, unless the whole answer was waited for.
    pub spent: Spent,
}

/// Reads a stream until it has begun to answer ([`Hold`]), or failed.
///
/// `asked_ms`: when the upstream was asked, by the clock. `heard` is told meanwhile.
///
/// # Errors
/// Whatever ends it before, with what it cost.
pub async fn open<S: Source>(
    source: S,
    asked_ms: u64,
    options: &Options,
    clock: &impl Clock,
    heard: &Heard,
) -> Result<Opened<S>, Unopened> {
    let mut opened = Opened {
        attempt: Attempt::new(source, asked_ms, options, None),
        held: Taken::default(),
        spoken: Spoken::default(),
    };
    if options.mid_stream == MidStream::Fail {
        opened.spoken.give_up();
    }
    heard.begin();
    let mut nobody = NoClient;
    let mut pulse = Pulse::new(&mut nobody, clock, Beat::NONE, u64::MAX);
    while !opened.has_begun(options.hold) {
        let Opened { attempt: Attempt { source, intake }, held, spoken } = &mut opened;
        let taken = match pulse.wait(source.next(), intake.deadline()).await {
            Ok(read) => intake.take(read, pulse.now_ms(), spoken),
            Err(Interrupted::Late(late)) => intake.too_late(late),
            Err(Interrupted::ClientGone) => continue, // there is none
        };
        held.add(taken, options.keep_bytes);
        heard.note(intake.spent(), intake.meter.has_spoken());
        // Even if its first text is among it: nothing has been sent, so another upstream may do better unseen.
        if let Some(Err(failure)) = &held.end {
            heard.begin();
            return Err(Unopened { failure: failure.clone(), spent: intake.spent() });
        }
    }
    heard.begin();
    Ok(opened)
}

impl<S> Opened<S> {
    /// All of an answer that has come whole already: the stream as a client would get it (with its usage unless
    /// [`strip_usage`](Options::strip_usage) is set), and what it took. `None` while more of it is to come.
    pub fn into_whole(self) -> Option<(Vec<u8>, Spent)> {
        let spent = self.attempt.intake.spent();
        matches!(self.held.end, Some(Ok(()))).then_some((self.held.forward, spent))
    }

    fn has_begun(&self, hold: Hold) -> bool {
        let Taken { forward, events, end, .. } = &self.held;
        end.is_some()
            || match hold {
                Hold::UntilItSpeaks => {
                    self.attempt.intake.meter.has_spoken()
                        || *events > MAX_OPENING_EVENTS
                        || forward.len() > MAX_OPENING_BYTES
                }
                Hold::UntilWhole { max_bytes } => forward.len() > max_bytes,
            }
    }
}

impl Taken {
    fn add(&mut self, more: Taken, keep_bytes: usize) {
        self.forward.extend(more.forward);
        // What is longer already is not kept, but must go on to look so.
        if self.keep.len() <= keep_bytes {
            self.keep.extend(more.keep);
        }
        self.events += more.events;
        self.end = more.end;
    }
}
