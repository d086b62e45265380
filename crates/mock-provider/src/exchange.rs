//! One request under way: counts it, and writes into the log what becomes of it.
//!
//! Invariant: an exchange that is dropped before it has ended counts as abandoned by its client, exactly once.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use crate::logged_request::now_ms;
pub use crate::memory::Ending;
use crate::memory::{LoggedRequest, Memory};

/// One request under way.
pub struct Exchange {
    memory: Arc<Memory>,
    /// Number of its entry, if it is recorded.
    entry: Option<u64>,
    is_stream: bool,
    chunks: u64,
    bytes: u64,
    status: Option<u16>,
    ending: Option<Ending>,
}

impl Exchange {
    /// Counts a request, and records it if recording is on.
    pub fn begin(memory: &Arc<Memory>, request: &Parts, body: &Bytes) -> Self {
        memory.count_request();
        let entry =
            memory.is_recording().then(|| memory.record(LoggedRequest::received(request, body.clone())));
        Self {
            memory: Arc::clone(memory),
            entry,
            is_stream: false,
            chunks: 0,
            bytes: 0,
            status: None,
            ending: None,
        }
    }

    /// Says what the answer begins with.
    pub fn answer(&mut self, status: StatusCode, is_stream: bool) {
        self.status = Some(status.as_u16());
        if is_stream && !self.is_stream {
            self.memory.open_stream();
        }
        self.is_stream = is_stream;
        self.note();
    }

    /// Counts bytes handed to the connection, and a content chunk.
    pub fn count(&mut self, bytes: usize, is_content: bool) {
        self.bytes += bytes as u64;
        self.chunks += u64::from(is_content);
    }

    /// Says how it ended; the first word counts.
    pub fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.note();
        }
    }

    fn note(&self) {
        let Some(number) = self.entry else { return };
        self.memory.update(number, |entry| {
            entry.status = self.status;
            if self.ending.is_some() && entry.ended.is_none() {
                entry.ended_at_ms = Some(now_ms());
            }
            entry.ended = self.ending;
            entry.chunks = self.chunks;
            entry.bytes = self.bytes;
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Before the log says that it has ended, so that whoever reads there of the end finds it in the counters, too.
        if self.is_stream {
            self.memory.close_stream();
        }
        if self.ending.is_none() {
            self.memory.count_aborted();
            self.end(Ending::ClientGone);
        }
    }
}
