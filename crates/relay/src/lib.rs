//! Hands a streamed answer from the upstream to the client, event by event, and learns what it used.
//!
//! Invariants:
//! - Bytes are handed on as they came, whole events at a time; the only event ever held back is the usage chunk that
//!   the client did not ask for.
//! - An answer counts as whole only when it said so: `[DONE]`, or a finish reason for every choice. Anything else is
//!   a [`Failure`], and then nothing that looks like an end has been sent.
//! - Usage is the provider's last word, never a sum of its words.
//! - At most one event and one block are held in memory, plus what [`Options::keep_bytes`] allows for the cache.
//!
//! What the client is told about a failure is the caller's business; this crate knows no HTTP.

mod meter;

pub use meter::{Meter, Verdict};

use openai_types::Usage;
use openai_types::sse::{self, Splitter};

/// Where the bytes come from.
#[allow(async_fn_in_trait, reason = "single-threaded guests only; nothing here needs Send")]
pub trait Source {
    /// The next bytes; `None` at a clean end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed>;
}

/// Where the bytes go.
#[allow(async_fn_in_trait, reason = "single-threaded guests only; nothing here needs Send")]
pub trait Sink {
    /// Resolves when the client's side has taken the bytes.
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone>;
}

/// A source whose answer has begun.
#[derive(Debug)]
pub struct Opened<S> {
    first: Option<Vec<u8>>,
    rest: S,
}

/// Most bytes that are held back while an answer has not begun: many times what precedes one anywhere.
const MAX_OPENING_BYTES: usize = 64 * 1024;

/// Waits until a stream's answer has begun: its first text, or whatever else says that this is going to be all.
///
/// Until then nothing needs to be said to the client, so a failure can still be answered by another upstream, or by an
/// honest status; and the role-only event that most providers send first travels with what follows it.
///
/// # Errors
/// [`Failure::Truncated`] when the stream ends before, [`Failure::Source`] when it fails before.
pub async fn open<S: Source>(mut source: S) -> Result<Opened<S>, Failure> {
    let (mut meter, mut splitter) = (Meter::new(false), Splitter::new(MAX_OPENING_BYTES));
    let mut opening = Vec::new();
    while let Some(bytes) = source.next().await? {
        let begun = match splitter.push(&bytes) {
            Ok(None) => false,
            Ok(Some(block)) => sse::events(&block).any(|event| begins(&mut meter, event)),
            Err(_) => true, // for the relay to refuse or to follow
        };
        opening.extend_from_slice(&bytes);
        if begun || opening.len() > MAX_OPENING_BYTES {
            return Ok(Opened { first: Some(opening), rest: source });
        }
    }
    // An end without `[DONE]` may still be whole, and the last event may lack its empty line.
    if opening.is_empty() {
        return Err(Failure::Truncated);
    }
    Ok(Opened { first: Some(opening), rest: source })
}

/// Whether the client should hear of the stream now.
fn begins(meter: &mut Meter, event: &[u8]) -> bool {
    match meter.observe(event) {
        // A comment is a provider's sign of life, and should be ours.
        Verdict::Forward => meter.generated_bytes() > 0 || meter.is_whole() || sse::data(event).is_none(),
        Verdict::HoldBack => false,
        Verdict::Done | Verdict::Error | Verdict::Malformed => true,
    }
}

impl<S: Source> Source for Opened<S> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.rest.next().await,
        }
    }
}

/// The upstream connection failed before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFailed {
    /// Nothing came for longer than allowed.
    #[error("the upstream went silent")]
    Idle,
    /// The connection broke, or the transfer was cut short.
    #[error("the upstream connection broke: {0}")]
    Broken(String),
}

/// The client does not take any more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientGone;

/// Bounds and choices for one stream.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Hold back the usage chunk: we asked the provider for it, the client did not.
    pub strip_usage: bool,
    /// Largest single event, in bytes.
    pub max_event_bytes: usize,
    /// Largest whole stream, in bytes.
    pub max_stream_bytes: usize,
    /// How much of the stream to keep for the cache; a longer stream is not kept at all. 0 keeps nothing.
    pub keep_bytes: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The answer is whole, and the client has got all of it, `[DONE]` included.
    Complete,
    /// The client left; the upstream was read no further.
    ClientGone,
    /// The answer is not whole.
    Failed(Failure),
}

/// Why an answer is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The stream ended before the answer did.
    #[error("the upstream ended the stream before the answer was complete")]
    Truncated,
    /// The connection broke or went silent.
    #[error(transparent)]
    Source(#[from] SourceFailed),
    /// An event is not what the API promises.
    #[error("the upstream sent a malformed event")]
    Malformed,
    /// The provider reported an error inside the stream; the client has got it, as the provider wrote it.
    #[error("the upstream reported an error in the stream")]
    Reported,
    /// An event or the stream is larger than allowed.
    #[error("the upstream sent more than the allowed number of bytes")]
    TooLarge,
}

