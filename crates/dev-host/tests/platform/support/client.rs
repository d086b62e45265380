//! HTTP/1.1 by hand, because the tests need what client libraries hide: malformed requests, repeated
//! headers, the boundaries and the ending of a chunked body, a connection dropped on purpose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::TcpStreamExt;

use super::PATIENCE;

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    chunked: bool,
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its framing announced.
    Whole,
    /// The connection went before that.
    CutOff,
}

/// A response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ending: Ending,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), chunked: false }
    }

    /// Makes this end delay its acknowledgements, as Linux does on connections in long use.
    pub fn delay_acknowledgements(&self) {
        self.stream.get_ref().set_quickack(false).unwrap();
    }

    /// Sends these bytes; `false` if the server has already closed the connection.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a request with `host`, and `content-length` if there is a body.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut message = format!("{method} {path} HTTP/1.1\r\nhost: probe.test\r\n");
        for (name, value) in headers {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            message.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        message.push_str("\r\n");
        assert!(self.send_raw(message.as_bytes()), "{method} {path} cannot be sent");
        assert!(self.send_raw(body), "the body of {method} {path} cannot be sent");
    }

    /// Reads a response's head; `None` if the connection ends instead. The body is still to be read.
    pub fn try_read_head(&mut self) -> Option<Reply> {
        let status_line = self.read_line()?;
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let reply = Reply { status, headers, body: Vec::new(), ending: Ending::Whole };
        self.chunked = reply.header("transfer-encoding") == Some("chunked");
        Some(reply)
    }

    /// Reads a whole response; `None` if the connection ends before one.
    pub fn try_read(&mut self) -> Option<Reply> {
        let mut reply = self.try_read_head()?;
        if self.chunked {
            reply.ending = Ending::CutOff;
            while let Some(chunk) = self.read_chunk() {
                if chunk.is_empty() {
                    reply.ending = Ending::Whole;
                    break;
                }
                reply.body.extend(chunk);
            }
        } else {
            let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
            reply.body.resize(length, 0);
            if self.stream.read_exact(&mut reply.body).is_err() {
                reply.ending = Ending::CutOff;
            }
        }
        Some(reply)
    }

    /// Reads a whole response.
    pub fn read(&mut self) -> Reply {
        self.try_read().expect("the connection ended without a response")
    }

    /// The next chunk; empty at the announced end, `None` if the connection was cut.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.read_line()?, 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).ok()?;
        self.read_line()?;
        Some(chunk)
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(_) if line.ends_with("\r\n") => Some(line.trim_end().to_owned()),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("reading a response: {error}"),
        }
    }
}

impl Reply {
    /// The last value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.next_back().map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of a `200` as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body of a `200`.
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.text());
        self.text()
    }

    /// The error of a host call that the probe reports.
    pub fn host_error(&self) -> &str {
        assert_eq!(self.status, 502, "{}", self.text());
        self.text()
    }
}
