//! `POST /settle`: a batch of corrections.

use crate::error::Cause;
use crate::reply::Reply;
use crate::reserve::unreadable;
use bytes::Bytes;
use contracts::limiter::{MAX_BATCH, SettleBatch};
use quota::{CounterStore, corrections};
use std::fmt::Display;

/// A full batch of reservations under sixteen limits, the most that can differ, takes 700 KB.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Corrects the counters of a batch of reservations.
pub async fn settle<B, S>(body: B, counters: &S) -> Result<Reply, Cause<'static>>
where
    B: http_body::Body<Data = Bytes, Error: Display>,
    S: CounterStore,
{
    let body = bounded_body::read(body, MAX_BATCH_BYTES).await.map_err(unreadable)?;
    let batch: SettleBatch = serde_json::from_slice(&body)
        .map_err(|error| Cause::InvalidBatch { param: None, what: format!("is no settle batch: {error}") })?;
    let settlements = batch.settlements.len();
    if settlements > MAX_BATCH {
        let what = format!("holds {settlements} entries; at most {MAX_BATCH} are allowed");
        return Err(Cause::InvalidBatch { param: Some("settlements"), what });
    }
    let (corrections, rejected) =
        corrections(batch.settlements.iter().map(|s| (s.reservation.as_str(), s.tokens)));
    // A failure says more than a rejection does: it decides the answer if both happen.
    quota::settle(counters, &corrections).await.map_err(Cause::Unsettled)?;
    if rejected.is_empty() { Ok(Reply::no_content()) } else { Err(Cause::Rejected { rejected, settlements }) }
}
