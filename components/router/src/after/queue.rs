//! What waits to be sent after answers: settlements, records and answers for the cache, each in a lane of its own.
//!
//! Decides what goes into a batch, how much may wait, and what is left out; sends nothing and knows no clock. Invariants: a
//! lane that is being sent holds up no other; each has at most one batch under way; what waits is bounded in bytes.

use contracts::limiter::MAX_BATCH;
use contracts::record::MAX_RECORDS_BYTES;
use contracts::store_batch;
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Most bytes of settlements that wait, in one instance. Of those beyond, the reservations stand.
pub const MAX_WAITING_SETTLEMENT_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of records that wait, in one instance; one is about 500 bytes. Those beyond are printed.
pub const MAX_WAITING_RECORD_BYTES: usize = 2 * 1024 * 1024;
/// Most bytes of answers that wait for company, in one instance. Beyond it they are sent at once.
pub const MAX_WAITING_ANSWER_BYTES: usize = 512 * 1024;

/// Most records of strangers that are kept, in one instance and [`STRANGERS_MS`].
const MAX_STRANGERS: u32 = 2;
/// In ms.
const STRANGERS_MS: u64 = 1_000;

/// What waits.
pub struct Queue {
    /// For the limiter.
    pub settlements: Lane,
    /// For the logger.
    pub records: Lane,
    /// For the cache.
    pub answers: Answers,
    strangers: Strangers,
    is_flushing: bool,
}

/// What one flush sends. A lane whose last batch is under way is left out, and so is one where nothing waits.
#[derive(Default)]
pub struct Flush {
    /// To the limiter.
    pub settlements: Option<Vec<Entry>>,
    /// To the logger.
    pub records: Option<Vec<Entry>>,
    /// To the cache.
    pub answers: Option<Batch>,
    /// How many requests were refused before anybody was known, and left no record.
    pub unrecorded: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            // A settlement is an id and a few numbers; the limiter's cap is far above 256 of them.
            settlements: Lane::new(MAX_WAITING_SETTLEMENT_BYTES, MAX_RECORDS_BYTES),
            records: Lane::new(MAX_WAITING_RECORD_BYTES, MAX_RECORDS_BYTES),
            answers: Answers::default(),
            strangers: Strangers::default(),
            is_flushing: false,
        }
    }
}

impl Queue {
    /// Whether a request of nobody's is recorded, or only counted: anybody can send such, and each record stays for months.
    pub fn admits_stranger(&mut self, at_ms: u64) -> bool {
        self.strangers.admit(at_ms)
    }

    /// Whether the caller has to start a flusher: only one runs at a time, and only while it has something to do.
    pub fn start_flusher(&mut self) -> bool {
        let has_work = self.settlements.is_ready()
            || self.records.is_ready()
            || self.answers.is_ready()
            || self.strangers.unrecorded > 0;
        has_work && !std::mem::replace(&mut self.is_flushing, true)
    }

    /// What the flusher sends now. `None` when there is nothing, and then it ends.
    pub fn flush(&mut self) -> Option<Flush> {
        let flush = Flush {
            settlements: self.settlements.next(),
            records: self.records.next(),
            answers: self.answers.next(),
            unrecorded: std::mem::take(&mut self.strangers.unrecorded),
        };
        let is_empty = flush.settlements.is_none()
            && flush.records.is_none()
            && flush.answers.is_none()
            && flush.unrecorded == 0;
        self.is_flushing = !is_empty;
        (!is_empty).then_some(flush)
    }
}

/// Something that waits, as it will be sent.
#[derive(Debug)]
pub struct Entry {
    /// When its request arrived: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The settlement or the record.
    pub json: Box<RawValue>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.json.get().len()
    }
}

/// What waits for one component.
pub struct Lane {
    waiting: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
    max_batch_bytes: usize,
    is_sending: bool,
}

impl Lane {
    fn new(max_bytes: usize, max_batch_bytes: usize) -> Self {
        Lane { waiting: VecDeque::new(), bytes: 0, max_bytes, max_batch_bytes, is_sending: false }
    }

    /// Adds an entry, or gives it back when there is no room.
    pub fn push(&mut self, entry: Entry) -> Result<(), Entry> {
        let bytes = self.bytes.saturating_add(entry.bytes());
        if bytes > self.max_bytes {
            return Err(entry);
        }
        self.bytes = bytes;
        self.waiting.push_back(entry);
        Ok(())
    }

