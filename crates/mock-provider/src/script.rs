//! What a response body does, step by step, apart from the connection it does it on.

use std::time::Duration;

use bytes::Bytes;

/// One step of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send these bytes.
    Send {
        /// One event of a stream, or (part of) a whole answer.
        bytes: Bytes,
        /// True if it carries generated content, which is what `chunks` counts in the log.
        is_content: bool,
    },
    /// Send nothing before so much time has passed since the response head.
    WaitUntil(Duration),
    /// Close the connection without ending the body, once everything before is written.
    Cut,
    /// Send nothing more, and keep the connection.
    Stall,
}

impl Step {
    /// Sends bytes that are no content chunk.
    pub fn send(bytes: impl Into<Bytes>) -> Self {
        Self::Send { bytes: bytes.into(), is_content: false }
    }
}

/// The steps of a body, made while it is sent.
pub type Script = Box<dyn Iterator<Item = Step> + Send>;
