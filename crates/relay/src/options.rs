//! Bounds and choices for one stream. Their defaults, and where an operator sets them, are the caller's.

/// Bounds and choices for one stream.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Choices that were asked for, at least 1: an answer that ends without `[DONE]` is whole only when so many have finished.
    pub choices: usize,
    /// Hold back the usage chunk: we asked the provider for it, the client did not.
    pub strip_usage: bool,
    /// How much of the stream to keep for the cache, in bytes; a longer stream is not kept at all. 0 keeps nothing. No more
    /// for [`relay`](crate::relay) than it was for [`open`](crate::open), which has the beginning.
    pub keep_bytes: usize,
    /// What [`open`](crate::open) waits for.
    pub hold: Hold,
    /// Whether an answer that breaks off in the middle may be continued by another upstream.
    pub mid_stream: MidStream,
    /// What one stream may take.
    pub limits: Limits,
    /// Signs of life.
    pub beat: Beat,
}

/// How long a stream is held back from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Until its first text, tool call or finish: everything before it may still fail unseen.
    UntilItSpeaks,
    /// Until it is whole, so that any failure is unseen. A longer one is handed on from there as it comes.
    UntilWhole {
        /// Most bytes held.
        max_bytes: usize,
    },
}

/// What a failure in the middle of an answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidStream {
    /// The stream ends, incomplete.
    Fail,
    /// Another upstream is asked to go on.
    Continue,
}

/// What one stream may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the asking of an upstream to its first text, in ms.
    pub first_token_ms: u64,
    /// Between two events with data, in ms. Comments are no progress: a proxy in between may send them for a model that
    /// hangs.
    pub idle_ms: u64,
    /// From the clock's beginning to the end of the stream, all upstreams together, in ms.
    pub total_ms: u64,
    /// For the client to take one write, in ms; a client that does not counts as gone.
    pub client_ms: u64,
    /// Largest single event, in bytes.
    pub max_event_bytes: usize,
    /// Largest stream of one upstream, in bytes, decompressed.
    pub max_stream_bytes: usize,
}

/// Signs of life, for the client and of it, while the upstream is quiet.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// A comment after so many ms without a write; 0 for never. The first one goes out at once if there is nothing else
    /// to send when the stream begins.
    pub keepalive_ms: u64,
    /// [`Sink::probe`](crate::Sink::probe) after so many ms without a write or a probe; 0 for never.
    pub probe_ms: u64,
}
