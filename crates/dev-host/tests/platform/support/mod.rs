//! What every test needs: the probes as built components, a host running an application of them, a plain
//! HTTP/1.1 client that shows what really came over the wire, and the servers the probes call.

mod client;
mod host;
mod origin;
mod probes;
mod redis;
mod tls;

pub use client::{Client, Ending};
pub use host::{Host, Launch};
pub use origin::{DeafPort, Origin};
pub use probes::repository;
pub use redis::RedisServer;
pub use tls::TlsOrigin;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tries until there is an answer. For what happens after a response, when nothing else tells.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `work` for each of `0..count` on as many threads, all at once, and returns the results in order.
pub fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
