//! Servers for the probes to call: one that answers as told, and a port where nobody ever answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::PATIENCE;

/// A server on a port of its own; its threads end with the test process.
pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// A request that arrived, and the connection to answer it on.
pub struct Exchange {
    stream: BufReader<TcpStream>,
    /// Method, path with query, version.
    pub request_line: String,
    /// In the order they arrived, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Origin {
    /// Answers each request as `answer` decides, each connection on a thread of its own.
    pub fn serve(answer: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut stream = BufReader::new(stream);
                    while let Some(mut exchange) = Exchange::read(stream) {
                        answer(&mut exchange);
                        stream = exchange.stream;
                    }
                });
            }
        });
        Self { address, connections }
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A server whose answer to everything is `200` and this text.
    pub fn saying(text: &'static str) -> Self {
        Self::serve(move |exchange| exchange.answer(200, text.as_bytes()))
    }

    /// The URL of a path here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Exchange {
    /// Reads one request whole; `None` once the connection has ended.
    fn read(mut stream: BufReader<TcpStream>) -> Option<Self> {
        let request_line = read_line(&mut stream)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut stream)?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut exchange = Self { stream, request_line, headers, body: Vec::new() };
        exchange.read_body()?;
        Some(exchange)
    }

    fn read_body(&mut self) -> Option<()> {
        if self.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&read_line(&mut self.stream)?, 16).ok()?;
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).ok()?;
                read_line(&mut self.stream)?;
                if size == 0 {
                    return Some(());
                }
                self.body.extend(chunk);
            }
        }
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).ok()
    }

    /// A request header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Sends a whole response.
    pub fn answer(&mut self, status: u16, body: &[u8]) {
        self.write(format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes());
        self.write(body);
    }

    /// Sends these bytes; `false` once the other side no longer takes them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|_| line.ends_with("\r\n")).map(|_| line.trim_end().to_owned())
}

/// A port where connecting hangs, for as long as this value lives: its listener never accepts and its
/// queue is full, and Linux drops attempts to join a full queue.
pub struct DeafPort {
    pub address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queued: Vec<TcpStream>,
    _runtime: tokio::runtime::Runtime,
}

impl DeafPort {
    pub fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket.listen(1).unwrap()
        });
        let address = listener.local_addr().unwrap();
        // A timeout may also be a pause of this thread; several in a row are not.
        let (mut queued, mut timeouts) = (Vec::new(), 0);
        while timeouts < 3 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                Ok(stream) => {
                    queued.push(stream);
                    timeouts = 0;
                }
                Err(_) => timeouts += 1,
            }
        }
        Self { address, _queued: queued, _listener: listener, _runtime: runtime }
    }
}