    /// The last batch was taken, or given up.
    pub fn sent(&mut self) {
        self.is_sending = false;
    }

    fn is_ready(&self) -> bool {
        !self.is_sending && !self.waiting.is_empty()
    }

    /// The next batch: as many as fit its bytes (with the commas between them), but at least one.
    fn next(&mut self) -> Option<Vec<Entry>> {
        if !self.is_ready() {
            return None;
        }
        self.is_sending = true;
        let mut left = self.max_batch_bytes.saturating_sub(FRAME_BYTES);
        let fits = self.waiting.iter().take(MAX_BATCH).take_while(|entry| {
            let needs = entry.bytes().saturating_add(1);
            let is_fitting = needs <= left;
            left = left.saturating_sub(needs);
            is_fitting
        });
        let count = fits.count().max(1).min(self.waiting.len());
        let batch: Vec<Entry> = self.waiting.drain(..count).collect();
        self.bytes = self.bytes.saturating_sub(batch.iter().map(Entry::bytes).sum());
        Some(batch)
    }
}

/// What a batch has around its entries, in bytes, generously: `{"settlements":[]}`.
const FRAME_BYTES: usize = 64;

/// Answers that wait for the cache, in one body.
#[derive(Default)]
pub struct Answers {
    waiting: Batch,
    is_sending: bool,
}

/// Some answers, as they will be sent.
#[derive(Default)]
pub struct Batch {
    /// How many.
    pub count: usize,
    /// In the form of [`store_batch`].
    pub body: Vec<u8>,
}

impl Answers {
    /// Adds an answer; false when there is no room. If there is none for another one now, [`Self::next_if_full`] has them.
    pub fn push(&mut self, key: &str, content_type: &str, answer: &[u8]) -> bool {
        let has_room = !self.is_full();
        if has_room {
            store_batch::append(&mut self.waiting.body, key, content_type, answer);
            self.waiting.count += 1;
        }
        has_room
    }

    /// Those that wait, if no other has room: they wait for no company.
    pub fn next_if_full(&mut self) -> Option<Batch> {
        if self.is_full() { self.next() } else { None }
    }

    /// The last batch was taken, or given up.
    pub fn sent(&mut self) {
        self.is_sending = false;
    }

    fn is_full(&self) -> bool {
        self.waiting.body.len() > MAX_WAITING_ANSWER_BYTES || self.waiting.count >= MAX_BATCH
    }

    fn is_ready(&self) -> bool {
        !self.is_sending && self.waiting.count > 0
    }

    fn next(&mut self) -> Option<Batch> {
        if !self.is_ready() {
            return None;
        }
        self.is_sending = true;
        Some(std::mem::take(&mut self.waiting))
    }
}

/// Counts the requests that are refused before anybody is known.
#[derive(Default)]
struct Strangers {
    /// Milliseconds since the Unix epoch.
    since_ms: u64,
    recorded: u32,
    unrecorded: u64,
}

impl Strangers {
    fn admit(&mut self, at_ms: u64) -> bool {
        // Also when the clock was set back: it must not keep everybody out for so long.
        if at_ms.abs_diff(self.since_ms) >= STRANGERS_MS {
            (self.since_ms, self.recorded) = (at_ms, 0);
        }
        let is_admitted = self.recorded < MAX_STRANGERS;
        self.recorded += u32::from(is_admitted);
        self.unrecorded = self.unrecorded.saturating_add(u64::from(!is_admitted));
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        let text = format!("\"{}\"", "x".repeat(bytes - 2));
        Entry { at_ms: 1, json: RawValue::from_string(text).unwrap() }
    }

    fn sizes(flush: Option<Flush>) -> (usize, usize, usize) {
        let flush = flush.unwrap_or_default();
        (
            flush.settlements.map_or(0, |batch| batch.len()),
            flush.records.map_or(0, |batch| batch.len()),
            flush.answers.map_or(0, |batch| batch.count),
        )
    }

    fn fill(queue: &mut Queue) {
        queue.settlements.push(entry(10)).unwrap();
        queue.records.push(entry(10)).unwrap();
        assert!(queue.answers.push("key", "application/json", b"{}"));
    }

