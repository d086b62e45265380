//! What a relay needs of the platform: bytes in, bytes out, time, and another upstream. Native `async fn`, for
//! single-threaded guests: nothing here needs `Send`.

use crate::spoken::Spoken;
use crate::{Failure, Limits};
use std::pin::Pin;

/// Where the bytes come from. Dropping it closes the upstream connection.
#[allow(async_fn_in_trait, reason = "single-threaded guests only; nothing here needs Send")]
pub trait Source {
    /// The next bytes; `None` at a clean end. The future is never dropped before it is ready, unless the source goes
    /// with it.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed>;
}

/// Where the bytes go.
#[allow(async_fn_in_trait, reason = "single-threaded guests only; nothing here needs Send")]
pub trait Sink {
    /// Resolves when the client's side has taken the bytes.
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone>;

    /// Looks whether the client is still there, without sending it anything. A platform that cannot tell says that it is.
    async fn probe(&mut self) -> Result<(), ClientGone> {
        Ok(())
    }
}

/// The time since upstreams began to be asked for an answer, by a clock that never goes back.
pub trait Clock {
    /// Milliseconds since then.
    fn now_ms(&self) -> u64;
    /// Ready after so many milliseconds.
    fn sleep(&self, ms: u64) -> Sleep;
}

/// A timer under way.
pub type Sleep = Pin<Box<dyn Future<Output = ()>>>;

/// Finds another upstream to go on with, once one has failed in the middle of its answer.
#[allow(async_fn_in_trait, reason = "single-threaded guests only; nothing here needs Send")]
pub trait Resume {
    /// What it gives.
    type Source: Source;
    /// Asks another upstream; `None` when there is none, or when this failure is not worth one. `spoken` is what the
    /// client has got so far. Called again when that upstream fails as well: the budget of attempts is the caller's.
    async fn resume(&mut self, failure: &Failure, spoken: &Spoken) -> Option<Resumed<Self::Source>>;
}

/// An upstream that goes on with an answer, its body yet unread.
#[derive(Debug)]
pub struct Resumed<S> {
    /// Its stream.
    pub source: S,
    /// How its text joins what has been sent.
    pub joint: Joint,
    /// When it was asked, by the clock.
    pub asked_ms: u64,
    /// What it may take; the total and the client's time are those of the whole stream.
    pub limits: Limits,
}

/// How a second stream joins a first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// It says everything again from the beginning: what has been sent is cut off, and must agree to the last character.
    /// So does a restarted answer, and a prefilled one of a provider that says the prefix again.
    Cut,
    /// It goes on where the first stopped: the request ended with the text so far (see [`Spoken::prefill`]).
    Append,
    /// The same of a provider that may say the prefix again. When it begins with all of that, it is cut off. Taken as it
    /// comes where that could not be told from an answer that repeats itself: a text of less than eight bytes, or one
    /// that is itself a repetition.
    AppendUnlessEchoed,
}

/// For streams that are never resumed.
#[derive(Debug)]
pub struct NoResume<S>(std::marker::PhantomData<S>);

impl<S> Default for NoResume<S> {
    fn default() -> Self {
        NoResume(std::marker::PhantomData)
    }
}

impl<S: Source> Resume for NoResume<S> {
    type Source = S;
    async fn resume(&mut self, _: &Failure, _: &Spoken) -> Option<Resumed<S>> {
        None
    }
}

/// The upstream connection failed before its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceFailed {
    /// Nothing came for longer than the platform was told to wait.
    #[error("the upstream went silent")]
    Idle,
    /// The connection broke, or the transfer was cut short.
    #[error("the upstream connection broke: {0}")]
    Broken(String),
    /// The body cannot be decompressed.
    #[error("the upstream's body is not {0} as it says")]
    Undecodable(&'static str),
}

/// The client does not take any more bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientGone;