/// What is known of a stream once it has ended.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// The provider's usage, if it gave one.
    pub usage: Option<Usage>,
    /// UTF-8 bytes of generated text seen: the base of an estimate where the provider gave no usage.
    pub generated_bytes: usize,
    /// When the first generated text was handed on, by the clock given to [`relay`].
    pub first_content_at: Option<u64>,
    /// The stream as the provider sent it, if it is complete and fits [`Options::keep_bytes`].
    pub kept: Option<Vec<u8>>,
}

/// Hands the stream on until it ends, one way or another.
///
/// `now` is read once, when the first content passes. After [`End::Failed`] the sink is still open, so that the
/// caller can tell the client why.
pub async fn relay(
    source: &mut impl Source,
    sink: &mut impl Sink,
    options: Options,
    now: impl Fn() -> u64,
) -> Report {
    let mut relay = Relay {
        meter: Meter::new(options.strip_usage),
        splitter: Splitter::new(options.max_event_bytes),
        kept: (options.keep_bytes > 0).then(Vec::new),
        options,
        first_content_at: None,
        now,
    };
    let end = relay.run(source, sink).await;
    let complete = end == End::Complete;
    Report {
        usage: relay.meter.usage(),
        generated_bytes: relay.meter.generated_bytes(),
        first_content_at: relay.first_content_at,
        kept: relay.kept.filter(|_| complete),
        end,
    }
}

struct Relay<Now> {
    meter: Meter,
    splitter: Splitter,
    kept: Option<Vec<u8>>,
    options: Options,
    first_content_at: Option<u64>,
    now: Now,
}

impl<Now: Fn() -> u64> Relay<Now> {
    async fn run(&mut self, source: &mut impl Source, sink: &mut impl Sink) -> End {
        let mut received: usize = 0;
        loop {
            let data = match source.next().await {
                Ok(Some(data)) => data,
                Ok(None) => return self.finish(sink).await,
                // A provider that has said all may drop the connection as it likes.
                Err(_) if self.meter.is_whole() => return self.finish(sink).await,
                Err(failed) => return End::Failed(Failure::Source(failed)),
            };
            received = received.saturating_add(data.len());
            if received > self.options.max_stream_bytes {
                return End::Failed(Failure::TooLarge);
            }
            let block = match self.splitter.push(&data) {
                Ok(Some(block)) => block,
                Ok(None) => continue,
                Err(_) => return End::Failed(Failure::TooLarge),
            };
            let (forward, stop) = self.inspect(&block);
            if !forward.is_empty() && sink.send(forward).await.is_err() {
                return End::ClientGone;
            }
            match stop {
                None => {}
                Some(end) => return end,
            }
        }
    }

    /// What of a block is handed on, and whether the stream ends with it.
    fn inspect(&mut self, block: &[u8]) -> (Vec<u8>, Option<End>) {
        let mut forward = Vec::with_capacity(block.len());
        for event in sse::events(block) {
            let verdict = self.meter.observe(event);
            if self.meter.generated_bytes() > 0 && self.first_content_at.is_none() {
                self.first_content_at = Some((self.now)());
            }
            if verdict != Verdict::Malformed {
                self.keep(event);
            }
            match verdict {
                Verdict::Forward => forward.extend_from_slice(event),
                Verdict::HoldBack => {}
                Verdict::Done => {
                    forward.extend_from_slice(event);
                    return (forward, Some(End::Complete));
                }
                Verdict::Error => {
                    forward.extend_from_slice(event);
                    return (forward, Some(End::Failed(Failure::Reported)));
                }
                Verdict::Malformed => return (forward, Some(End::Failed(Failure::Malformed))),
            }
        }
        (forward, None)
    }

    /// The upstream closed without `[DONE]`.
    async fn finish(&mut self, sink: &mut impl Sink) -> End {
        // Some servers leave out the empty line after their last event.
        let unterminated_done = sse::data(self.splitter.rest()).is_some_and(|d| d.trim_ascii() == b"[DONE]");
        if !unterminated_done && !self.meter.is_whole() {
            return End::Failed(Failure::Truncated);
        }
        self.keep(DONE);
        match sink.send(DONE.to_vec()).await {
            Ok(()) => End::Complete,
            Err(ClientGone) => End::ClientGone,
        }
    }

    fn keep(&mut self, event: &[u8]) {
        if let Some(kept) = &mut self.kept {
            if kept.len() + event.len() > self.options.keep_bytes {
                self.kept = None;
            } else {
                kept.extend_from_slice(event);
            }
        }
    }
}

const DONE: &[u8] = b"data: [DONE]\n\n";

#[cfg(test)]
mod tests;
