//! Every way in which an answer is not whole.

use crate::SourceFailed;
use openai_types::ReportedError;

/// Why an answer is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The stream ended before the answer did.
    #[error("the upstream ended the stream before the answer was complete")]
    Truncated,
    /// The stream said that it was done, and had said nothing.
    #[error("the upstream ended the stream without an answer")]
    Empty,
    /// The connection broke or went silent.
    #[error(transparent)]
    Source(#[from] SourceFailed),
    /// It took too long.
    #[error(transparent)]
    Late(#[from] Late),
    /// An event is not what the API promises.
    #[error("the upstream sent a malformed event")]
    Malformed,
    /// The provider reported an error inside the stream. It has not been handed on.
    #[error("the upstream reported an error in the stream (as of status {})", .0.status)]
    Reported(Box<ReportedError>),
    /// An event or the stream is larger than allowed.
    #[error("the upstream sent a stream, or an event, of more than {max_bytes} bytes")]
    TooLarge {
        /// The bound that was reached, in bytes.
        max_bytes: usize,
    },
    /// An answer that was to be continued went on differently from what had been sent.
    #[error("the answer that was begun again is another one")]
    Disagrees,
    /// There is no stream: what was to be the first one did not come.
    #[error("no upstream began an answer")]
    NotOpened,
}

/// Which wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    /// For the first text.
    #[error("the upstream did not begin to answer in time")]
    FirstToken,
    /// For the next event.
    #[error("the upstream stopped in the middle of its answer")]
    Idle,
    /// For the end.
    #[error("the answer took longer than allowed")]
    Total,
}

impl Failure {
    /// Whether another upstream may go on at all. Not where the bound is on the answer itself, nor where an answer has
    /// already been tried again and was another one.
    pub fn may_be_continued(&self) -> bool {
        match self {
            Failure::Truncated
            | Failure::Empty
            | Failure::Source(_)
            | Failure::Late(Late::FirstToken | Late::Idle)
            | Failure::Malformed
            | Failure::Reported(_) => true,
            Failure::Late(Late::Total)
            | Failure::TooLarge { .. }
            | Failure::Disagrees
            | Failure::NotOpened => false,
        }
    }
}
