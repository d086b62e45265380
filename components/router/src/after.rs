//! What follows an answer, outside the client's wait: settlements and records, in batches.
//!
//! A component call costs about as much as a request does, so what many requests leave behind travels together. The
//! first request to leave something starts a flusher, which waits [`LINGER`] for company and then sends all there is
//! in one call to the limiter and one to the logger.
//!
//! The queue is the one place where data of several requests meets in a static: ids, names and figures, never a
//! prompt, an answer or a key. What is promised: everything enqueued is delivered or, if the logger is down, printed;
//! only a killed instance loses the last [`LINGER`], and then the reservations stay charged as estimated.

use crate::host;
use crate::peers;
use contracts::UsageRecord;
use contracts::limiter::{MAX_BATCH, SettleBatch, Settlement};
use std::cell::RefCell;
use std::time::Duration;

/// How long the first entry waits for company. The platform spreads a load over many instances, each with a queue of its
/// own, so each sees little of it: under 32 connections a batch held two to five requests at 50 ms, measured. A limit learns of the
/// real figure this much later: until then the reservation stands, and what was used beyond it is not yet counted.
const LINGER: Duration = Duration::from_millis(150);

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::new(Queue::default());
}

#[derive(Default)]
struct Queue {
    settlements: Vec<Settlement>,
    records: Vec<UsageRecord>,
    flushing: bool,
}

/// Leaves a settlement and a record behind.
pub fn enqueue(settlement: Option<Settlement>, record: UsageRecord) {
    let start_flusher = QUEUE.with_borrow_mut(|queue| {
        queue.settlements.extend(settlement);
        queue.records.push(record);
        !std::mem::replace(&mut queue.flushing, true)
    });
    if start_flusher {
        host::spawn(flush());
    }
}

async fn flush() {
    loop {
        host::sleep(LINGER).await;
        let batch = QUEUE.with_borrow_mut(|queue| {
            let settlements: Vec<_> =
                queue.settlements.drain(..queue.settlements.len().min(MAX_BATCH)).collect();
            let records: Vec<_> = queue.records.drain(..queue.records.len().min(MAX_BATCH)).collect();
            if settlements.is_empty() && records.is_empty() {
                queue.flushing = false;
                return None;
            }
            Some((SettleBatch { settlements }, records))
        });
        let Some((settlements, records)) = batch else { return };
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
