//! A real redis-server of the test's own, and as much of its protocol as a script needs.

use quota::{ScriptStore, StoreError};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs until dropped; writes nothing to disk.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts one. A machine without redis-server fails the test: `apt-get install -y redis-server`.
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install -y redis-server"));
        let server = Server { child, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("redis-server does not answer on port {port}");
    }

    pub fn connect(&self) -> Redis {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Redis(RefCell::new(BufReader::new(stream)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One connection.
pub struct Redis(RefCell<BufReader<TcpStream>>);

/// An answer, <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
#[derive(Debug)]
pub enum Answer {
    Number(i64),
    Text(String),
    Nothing,
    List(Vec<Answer>),
}

impl Redis {
    pub fn command(&self, words: &[&str]) -> Answer {
        let mut connection = self.0.borrow_mut();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        read(&mut connection)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Vec<String> {
        let Answer::List(keys) = self.command(&["KEYS", "*"]) else { panic!("no list") };
        let text = |answer| match answer {
            Answer::Text(text) => text,
            other => panic!("{other:?}"),
        };
        let mut keys: Vec<String> = keys.into_iter().map(text).collect();
        keys.sort();
        keys
    }

    /// Milliseconds until a key goes; negative if it does not.
    pub fn lives_ms(&self, key: &str) -> i64 {
        match self.command(&["PTTL", key]) {
            Answer::Number(ms) => ms,
            other => panic!("{other:?}"),
        }
    }
}

impl ScriptStore for Redis {
    async fn eval(&self, script: &str, keys: &[String], args: &[String]) -> Result<Vec<i64>, StoreError> {
        let count = keys.len().to_string();
        let words: Vec<&str> =
            ["EVAL", script, &count].into_iter().chain(keys.iter().chain(args).map(String::as_str)).collect();
        match self.command(&words) {
            Answer::List(answers) => Ok(answers
                .into_iter()
                .map(|answer| match answer {
                    Answer::Number(number) => number,
                    other => panic!("{other:?}"),
                })
                .collect()),
            other => panic!("{other:?}"),
        }
    }
}

fn read(connection: &mut BufReader<TcpStream>) -> Answer {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        ":" => Answer::Number(rest.parse().unwrap()),
        "+" => Answer::Text(rest.to_owned()),
        "-" => panic!("redis: {rest}"),
        "$" if rest == "-1" => Answer::Nothing,
        "$" => {
            let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
            connection.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            Answer::Text(String::from_utf8(text).unwrap())
        }
        "*" => Answer::List((0..rest.parse().unwrap()).map(|_| read(connection)).collect()),
        other => panic!("{other:?}"),
    }
}
