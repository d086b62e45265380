//! What follows an answer, outside the client's wait: settlements, records and answers for the cache, in batches.
//!
//! A component call costs about as much as a request does, so what many requests leave behind travels together. The
//! first request to leave something starts a flusher, which waits [`LINGER`] for company and then sends all there is
//! in one call to each of limiter, logger and cache. Answers wait for company only up to [`MAX_WAITING_BYTES`].
//!
//! The queue is the one place where data of several requests meets in a static: ids, names and figures, and answers
//! that are to be cached, each held together with its own key; never a prompt or a credential. What is promised:
//! everything enqueued is delivered or, if the logger is down, printed; only a killed instance loses the last
//! [`LINGER`], and then the reservations stay charged as estimated.

use crate::host;
use crate::peers;
use contracts::UsageRecord;
use contracts::limiter::{MAX_BATCH, SettleBatch, SettleOutcome, SettledUsage, Settlement};
use contracts::store_batch;
use std::cell::RefCell;
use std::time::Duration;

/// How long the first entry waits for company. The platform spreads a load over many instances, each with a queue of its
/// own, so each sees little of it: under 32 connections a batch held two to five requests at 50 ms, measured. A limit learns of the
/// real figure this much later: until then the reservation stands, and what was used beyond it is not yet counted.
const LINGER: Duration = Duration::from_millis(150);

/// Most bytes of answers that wait for company, in one instance. Beyond it they are sent at once.
const MAX_WAITING_BYTES: usize = 512 * 1024;

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::new(Queue::default());
}

#[derive(Default)]
struct Queue {
    settlements: Vec<Settlement>,
    records: Vec<UsageRecord>,
    answers: Answers,
    /// A batch of answers is on its way; the next waits for it.
    storing: bool,
    flushing: bool,
}

/// Answers for the cache, as they will be sent.
#[derive(Default)]
struct Answers {
    count: usize,
    body: Vec<u8>,
}

impl Answers {
    fn is_full(&self) -> bool {
        self.body.len() > MAX_WAITING_BYTES || self.count >= MAX_BATCH
    }
}

/// Leaves a settlement and a record behind.
pub fn enqueue(settlement: Option<Settlement>, record: UsageRecord) {
    let start_flusher = QUEUE.with_borrow_mut(|queue| {
        queue.settlements.extend(settlement);
        queue.records.push(record);
        queue.start_flusher()
    });
    if start_flusher {
        host::spawn(flush());
    }
}

/// Leaves word that a reservation is not needed after all.
pub fn give_back(reservation: String) {
    let start_flusher = QUEUE.with_borrow_mut(|queue| {
        queue.settlements.push(returned(reservation));
        queue.start_flusher()
    });
    if start_flusher {
        host::spawn(flush());
    }
}

/// The settlement of what was not used.
pub fn returned(reservation: String) -> Settlement {
    Settlement {
        reservation,
        outcome: SettleOutcome::Returned,
        usage: SettledUsage::default(),
        model: String::new(),
        deployment: String::new(),
        retried: Vec::new(),
    }
}

/// Leaves a complete answer for the cache, which decides whether to keep it.
///
/// Nothing waits for the cache, and nothing piles up before it: while a batch is on its way and the next is full, an
/// answer is not cached.
pub fn keep(key: &str, content_type: &'static str, answer: &[u8]) {
    let (full, start_flusher) = QUEUE.with_borrow_mut(|queue| {
        if queue.answers.is_full() {
            return (None, false);
        }
        store_batch::append(&mut queue.answers.body, key, content_type, answer);
        queue.answers.count += 1;
        let full = if queue.answers.is_full() { queue.next_answers() } else { None };
        (full, queue.start_flusher())
    });
    if let Some(answers) = full {
        host::spawn(store(answers));
    }
    if start_flusher {
        host::spawn(flush());
    }
}

impl Queue {
    /// Whether the caller has to start a flusher: only one runs at a time.
    fn start_flusher(&mut self) -> bool {
        !std::mem::replace(&mut self.flushing, true)
    }

    /// The answers that wait, unless others are on their way; whoever takes them must [`store`] them.
    fn next_answers(&mut self) -> Option<Answers> {
        if self.storing || self.answers.count == 0 {
            return None;
        }
        self.storing = true;
        Some(std::mem::take(&mut self.answers))
    }
}

async fn flush() {
    loop {
        host::sleep(LINGER).await;
        let batch = QUEUE.with_borrow_mut(|queue| {
            let settlements: Vec<_> =
                queue.settlements.drain(..queue.settlements.len().min(MAX_BATCH)).collect();
            let records: Vec<_> = queue.records.drain(..queue.records.len().min(MAX_BATCH)).collect();
            let answers = queue.next_answers();
            if settlements.is_empty() && records.is_empty() && queue.answers.count == 0 && answers.is_none() {
                queue.flushing = false;
                return None;
            }
            Some((SettleBatch { settlements }, records, answers))
        });
        let Some((settlements, records, answers)) = batch else { return };
        if let Some(answers) = answers {
            host::spawn(store(answers));
        }
        futures::join!(settle(settlements), record(records));
    }
}

async fn settle(batch: SettleBatch) {
    if !batch.settlements.is_empty() && !peers::settle(&batch).await {
        host::log(&format!(
            "{} settlements were not confirmed; their reservations stand",
            batch.settlements.len()
        ));
    }
}

async fn store(answers: Answers) {
    if !peers::store(answers.body).await {
        host::log(&format!("{} answers were not taken by semantic-cache", answers.count));
    }
    QUEUE.with_borrow_mut(|queue| queue.storing = false);
}

async fn record(batch: Vec<UsageRecord>) {
    if batch.is_empty() || peers::record(&batch).await {
        return;
    }
    host::log(&format!("{} usage records were not taken by usage-logger; they follow", batch.len()));
    for record in &batch {
        if let Ok(line) = serde_json::to_string(record) {
            host::print(&line);
        }
    }
}
