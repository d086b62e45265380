//! A real redis-server of the test's own, and as much of its protocol as a script needs.

use quota::{ScriptStore, StoreError};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a start may take; far above what a loaded machine needs.
const STARTING: Duration = Duration::from_secs(60);

/// Servers that this process has started.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Runs until dropped; writes nothing to disk but its socket.
pub struct Server {
    child: Child,
    /// No port, because nobody can hold a free one for it until it listens.
    socket: PathBuf,
}

impl Server {
    /// Starts one. A machine without redis-server fails the test: `apt-get install -y redis-server`.
    pub fn start() -> Self {
        let name = format!("quota-redis-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let socket = std::env::temp_dir().join(name);
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(std::env::temp_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install -y redis-server"));
        let mut server = Server { child, socket };
        let deadline = Instant::now() + STARTING;
        while UnixStream::connect(&server.socket).is_err() {
            assert!(server.child.try_wait().unwrap().is_none(), "redis-server ends instead of listening");
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(25));
        }
        server
    }

    pub fn connect(&self) -> Redis {
        Redis(RefCell::new(BufReader::new(UnixStream::connect(&self.socket).unwrap())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_file(&self.socket);
    }
}

/// One connection.
pub struct Redis(RefCell<BufReader<UnixStream>>);

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

    /// When a key goes, in milliseconds since the Unix epoch; negative if it does not.
    pub fn expires_ms(&self, key: &str) -> i64 {
        match self.command(&["PEXPIRETIME", key]) {
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

fn read(connection: &mut BufReader<UnixStream>) -> Answer {
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
