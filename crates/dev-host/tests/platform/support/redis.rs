//! A real redis-server, empty and on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::eventually;

/// Runs until dropped; nothing is written to disk but its log.
pub struct RedisServer {
    child: Child,
    directory: TempDir,
    pub address: SocketAddr,
}

impl RedisServer {
    /// Starts the server. A machine without one fails the test: `apt-get install -y redis-server`.
    pub fn start() -> Self {
        // A port that was free is sometimes taken by the time the server would listen there; then it ends.
        let started = (0..5).find_map(|_| Self::start_once());
        started.expect("redis-server ends each time")
    }

    /// `None` if the server ends instead.
    fn start_once() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let address = free_address();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--logfile", "redis.log"])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install -y redis-server"));
        let mut server = Self { child, directory, address };
        // Whoever took the port might answer, too.
        let own_number = format!("process_id:{}\r\n", server.child.id());
        let lives = eventually("an answer or the end of redis-server", || {
            let has_ended = server.child.try_wait().unwrap().is_some();
            let answers =
                || server.try_command(&["INFO", "server"]).is_ok_and(|info| info.contains(&own_number));
            if has_ended { Some(false) } else { answers().then_some(true) }
        });
        lives.then_some(server)
    }

    /// The URL of its database 0.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Runs a command directly, past the host.
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).unwrap_or_else(|error| {
            let log = std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default();
            panic!("{words:?}: {error}\n{log}")
        })
    }

    /// Sends the server a signal: `STOP` and it answers nobody, `CONT` and it goes on.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    fn try_command(&self, words: &[&str]) -> redis::RedisResult<String> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now; redis-server cannot be asked to pick one.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
