//! `POST /settle`: a batch of corrections.

use crate::error::Cause;
use crate::keeper::Keeper;
use crate::reply::Reply;
use crate::reserve::unreadable;
use bytes::Bytes;
use contracts::RetriedUsage;
use contracts::limiter::{MAX_BATCH, SettleBatch, SettleOutcome, SettledUsage, Settlement};
use gateway_config::LimiterConfig;
use quota::{CounterStore, Retried, ScriptStore, Taken, Usage, corrections, unchanged};
use std::fmt::Display;

/// A full batch of reservations under 64 limits with the longest names takes 3 MB, which leaves room for some ten failed
/// attempts of each.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Corrects the counters of a batch of reservations. `clock` tells milliseconds since the Unix epoch.
///
/// Every alert of a batch is of some request in it, but which one is not known.
pub async fn settle<'c, B, C, S>(
    body: B,
    config: &'c LimiterConfig,
    keeper: &Keeper<'_, C, S>,
    clock: impl Fn() -> u64,
) -> Result<Reply<'c>, Cause<'c>>
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
    let retried: Vec<Vec<Retried<'_>>> =
        batch.settlements.iter().map(|s| s.retried.iter().map(attempt).collect()).collect();
    let all = batch.settlements.iter().zip(&retried).map(|(s, retried)| settlement(s, retried));
    let (corrections, rejected) = corrections(config, all, clock());
    let reservations = batch.settlements.iter().map(|settlement| settlement.reservation.as_str());
    let unchanged = unchanged(config, reservations, &corrections);
    // A failure says more than a rejection does: it decides the answer if both happen.
    let alerts = keeper.settle(config, &corrections, &unchanged).await.map_err(Cause::Unsettled)?;
    if !rejected.is_empty() {
        return Err(Cause::Rejected { rejected, settlements, alerts });
    }
    Ok(Reply { alerts, ..Reply::no_content() })
}

fn settlement<'s>(settlement: &'s Settlement, retried: &'s [Retried<'s>]) -> quota::Settlement<'s> {
    let Settlement { reservation, outcome, usage, model, deployment, retried: _ } = settlement;
    let SettledUsage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens } = *usage;
    let taken = match outcome {
        SettleOutcome::Returned => Taken::Nothing,
        SettleOutcome::Used => Taken::Tokens {
            usage: Usage { prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens },
            model,
            deployment,
            retried,
        },
    };
    quota::Settlement { reservation, taken }
}

fn attempt(attempt: &RetriedUsage) -> Retried<'_> {
    let RetriedUsage { pool, deployment, .. } = attempt;
    let usage = Usage {
        prompt_tokens: attempt.prompt_tokens,
        cached_tokens: attempt.cached_tokens,
        completion_tokens: attempt.completion_tokens,
        reasoning_tokens: attempt.reasoning_tokens,
    };
    Retried { model: pool, deployment, usage }
}
