//! A client on a bare TCP stream: the tests see what is on the wire, not what a client library makes of it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // test code, used in part by each test file

use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mock_provider::{Ending, Handle, LoggedRequest, MockProvider, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer takes; only `silence` and `stall` wait so long.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn start() -> Handle {
    MockProvider::start(Options { record: true, ..Options::default() }).unwrap()
}

/// A chat request with `Hello` as its only message, and `extra` fields.
pub fn chat(model: &str, extra: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The same with one more message at the end.
pub fn request_with(model: &str, last: Value, extra: Value) -> Value {
    let mut body = chat(model, extra);
    body["messages"].as_array_mut().unwrap().push(last);
    body
}

/// How a response ended on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its framing says, and the connection stays.
    Complete,
    /// The connection was closed before that.
    Closed,
    /// The connection was reset before that.
    Reset,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
    /// HTTP chunks of the body, as framed.
    pub frames: Vec<Vec<u8>>,
    pub end: End,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The data of every event, whichever the line ends.
    pub fn data(&self) -> Vec<String> {
        let text = self.text().replace("\r\n", "\n");
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The events that are chunks.
    pub fn chunks(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The text of one choice, put together.
    pub fn content(&self, choice: usize) -> String {
        let of_choice = |chunk: &Value| -> Option<String> {
            let choices = chunk["choices"].as_array()?.iter();
            let mine = choices.filter(|one| one["index"] == choice);
            Some(mine.filter_map(|one| one["delta"]["content"].as_str()).collect())
        };
        self.chunks().iter().filter_map(of_choice).collect()
    }

    /// Chunks with text, the role chunk aside.
    pub fn content_chunks(&self) -> usize {
        let has_text = |chunk: &&Value| {
            chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
        };
        self.chunks().iter().filter(has_text).count()
    }
}

/// A connection that requests are sent on one after the other.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(mock: &Handle) -> Self {
        Self { stream: TcpStream::connect(mock.address()).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn write(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: mock\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    pub async fn post(&mut self, body: &Value) -> Answer {
        self.write("POST", "/v1/chat/completions", "", &body.to_string()).await;
        self.read().await.unwrap()
    }

    /// The next response; an error if the connection ended before its head was complete.
    pub async fn read(&mut self) -> io::Result<Answer> {
        timeout(PATIENCE, self.read_answer()).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        let head_end = loop {
            if let Some(position) = find(&self.buffer, b"\r\n\r\n") {
                break position + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..head_end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer =
            Answer { status, headers: head, body: Vec::new(), frames: Vec::new(), end: End::Complete };
        let read = if answer.header("transfer-encoding") == Some("chunked") {
            self.read_chunked(&mut answer).await
        } else {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            self.read_exactly(length, &mut answer.body).await
        };
        answer.end = match read {
            Ok(()) => End::Complete,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => End::Closed,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => return Err(error),
        };
        Ok(answer)
    }

    async fn read_chunked(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let line_end = loop {
                if let Some(position) = find(&self.buffer, b"\r\n") {
                    break position;
                }
                self.fill().await?;
            };
            let line: Vec<u8> = self.buffer.drain(..line_end + 2).collect();
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let mut frame = Vec::new();
            let read = self.read_exactly(size + 2, &mut frame).await;
            frame.truncate(size);
            answer.body.extend_from_slice(&frame);
            read?;
            if size == 0 {
                return Ok(());
            }
            answer.frames.push(frame);
        }
    }

    async fn read_exactly(&mut self, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        while self.buffer.len() < length {
            if let Err(error) = self.fill().await {
                out.append(&mut self.buffer);
                return Err(error);
            }
        }
        out.extend(self.buffer.drain(..length));
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Waits until the bytes received so far contain `text`.
    pub async fn read_until(&mut self, text: &str) {
        let wait = async {
            while find(&self.buffer, text.as_bytes()).is_none() {
                self.fill().await.unwrap();
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{text} never came"));
    }

    /// Waits until so many events have come that nobody has read.
    pub async fn read_events(&mut self, count: usize) {
        let wait = async {
            while self.buffer.windows(5).filter(|window| window == b"data:").count() < count {
                self.fill().await.unwrap();
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("fewer than {count} events came"));
    }

    /// True if nothing more comes within `wait` although the connection stays open.
    pub async fn is_quiet_for(&mut self, wait: Duration) -> bool {
        self.buffer.clear();
        timeout(wait, self.fill()).await.is_err()
    }
}

/// The time, as the log counts it.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// One request on a connection of its own.
pub async fn post(mock: &Handle, body: &Value) -> Answer {
    Client::connect(mock).await.post(body).await
}

/// The last recorded request, once it has ended.
pub async fn last_ended(mock: &Handle) -> LoggedRequest {
    let ended = || mock.log().pop().filter(|request| request.ended.is_some());
    eventually(ended).await.expect("the exchange never ended")
}

/// Waits until so many requests are recorded: the mock may not have read yet what a client has written.
pub async fn recorded(mock: &Handle, count: usize) {
    let are_recorded = || (mock.log().len() >= count).then_some(());
    eventually(are_recorded).await.expect("the request never came")
}

async fn eventually<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    let wait = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.ok()
}

pub async fn assert_last_ended(mock: &Handle, ending: Ending) {
    assert_eq!(last_ended(mock).await.ended, Some(ending));
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
