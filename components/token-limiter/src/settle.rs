//! `POST /settle`: a batch of corrections.

use crate::error::Cause;
use crate::keeper::Keeper;
use crate::reply::Reply;
use crate::reserve::unreadable;
use bytes::Bytes;
use contracts::limiter::{MAX_BATCH, SettleBatch, SettleOutcome, SettledUsage, Settlement};
use gateway_config::LimiterConfig;
use quota::{CounterStore, ScriptStore, Taken, Usage, corrections, unchanged};
use std::fmt::Display;

/// A full batch of reservations under 64 limits with the longest names takes 3 MB.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Corrects the counters of a batch of reservations.
///
/// Every alert of a batch is of some request in it, but which one is not known.
pub async fn settle<'c, B, C, S>(
    body: B,
    config: &'c LimiterConfig,
    keeper: &Keeper<'_, C, S>,
) -> Result<Reply<'c>, Cause<'static>>
where
    B: http_body::Body<Data = Bytes, Error: Display>,
    C: CounterStore,
    S: ScriptStore,
{
    let body = bounded_body::read(body, MAX_BATCH_BYTES).await.map_err(unreadable)?;
    let batch: SettleBatch = serde_json::from_slice(&body)
        .map_err(|error| Cause::InvalidBatch { param: None, what: format!("is no settle batch: {error}") })?;
    let settlements = batch.settlements.len();
    if settlements > MAX_BATCH {
        let what = format!("holds {settlements} entries; at most {MAX_BATCH} are allowed");
        return Err(Cause::InvalidBatch { param: Some("settlements"), what });
    }
    let (corrections, rejected) = corrections(config, batch.settlements.iter().map(settlement));
    let reservations = batch.settlements.iter().map(|settlement| settlement.reservation.as_str());
    let unchanged = unchanged(config, reservations, &corrections);
    // A failure says more than a rejection does: it decides the answer if both happen.
    let alerts = keeper.settle(config, &corrections, &unchanged).await.map_err(Cause::Unsettled)?;
    if !rejected.is_empty() {
        return Err(Cause::Rejected { rejected, settlements });
    }
    Ok(Reply { alerts, ..Reply::no_content() })
}

fn settlement(settlement: &Settlement) -> quota::Settlement<'_> {
    let Settlement { reservation, outcome, usage, model, deployment } = settlement;
    let SettledUsage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = *usage;
    let taken = match outcome {
        SettleOutcome::Returned => Taken::Nothing,
        SettleOutcome::Used => Taken::Tokens {
            usage: Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens },
            model,
            deployment,
        },
    };
    quota::Settlement { reservation, taken }
}
