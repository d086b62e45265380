//! One cell, measured once: at one connection for the latencies, at many for the rate and the cost.

use super::cell::Cell;
use super::client::Connection;
use super::rig::Host;
use crate::counters::Counters;
use crate::latency::Latencies;
use crate::procfs::tree_usage;
use crate::questions::TEXT_BYTES;
use anyhow::Context as _;
use contracts::limiter::{SettleBatch, SettleOutcome, SettledUsage, Settlement};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Connections of the load part.
pub const CONNECTIONS: usize = 32;
/// Reservations that are settled in one call under load: about what the router's queue gathers.
pub const BATCH: usize = 4;
/// What every request turns out to have used; less than was reserved, so that each settlement writes.
const USED: SettledUsage =
    SettledUsage { prompt_tokens: 100, cached_tokens: 0, completion_tokens: 50, reasoning_tokens: 0 };

/// What was measured, by name; the names carry the unit.
pub type Figures = BTreeMap<&'static str, f64>;

/// Measures a cell.
///
/// # Errors
/// On the first reservation that is not admitted, or settlement that is not taken.
pub async fn measure(cell: Cell, host: &Host, one: Duration, load: Duration) -> anyhow::Result<Figures> {
    let mut figures = Figures::new();
    at_one_connection(cell, host, one, &mut figures).await.context("one connection")?;
    under_load(cell, host, load, &mut figures).await.context("many connections")?;
    Ok(figures)
}

async fn at_one_connection(
    cell: Cell,
    host: &Host,
    duration: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(host.process.address, &prompt()).await?;
    let mut consumers = Consumers::new(cell.consumers, 0);
    let (mut reserve, mut settle) = (Latencies::new()?, Latencies::new()?);
    // The first request starts the instance.
    connection.reserve(consumers.next()).await?;
    let started = Instant::now();
    while started.elapsed() < duration {
        let asked = Instant::now();
        let reservation = connection.reserve(consumers.next()).await?;
        reserve.record(asked.elapsed());
        let batch = SettleBatch { settlements: vec![settlement(reservation)] };
        let asked = Instant::now();
        connection.settle(&batch).await?;
        settle.record(asked.elapsed());
    }
    figures.insert("reserve_p50_us", reserve.quantile_us(0.5));
    figures.insert("reserve_p99_us", reserve.quantile_us(0.99));
    figures.insert("settle_p50_us", settle.quantile_us(0.5));
    figures.insert("settle_p99_us", settle.quantile_us(0.99));
    Ok(())
}

async fn under_load(
    cell: Cell,
    host: &Host,
    duration: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let before = (Counters::read(host.process.address).await?, cpu_us(host)?);
    let done = Rc::new(std::cell::Cell::new(0_u64));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(host.process.address, &prompt()).await?;
        let mut consumers = Consumers::new(cell.consumers, u32::try_from(number)?);
        let done = done.clone();
        tasks.spawn_local(async move {
            while started.elapsed() < duration {
                let mut settlements = Vec::with_capacity(BATCH);
                for _ in 0..BATCH {
                    settlements.push(settlement(connection.reserve(consumers.next()).await?));
                }
                connection.settle(&SettleBatch { settlements }).await?;
                done.set(done.get() + BATCH as u64);
            }
            anyhow::Ok(())
        });
    }
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    let elapsed = started.elapsed();
    let requests = done.get() as f64;
    let counted = Counters::read(host.process.address).await?.since(&before.0);
    figures.insert("per_s", requests / elapsed.as_secs_f64());
    figures.insert("cpu_us", cpu_us(host)?.saturating_sub(before.1) as f64 / requests);
    let gets = counted.key_value.get("get").copied().unwrap_or_default();
    figures.insert("reads", gets as f64 / requests);
    figures.insert("writes", counted.key_value_writes() as f64 / requests);
    Ok(())
}

/// CPU time of the host and of its Redis server.
fn cpu_us(host: &Host) -> anyhow::Result<u64> {
    let redis = match &host.redis {
        Some(redis) => tree_usage(redis.pid())?.cpu_us,
        None => 0,
    };
    Ok(tree_usage(host.process.pid())?.cpu_us + redis)
}

fn prompt() -> String {
    "What does a traveller pay who passes the gate after dark? ".repeat(TEXT_BYTES / 58)
}

fn settlement(reservation: String) -> Settlement {
    Settlement {
        reservation,
        outcome: SettleOutcome::Used,
        usage: USED,
        model: String::new(),
        deployment: String::new(),
        retried: Vec::new(),
    }
}

/// Consumers in an order that visits all of them before any again, each connection from another place.
struct Consumers {
    count: u32,
    next: u32,
}

impl Consumers {
    /// Coprime to 10 and to 100,000, so that a walk in such steps visits all.
    const STEP: u32 = 7_919;

    fn new(count: u32, start: u32) -> Self {
        Self { count, next: start.wrapping_mul(count / 32 + 1) % count }
    }

    fn next(&mut self) -> u32 {
        self.next = (self.next + Self::STEP) % self.count;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_every_consumer_once() {
        for count in [10, 100_000] {
            let mut consumers = Consumers::new(count, 5);
            let mut seen: Vec<u32> = (0..count).map(|_| consumers.next()).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), count as usize);
        }
    }
}
