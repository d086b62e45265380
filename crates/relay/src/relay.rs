//! Hands an answer to the client until it ends, one way or another.

use crate::attempt::{Attempt, Taken};
use crate::pulse::{Interrupted, Pulse};
use crate::spoken::Spoken;
use crate::{Clock, Failure, Late, Opened, Options, Resume, Resumed, Sink};
use openai_types::{Characters, Usage};

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The answer is whole, and the client has got all of it, `[DONE]` included.
    Complete,
    /// The client left; the upstream was read no further.
    ClientGone,
    /// The answer is not whole, and nothing that looks like an end was sent. The sink is still open, so that the caller can
    /// say why; a provider's own error is in [`Failure::Reported`].
    Failed(Failure),
}

/// What one upstream took for its part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Its own last word; `None` where it gave none.
    pub usage: Option<Usage>,
    /// The generated text that came from it: the base of an estimate where there is no usage.
    pub generated: Characters,
}

/// What is known of a stream once it has ended.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// What each upstream took whose text was handed on, in their order: one, or more if the answer was continued. Empty
    /// when none began.
    pub spent: Vec<Spent>,
    /// When the first text was handed on, by the clock.
    pub first_content_at_ms: Option<u64>,
    /// The stream as the provider sent it, if it is complete, of one upstream, and fits `keep_bytes`.
    pub kept: Option<Vec<u8>>,
}

/// Most upstreams that one answer is taken from: a bound for this loop; the caller's budget is smaller.
const MAX_UPSTREAMS: usize = 16;

/// Hands on the answer that `first` gives, and that `resume` goes on with if it breaks off.
///
/// Where the stream has begun already, `first` is ready; where the client's patience ran out, it is what is still being
/// waited for, and gives `None` when no upstream began an answer.
pub async fn relay<R: Resume>(
    first: impl Future<Output = Option<Opened<R::Source>>>,
    resume: &mut R,
    sink: &mut impl Sink,
    options: &Options,
    clock: &impl Clock,
) -> Report {
    let mut relay = Relay {
        pulse: Pulse::new(sink, clock, options.beat, options.limits.client_ms),
        options,
        spent: Vec::new(),
        first_content_at_ms: None,
        kept: (options.keep_bytes > 0).then(Vec::new),
    };
    let end = relay.run(first, resume).await;
    let kept = relay.kept.filter(|_| end == End::Complete);
    Report { end, spent: relay.spent, first_content_at_ms: relay.first_content_at_ms, kept }
}

struct Relay<'a, K, C> {
    pulse: Pulse<'a, K, C>,
    options: &'a Options,
    spent: Vec<Spent>,
    first_content_at_ms: Option<u64>,
    kept: Option<Vec<u8>>,
}

impl<K: Sink, C: Clock> Relay<'_, K, C> {
    async fn run<R: Resume>(
        &mut self,
        first: impl Future<Output = Option<Opened<R::Source>>>,
        resume: &mut R,
    ) -> End {
        let total = (self.options.limits.total_ms, Late::Total);
        let Opened { mut attempt, mut held, mut spoken } = match self.pulse.wait(first, total).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return End::Failed(Failure::NotOpened),
            Err(interrupted) => return interrupted.into(),
        };
        for _ in 0..MAX_UPSTREAMS {
            let end = self.follow(&mut attempt, held, &mut spoken).await;
            self.spent.push(attempt.intake.spent());
            // Closes the upstream, before anything else is waited for.
            drop(attempt);
            let failure = match end {
                End::Failed(failure) if failure.may_be_continued() && spoken.can_be_continued() => failure,
                end => return end,
            };
            self.kept = None;
            let Resumed { source, joint, asked_ms, limits } =
                match self.pulse.wait(resume.resume(&failure, &spoken), total).await {
                    Ok(Some(resumed)) => resumed,
                    Ok(None) => return End::Failed(failure),
                    Err(interrupted) => return interrupted.into(),
                };
            let options = Options { limits, ..*self.options };
            attempt = Attempt::new(source, asked_ms, &options, Some((joint, &spoken)));
            held = Taken::default();
        }
        End::Failed(Failure::Truncated)
    }

    /// Hands on what one upstream gives until it ends; `held` came before.
    async fn follow(
        &mut self,
        attempt: &mut Attempt<impl crate::Source>,
        held: Taken,
        spoken: &mut Spoken,
    ) -> End {
        let Attempt { source, intake } = attempt;
        let mut taken = held;
        loop {
            if !taken.forward.is_empty() {
                if self.first_content_at_ms.is_none() && !intake.meter.generated().is_empty() {
                    self.first_content_at_ms = Some(self.pulse.now_ms());
                }
                if intake.is_first() {
                    self.keep(&taken.keep);
                }
                match self.pulse.send(taken.forward).await {
                    Ok(took_ms) => intake.was_not_read_for(took_ms),
                    Err(_) => return End::ClientGone,
                }
            } else if intake.is_first() {
                self.keep(&taken.keep);
            }
            match taken.end {
                Some(Ok(())) => return End::Complete,
                Some(Err(failure)) => return End::Failed(failure),
                None => {}
            }
            taken = match self.pulse.wait(source.next(), intake.deadline()).await {
                Ok(read) => intake.take(read, self.pulse.now_ms(), spoken),
                Err(Interrupted::Late(late)) => intake.too_late(late),
                Err(Interrupted::ClientGone) => return End::ClientGone,
            };
        }
    }

    fn keep(&mut self, events: &[u8]) {
        if let Some(kept) = &mut self.kept {
            if kept.len() + events.len() > self.options.keep_bytes {
                self.kept = None;
            } else {
                kept.extend_from_slice(events);
            }
        }
    }
}

impl From<Interrupted> for End {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::ClientGone => End::ClientGone,
            Interrupted::Late(late) => End::Failed(late.into()),
        }
    }
}
