//! What a model name may ask of the mock: the types only. `model_name` decides which words set them.
//!
//! Invariant: at most one fault of each family is set, so that no two of them compete for one answer.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::header_text::HeaderText;

/// Everything a model name asks for; the default is a plain, immediate, correct answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// What goes wrong instead of an answer.
    pub refusal: Option<Refusal>,
    /// `error.code` of a refusal by status, instead of the usual one for that status.
    pub error_code: Option<String>,
    /// Headers of a refusal by status only: `retry-after`, `retry-after-ms`.
    pub retry_headers: Vec<(HeaderName, HeaderText)>,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// Only the first so many requests suffer the faults named beside it (503 when none is).
    pub flaky_requests: Option<u32>,
    /// Delay before the response head, streaming or not.
    pub slow: Duration,
    /// The content of the answer.
    pub answer: AnswerShape,
    /// How a stream is written.
    pub stream: StreamShape,
    /// How a non-streaming answer is delivered.
    pub delivery: Delivery,
    /// No TCP write and no body frame is larger than so many bytes.
    pub split_bytes: Option<NonZeroUsize>,
    /// Send completions gzipped, whatever the client accepts.
    pub gzip: bool,
}

/// A request that gets no completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An OpenAI-shaped error with this status.
    Status(StatusCode),
    /// TCP reset before any byte of the answer.
    Reset,
    /// The request is read and never answered.
    Silence,
    /// 200 with an HTML body, as a captive portal or a wrong base URL gives.
    NotJson,
    /// 200 with a JSON error body, streaming or not.
    ErrorWith200,
}

/// What the completion contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerShape {
    /// The alphabet of the text.
    pub alphabet: Alphabet,
    /// From this token on (from 0) the text is another one than other models give.
    pub differs_from: Option<u32>,
    /// Continue a final message of the assistant even if the request does not ask for it in so many words.
    pub continues_any_prefix: bool,
    /// Say the given beginning of the answer again.
    pub says_prefix_again: bool,
    /// Exact size of the text in bytes; `None` for the short default answer.
    pub text_bytes: Option<usize>,
    /// How many parallel tool calls to make if the request offers tools; 0 for none.
    pub tool_calls: u8,
    /// Finish with `content_filter` instead of `stop`.
    pub content_filter: bool,
    /// Reasoning tokens to bill on top of the visible ones.
    pub reasoning_tokens: u64,
    /// Prompt tokens to report as cached, never more than the prompt has.
    pub cached_tokens: u64,
    /// Report no usage, even when it is asked for.
    pub no_usage: bool,
}

/// The characters that fill an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Alphabet {
    /// One byte per character.
    #[default]
    Ascii,
    /// Characters of one to three bytes.
    Multibyte,
    /// Characters of four bytes, with joiners and variation selectors.
    Emoji,
}

/// How a stream is paced, framed and broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamShape {
    /// Time from the response head to the first event.
    pub ttft: Duration,
    /// Time between two content chunks of one choice.
    pub gap: Duration,
    /// How the stream ends before it is finished.
    pub early_end: Option<EarlyEnd>,
    /// This content chunk (from 1) is broken JSON.
    pub malformed_chunk: Option<u64>,
    /// Leave out `data: [DONE]`.
    pub no_done: bool,
    /// Leave it out and do not end the body either.
    pub lingers: bool,
    /// End lines with CR LF instead of LF.
    pub crlf: bool,
    /// A comment line before every event.
    pub comments: bool,
    /// The data of every chunk in two lines.
    pub multi_line: bool,
    /// A byte order mark before the first event.
    pub bom: bool,
    /// The text begins again whenever it has ended, for ever.
    pub runaway: bool,
}

/// The end of a stream that is never finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlyEnd {
    /// Content chunks sent before it: 0 means before any event; at the latest it strikes before the finish chunk.
    pub after_chunks: u64,
    /// What happens then.
    pub kind: EarlyEndKind,
}

/// The ways not to finish a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyEndKind {
    /// The connection closes without the terminating chunk.
    Cut,
    /// The chunked body ends properly, with neither finish chunk nor `[DONE]`.
    CleanCut,
    /// Nothing more is sent, and the connection stays.
    Stall,
    /// `data: {"error":…}`, then the chunked body ends properly.
    ErrorEvent,
    /// The same with `event: error` before it.
    NamedErrorEvent,
}

/// How a non-streaming answer is put on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    /// With `content-length`.
    #[default]
    Whole,
    /// Without `content-length`.
    Chunked,
    /// `content-length` of the whole, half of the bytes, then the connection closes.
    Truncated,
}

impl Behaviour {
    /// True if any word asks for something other than a correct, complete answer.
    pub fn is_faulty(&self) -> bool {
        self.refusal.is_some()
            || self.stream.early_end.is_some()
            || self.stream.malformed_chunk.is_some()
            || self.delivery == Delivery::Truncated
    }

    /// The same answer without its faults: what a flaky model gives once it has recovered.
    #[must_use]
    pub fn without_faults(mut self) -> Self {
        self.refusal = None;
        self.stream.early_end = None;
        self.stream.malformed_chunk = None;
        if self.delivery == Delivery::Truncated {
            self.delivery = Delivery::Whole;
        }
        self
    }
}
