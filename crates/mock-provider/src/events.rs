//! Renders single events of a stream: OpenAI's `chat.completion.chunk` objects in SSE framing.
//!
//! Every event is one `data:` line. What is sent when is decided in `stream`.

use bytes::{Bytes, BytesMut};

use crate::answer::{Answer, Payload, Usage};
use crate::behaviour::StreamShape;
use crate::completion::put_call_head;
use crate::deltas::{Delta, Place};
use crate::json::{put, put_hex, put_value};

/// Room for the sixteen events hyper writes at once; every open stream holds one such buffer.
const BUFFER_BYTES: usize = 4 * 1024;

/// Writes the events of one answer.
pub struct EventWriter {
    request_hash: u64,
    line_end: &'static str,
    has_comments: bool,
    is_multi_line: bool,
    /// A byte order mark is still to come.
    owes_bom: bool,
    has_null_usage: bool,
    /// `{"id":…,"choices":[`, the same for every chunk.
    chunk_head: Vec<u8>,
    scratch: Vec<u8>,
    buffer: BytesMut,
}

impl EventWriter {
    /// A writer for `answer`; with `has_null_usage` every chunk has `"usage":null`.
    pub fn new(answer: &Answer, shape: &StreamShape, has_null_usage: bool) -> Self {
        let mut chunk_head = Vec::with_capacity(256);
        put(&mut chunk_head, r#"{"id":"chatcmpl-"#);
        put_hex(&mut chunk_head, answer.request_hash);
        put(&mut chunk_head, r#"","object":"chat.completion.chunk","created":"#);
        put_value(&mut chunk_head, &answer.created);
        put(&mut chunk_head, r#","model":"#);
        put_value(&mut chunk_head, &answer.model);
        put(&mut chunk_head, r#","service_tier":"default","system_fingerprint":"fp_mock","choices":["#);
        Self {
            request_hash: answer.request_hash,
            line_end: if shape.crlf { "\r\n" } else { "\n" },
            has_comments: shape.comments,
            is_multi_line: shape.multi_line,
            owes_bom: shape.bom,
            has_null_usage,
            chunk_head,
            scratch: Vec::with_capacity(512),
            buffer: BytesMut::new(),
        }
    }

    /// The first chunk of a choice: its role alone.
    pub fn role(&mut self, choice: usize, payload: &Payload) -> Bytes {
        let content = if matches!(payload, Payload::ToolCalls(_)) { "null" } else { r#""""# };
        self.begin_choice(choice);
        put(&mut self.scratch, r#"{"role":"assistant","content":"#);
        put(&mut self.scratch, content);
        put(&mut self.scratch, r#","refusal":null}"#);
        self.end_choice(None)
    }

    /// A content chunk.
    pub fn content(&mut self, place: Place, delta: Delta<'_>) -> Bytes {
        self.begin_choice(place.choice);
        let out = &mut self.scratch;
        match delta {
            Delta::Text(text) => {
                put(out, r#"{"content":"#);
                put_value(out, text);
                put(out, "}");
            }
            Delta::CallHead(index, call) => {
                put(out, r#"{"tool_calls":[{"index":"#);
                put_value(out, &index);
                put(out, ",");
                put_call_head(out, self.request_hash, [place.choice, index], &call.name, "");
                put(out, "]}");
            }
            Delta::Arguments(index, fragment) => {
                put(out, r#"{"tool_calls":[{"index":"#);
                put_value(out, &index);
                put(out, r#","function":{"arguments":"#);
                put_value(out, fragment);
                put(out, "}}]}");
            }
        }
        self.end_choice(None)
    }

    /// A chunk whose JSON ends in the middle of a string.
    pub fn malformed(&mut self) -> Bytes {
        self.begin();
        self.scratch.extend_from_slice(&self.chunk_head);
        put(&mut self.scratch, r#"{"index":0,"delta":{"content":"brok"#);
        self.end()
    }

    /// The last chunk of a choice.
    pub fn finish(&mut self, choice: usize, finish_reason: &str) -> Bytes {
        self.begin_choice(choice);
        put(&mut self.scratch, "{}");
        self.end_choice(Some(finish_reason))
    }

    /// The chunk without choices that carries the usage.
    pub fn usage(&mut self, usage: &Usage) -> Bytes {
        self.begin();
        self.scratch.extend_from_slice(&self.chunk_head);
        put(&mut self.scratch, r#"],"usage":"#);
        put_value(&mut self.scratch, usage);
        put(&mut self.scratch, "}");
        self.end()
    }

    /// An event with other data than a chunk.
    pub fn other(&mut self, data: &[u8]) -> Bytes {
        self.begin();
        self.scratch.extend_from_slice(data);
        self.end()
    }

    fn begin(&mut self) {
        self.scratch.clear();
        if std::mem::take(&mut self.owes_bom) {
            put(&mut self.scratch, "\u{feff}");
        }
        if self.has_comments {
            put(&mut self.scratch, ": keepalive");
            put(&mut self.scratch, self.line_end);
            put(&mut self.scratch, self.line_end);
        }
        put(&mut self.scratch, "data: ");
    }

    fn end(&mut self) -> Bytes {
        put(&mut self.scratch, self.line_end);
        put(&mut self.scratch, self.line_end);
        if self.buffer.capacity() < self.scratch.len() {
            self.buffer.reserve(BUFFER_BYTES.max(self.scratch.len()));
        }
        self.buffer.extend_from_slice(&self.scratch);
        self.buffer.split().freeze()
    }

    fn begin_choice(&mut self, choice: usize) {
        self.begin();
        self.scratch.extend_from_slice(&self.chunk_head);
        if self.is_multi_line {
            put(&mut self.scratch, self.line_end);
            put(&mut self.scratch, "data: ");
        }
        put(&mut self.scratch, r#"{"index":"#);
        put_value(&mut self.scratch, &choice);
        put(&mut self.scratch, r#","delta":"#);
    }

    fn end_choice(&mut self, finish_reason: Option<&str>) -> Bytes {
        put(&mut self.scratch, r#","logprobs":null,"finish_reason":"#);
        put_value(&mut self.scratch, &finish_reason);
        put(&mut self.scratch, if self.has_null_usage { r#"}],"usage":null}"# } else { "}]}" });
        self.end()
    }
}
