//! Programs that the benchmark starts: until they are ready, and until the benchmark ends, which kills them.

use anyhow::{Context as _, bail};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Compiling a component for the first time takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Lines kept of what a program says, for the case that it fails.
const LINES_KEPT: usize = 20;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts a program that prints `<announcement>http://<address>` once it serves.
    ///
    /// # Errors
    /// If it cannot be started, or ends instead.
    pub fn serving(command: &mut Command, announcement: &'static str) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            // With it, every error that is made on the way of a request walks the stack: a cost of debugging.
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let said = Arc::default();
        let (announce, announced) = channel();
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, &said, |_| ());
        }
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, &said, move |line| {
                if let Some(address) = announced_address(line, announcement) {
                    // Nobody waits for a second announcement.
                    let _ = announce.send(address);
                }
            });
        }
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on, leaving early kills it.
        let mut process = Self { child, address: placeholder, said };
        match announced.recv_timeout(PATIENCE) {
            Ok(address) => process.address = address,
            Err(RecvTimeoutError::Timeout) => bail!("{name} does not get ready: {}", process.said()),
            Err(RecvTimeoutError::Disconnected) => {
                process.child.wait()?;
                bail!("{name} ended: {}", process.said());
            }
        }
        Ok(process)
    }

    /// Starts a `redis-server`, empty, without persistence, on a port of its own.
    ///
    /// # Errors
    /// If there is none, or it does not serve.
    pub fn redis(directory: &std::path::Path) -> anyhow::Result<Self> {
        // It cannot be asked to pick a port and tell.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--logfile", "redis.log"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server; run apt-get install redis-server")?;
        let process = Self { child, address, said: Arc::default() };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(started.elapsed() < PATIENCE, "redis-server does not get ready");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its last words so far.
    pub fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(|line| format!("\n  {line}")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `output` to its end on a thread, keeping the last lines.
fn keep(
    output: impl Read + Send + 'static,
    said: &Arc<Mutex<VecDeque<String>>>,
    mut on_line: impl FnMut(&str) + Send + 'static,
) {
    let said = said.clone();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            on_line(&line);
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == LINES_KEPT {
                said.pop_front();
            }
            said.push_back(line);
        }
    });
}

fn announced_address(line: &str, announcement: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once(announcement)?;
    address.trim().strip_prefix("http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_names_the_address() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 81)));
        assert_eq!(announced_address("Serving http://127.0.0.1:81", "Serving "), address);
        assert_eq!(announced_address("mock listening on http://127.0.0.1:81 ", "listening on "), address);
        assert_eq!(announced_address("  x: http://127.0.0.1:81/...", "Serving "), None);
    }

    #[test]
    fn a_program_that_ends_instead_of_serving_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo because >&2; exit 3"]);
        let error = Process::serving(&mut command, "Serving ").unwrap_err().to_string();
        assert!(error.contains("ended"), "{error}");
    }
}
