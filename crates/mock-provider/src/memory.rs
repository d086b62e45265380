//! What the mock remembers: counters, and, once recording is on, the last requests and how each ended.
//!
//! Bounded in entries and in bytes: the oldest requests go first. Recording is off by default, so that a benchmark
//! pays for nothing but three counters.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

pub use crate::logged_request::{Ending, LoggedRequest};

/// The most requests kept.
const MAX_ENTRIES: usize = 10_000;
/// The most bytes of request bodies kept: real bodies reach megabytes, and 10,000 of those would not fit in memory.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// The most flaky models remembered; beyond it all are forgotten, which no test comes near.
const MAX_FLAKY_KEYS: usize = 10_000;

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Requests received, those to `/mock/…` and `/health` aside.
    pub requests: u64,
    /// Streams being answered now.
    pub open_streams: u64,
    /// Requests whose client left before the end of the answer.
    pub aborted: u64,
}

/// The memory of one mock.
#[derive(Debug, Default)]
pub struct Memory {
    is_recording: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    open_streams: AtomicU64,
    aborted: AtomicU64,
    ring: Mutex<Ring>,
    flaky: Mutex<HashMap<(String, String), u32>>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<LoggedRequest>,
    /// Number of the first entry, counted since the start.
    first: u64,
    body_bytes: usize,
}

impl Ring {
    fn push(&mut self, entry: LoggedRequest) -> u64 {
        self.body_bytes += entry.body.len();
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.body_bytes -= oldest.body.len();
            self.first += 1;
        }
        self.first + self.entries.len() as u64 - 1
    }

    fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.body_bytes = 0;
    }

    fn entry(&mut self, number: u64) -> Option<&mut LoggedRequest> {
        let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(position)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can leave them half-changed, so a panic elsewhere is no reason to stop.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Switches recording on or off; what is recorded stays.
    pub fn set_recording(&self, is_recording: bool) {
        self.is_recording.store(is_recording, Ordering::Relaxed);
    }

    /// The recorded requests in the order of their arrival.
    pub fn log(&self) -> Vec<LoggedRequest> {
        lock(&self.ring).entries.iter().cloned().collect()
    }

    /// Forgets the recorded requests; those under way leave no trace either.
    pub fn clear_log(&self) {
        lock(&self.ring).clear();
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            open_streams: self.open_streams.load(Ordering::Relaxed),
            aborted: self.aborted.load(Ordering::Relaxed),
        }
    }

    /// True while requests are recorded.
    pub fn is_recording(&self) -> bool {
        self.is_recording.load(Ordering::Relaxed)
    }

    /// Records a request and returns its number.
    pub fn record(&self, request: LoggedRequest) -> u64 {
        lock(&self.ring).push(request)
    }

    /// Changes the recorded request with this number, unless it has been forgotten.
    pub fn update(&self, number: u64, change: impl FnOnce(&mut LoggedRequest)) {
        if let Some(entry) = lock(&self.ring).entry(number) {
            change(entry);
        }
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that its client abandoned.
    pub fn count_aborted(&self) {
        self.aborted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream that begins.
    pub fn open_stream(&self) {
        self.open_streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream that has ended.
    pub fn close_stream(&self) {
        self.open_streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a connection.
    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests with this model name and `x-mock-id` came before this one.
    pub fn count_flaky(&self, model: &str, mock_id: &str) -> u32 {
        let mut flaky = lock(&self.flaky);
        if flaky.len() >= MAX_FLAKY_KEYS {
            flaky.clear();
        }
        let count = flaky.entry((model.to_owned(), mock_id.to_owned())).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;

    use super::*;

    fn request(path: &str, body_bytes: usize) -> LoggedRequest {
        let (parts, ()) = Request::builder().uri(path).body(()).unwrap().into_parts();
        LoggedRequest::received(&parts, Bytes::from(vec![b'0'; body_bytes]))
    }

    #[test]
    fn the_oldest_requests_make_room_for_the_newest() {
        let memory = Memory::default();
        let numbers: Vec<u64> =
            (0..MAX_ENTRIES + 3).map(|index| memory.record(request(&format!("/{index}"), 0))).collect();
        let log = memory.log();
        assert_eq!((log.len(), log[0].path.as_str()), (MAX_ENTRIES, "/3"));
        memory.update(numbers[2], |_| panic!("this one is forgotten"));
        memory.update(numbers[3], |entry| entry.chunks = 7);
        assert_eq!(memory.log()[0].chunks, 7);
    }

    #[test]
    fn large_bodies_make_room_too() {
        let memory = Memory::default();
        for index in 0..5 {
            memory.record(request(&format!("/{index}"), MAX_BODY_BYTES / 3));
        }
        assert_eq!(
            memory.log().iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
            ["/2", "/3", "/4"]
        );
    }

    #[test]
    fn a_cleared_log_takes_no_late_word_of_what_it_forgot() {
        let memory = Memory::default();
        let old = memory.record(request("/old", 1));
        memory.clear_log();
        memory.record(request("/new", 1));
        memory.update(old, |entry| entry.chunks = 9);
        assert_eq!((memory.log().len(), memory.log()[0].chunks), (1, 0));
    }

    #[test]
    fn flaky_models_are_counted_apart_by_name_and_id() {
        let memory = Memory::default();
        let counts = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")];
        assert_eq!(counts.map(|(model, id)| memory.count_flaky(model, id)), [0, 1, 0, 0, 2]);
    }
}