    #[test]
    fn a_lane_that_is_being_sent_holds_up_no_other() {
        let mut queue = Queue::default();
        fill(&mut queue);
        assert_eq!(sizes(queue.flush()), (1, 1, 1));
        fill(&mut queue);
        queue.settlements.sent();
        assert_eq!(sizes(queue.flush()), (1, 0, 0), "the logger and the cache have not answered yet");
        fill(&mut queue);
        queue.settlements.sent();
        queue.answers.sent();
        assert_eq!(sizes(queue.flush()), (1, 0, 2));
        queue.records.sent();
        assert_eq!(sizes(queue.flush()), (0, 2, 0));
    }

    #[test]
    fn a_flusher_runs_while_there_is_something_that_it_can_send_and_never_twice() {
        let mut queue = Queue::default();
        assert!(!queue.start_flusher(), "nothing waits");
        fill(&mut queue);
        assert!(queue.start_flusher() && !queue.start_flusher());
        assert!(queue.flush().is_some() && !queue.start_flusher(), "it goes on");
        assert!(queue.flush().is_none(), "it ends");
        fill(&mut queue);
        assert!(!queue.start_flusher(), "all three are under way");
        queue.records.sent();
        assert!(queue.start_flusher());
    }

    #[test]
    fn a_batch_has_at_most_256_entries_and_fits_the_cap_of_its_taker() {
        let mut queue = Queue::default();
        for _ in 0..300 {
            queue.records.push(entry(6_000)).unwrap();
        }
        let mut batches = Vec::new();
        while let Some(Flush { records: Some(batch), .. }) = queue.flush() {
            queue.records.sent();
            let body: Vec<&RawValue> = batch.iter().map(|entry| &*entry.json).collect();
            assert!(serde_json::to_vec(&body).unwrap().len() <= MAX_RECORDS_BYTES);
            batches.push(batch.len());
        }
        assert_eq!(batches, [174, 126], "1 MiB of 6,001 bytes each");
        for _ in 0..300 {
            queue.records.push(entry(10)).unwrap();
        }
        assert_eq!(sizes(queue.flush()), (0, 256, 0));
        queue.settlements.push(entry(2 * MAX_RECORDS_BYTES)).unwrap();
        assert_eq!(
            sizes(queue.flush()),
            (1, 0, 0),
            "one that is too long is sent alone, for its taker to refuse"
        );
    }

    #[test]
    fn what_waits_is_bounded_and_given_back_beyond() {
        let mut queue = Queue::default();
        let half = MAX_WAITING_RECORD_BYTES / 2;
        queue.records.push(entry(half)).unwrap();
        queue.records.push(entry(half)).unwrap();
        assert_eq!(queue.records.push(entry(2)).unwrap_err().bytes(), 2);
        assert_eq!(sizes(queue.flush()), (0, 1, 0));
        queue.records.push(entry(half)).unwrap();
        assert!(queue.records.push(entry(2)).is_err());
        assert!(queue.settlements.push(entry(MAX_WAITING_SETTLEMENT_BYTES + 1)).is_err());
    }

    #[test]
    fn answers_are_sent_at_once_when_they_are_full_and_left_out_while_others_are_on_their_way() {
        let mut queue = Queue::default();
        let large = vec![b'x'; MAX_WAITING_ANSWER_BYTES];
        assert!(queue.answers.push("a", "application/json", b"{}") && queue.answers.next_if_full().is_none());
        assert!(queue.answers.push("b", "application/json", &large));
        assert_eq!(queue.answers.next_if_full().map(|batch| batch.count), Some(2));
        assert!(queue.answers.push("c", "application/json", &large));
        assert!(
            queue.answers.next_if_full().is_none() && !queue.answers.push("d", "application/json", b"{}")
        );
        queue.answers.sent();
        assert_eq!(sizes(queue.flush()), (0, 0, 1));
    }

    #[test]
    fn two_strangers_a_second_are_recorded_and_the_others_counted() {
        let mut queue = Queue::default();
        let second = 1_795_996_800_000;
        let admitted = |queue: &mut Queue, at_ms| (0..5).filter(|_| queue.admits_stranger(at_ms)).count();
        assert_eq!(admitted(&mut queue, second), 2);
        assert_eq!(admitted(&mut queue, second + 999), 0);
        assert!(queue.start_flusher(), "to say so");
        assert_eq!(queue.flush().unwrap().unrecorded, 8);
        assert!(queue.flush().is_none(), "it is said once");
        assert_eq!(admitted(&mut queue, second + 1_000), 2);
        assert_eq!(admitted(&mut queue, second - 9_999), 2, "the clock was set back");
    }
}
