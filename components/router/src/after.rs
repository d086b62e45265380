//! What follows an answer, outside the client's wait: settlements, records and answers for the cache, in batches.
//!
//! A component call costs about as much as a request does, so what many requests leave behind travels together. The
//! first request to leave something starts a flusher, which waits [`LINGER`] for company and then sends all there is
//! in one call to each of limiter, logger and cache. None of the three waits for another: while one hangs, what is for it
//! piles up to a bound (`queue`), and what is for the others is sent.
//!
//! The queue is the one place where data of several requests meets in a static: ids, names and figures, and answers
//! that are to be cached, each held together with its own key; never a prompt or a credential. What is promised:
//! everything enqueued is delivered or, if the logger is down, printed; only a killed instance loses the last
//! [`LINGER`] and what is on its way, and then the reservations stay charged as estimated.

mod queue;

use crate::host;
use crate::peers;
use contracts::UsageRecord;
use contracts::limiter::{SettleOutcome, SettledUsage, Settlement};
pub use queue::Entry;
use queue::{Batch, Flush, Queue};
use serde::Serialize;
use std::cell::RefCell;
use std::time::Duration;

/// How long the first entry waits for company. The platform spreads a load over many instances, each with a queue of its
/// own, so each sees little of it: under 32 connections a batch held two to five requests at 50 ms, measured. A limit learns of the
/// real figure this much later: until then the reservation stands, and what was used beyond it is not yet counted.
const LINGER: Duration = Duration::from_millis(150);

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::new(Queue::default());
}

/// Changes the queue, and starts a flusher if there is now something for one.
fn with_queue<T>(change: impl FnOnce(&mut Queue) -> T) -> T {
    let (result, start_flusher) = QUEUE.with_borrow_mut(|queue| (change(queue), queue.start_flusher()));
    if start_flusher {
        host::spawn(flush());
    }
    result
}

/// Leaves a settlement and a record behind.
pub fn enqueue(settlement: Option<Settlement>, record: UsageRecord) {
    if let Some(settlement) = settlement {
        settle_later(record.at_ms, &settlement);
    }
    let unsent = with_queue(|queue| {
        // Whoever is not known has no consumer, and what they send costs them nothing.
        let is_kept = !record.consumer.is_empty() || queue.admits_stranger(record.at_ms);
        let entry = is_kept.then(|| entry(record.at_ms, &record)).flatten()?;
        queue.records.push(entry).err()
    });
    unsent.iter().for_each(print);
}

/// Leaves word that a reservation is not needed after all.
pub fn give_back(reservation: String) {
    settle_later(host::epoch_ms(), &returned(reservation));
}

fn settle_later(at_ms: u64, settlement: &Settlement) {
    let unsent =
        entry(at_ms, settlement).and_then(|entry| with_queue(|queue| queue.settlements.push(entry).err()));
    if unsent.is_some() {
        host::log(
            "a settlement found no room, because token-limiter does not answer; its reservation stands",
        );
    }
}

fn entry(at_ms: u64, value: &impl Serialize) -> Option<Entry> {
    // Texts, numbers and booleans: serialising cannot fail.
    let json = serde_json::value::to_raw_value(value).ok()?;
    Some(Entry { at_ms, json })
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
    let full = with_queue(|queue| {
        queue.answers.push(key, content_type, answer);
        queue.answers.next_if_full()
    });
    if let Some(answers) = full {
        host::spawn(store(answers));
    }
}

/// Sends what waits, every [`LINGER`], until there is nothing that can be sent. A lane that is ready again later starts
/// another flusher.
async fn flush() {
    loop {
        host::sleep(LINGER).await;
        let Some(flush) = QUEUE.with_borrow_mut(Queue::flush) else { return };
        let Flush { settlements, records, answers, unrecorded } = flush;
        if let Some(batch) = settlements {
            host::spawn(settle(batch));
        }
        if let Some(batch) = records {
            host::spawn(record(batch));
        }
        if let Some(answers) = answers {
            host::spawn(store(answers));
        }
        if unrecorded > 0 {
            host::log(&format!(
                "{unrecorded} more requests without a known key were refused; they have no record"
            ));
        }
    }
}

async fn settle(batch: Vec<Entry>) {
    if !peers::settle(&batch).await {
        host::log(&format!("{} settlements were not confirmed; their reservations stand", batch.len()));
    }
    with_queue(|queue| queue.settlements.sent());
}

async fn store(answers: Batch) {
    if !peers::store(answers.body).await {
        host::log(&format!("{} answers were not taken by semantic-cache", answers.count));
    }
    with_queue(|queue| queue.answers.sent());
}

async fn record(batch: Vec<Entry>) {
    if !peers::record(&batch).await {
        host::log(&format!("{} usage records were not taken by usage-logger; they follow", batch.len()));
        batch.iter().for_each(print);
    }
    with_queue(|queue| queue.records.sent());
}

/// Prints a record in place of the logger, in the form that it would have: without a cost, for the router knows no prices.
fn print(record: &Entry) {
    host::print(usage::record_line(record.at_ms, record.json.get()).trim_end());
}
