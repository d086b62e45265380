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

use std::fmt::Debug;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long an instance may need, on a loaded machine, to get from a request to where it waits: only then
/// does it take the next one. A request that comes earlier starts another instance.
pub const SETTLING: Duration = Duration::from_millis(50);

/// Read by tests that a busy machine could mislead, written by those that make it busy.
static MACHINE: RwLock<()> = RwLock::new(());

/// For a test that looks at how long something took: until the guard is dropped, no test that is [`alone`] runs.
pub fn timed() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that keeps the processors busy, or needs them all: until the guard is dropped, no test that is [`timed`] runs.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Tries until an outcome is as expected; fails with all outcomes if none is. For what a busy machine spoils by one pause
/// at the wrong moment: a host that has the fault fails every try.
pub fn once_in<T: Debug>(
    tries: usize,
    expected: &str,
    mut attempt: impl FnMut() -> T,
    is_expected: impl Fn(&T) -> bool,
) {
    let mut outcomes = Vec::new();
    while outcomes.len() < tries {
        let outcome = attempt();
        if is_expected(&outcome) {
            return;
        }
        outcomes.push(outcome);
    }
    panic!("not once in {tries} tries: {expected}; but {outcomes:?}");
}

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
