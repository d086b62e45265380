//! What an instance of the limiter takes of the host's memory, after a prompt of some length.
//!
//! Many instances are held at once, each with one reservation that waits for a Redis that never answers; the memory that
//! is the host's own is compared with what it is when one is held. So what instances share, the component's code and its
//! vocabularies, is left out, and a connection and its request are in. The resident memory, which `ps` shows, is told
//! beside it: it counts a shared page for each instance that has read it.

use super::cell::{Cell, LimiterStore};
use super::client::Connection;
use super::rig::command;
use crate::counters::Counters;
use crate::process::Process;
use crate::procfs::{own_bytes, tree_usage};
use crate::rig::{program, write};
use anyhow::ensure;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The prompts that are measured, in bytes: nothing to speak of, and some pages.
pub const PROMPTS: [usize; 2] = [60, 5_000];
/// What prompts are cut from: words that vary, because each makes a part of the vocabulary needed.
const PROSE: &str = concat!(
    include_str!("../../../tokens/tests/corpus/english.txt"),
    include_str!("../../../tokens/tests/corpus/german.txt"),
    include_str!("../../../tokens/tests/corpus/french.txt"),
    include_str!("../../../tokens/tests/corpus/russian.txt"),
    include_str!("../../../tokens/tests/corpus/code.txt"),
    include_str!("../../../tokens/tests/corpus/json.txt"),
);
/// Instances that are held besides the first.
const INSTANCES: u32 = 40;
/// All of them must wait before the first gives up, which the limiter does after 3 s.
const WITHIN: Duration = Duration::from_millis(2_500);
/// From when the last instance was made to when it has counted its prompt and waits.
const SETTLING: Duration = Duration::from_millis(300);

/// What each instance takes, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Of the machine's memory.
    pub own: f64,
    /// Of the host's resident memory, shared pages included.
    pub resident: f64,
}

/// What each instance takes after a prompt of `prompt_bytes`.
///
/// # Errors
/// If a program is missing, or not all instances are there in time.
pub async fn held(
    dev_host: &Path,
    component: &Path,
    state: &Path,
    prompt_bytes: usize,
) -> anyhow::Result<Held> {
    let directory = std::path::absolute(state)?.join(format!("memory-{prompt_bytes}"));
    fs::create_dir_all(directory.join("state"))?;
    // The system accepts connections for it, and nobody reads from them.
    let deaf = TcpListener::bind("127.0.0.1:0")?;
    let redis_url = format!("redis://{}", deaf.local_addr()?);
    let cell = Cell { store: LimiterStore::Script, limits: 1, consumers: 1 };
    write(&directory, "gateway.toml", &cell.document())?;
    let mut command = command(&program(dev_host)?, &program(component)?, &directory, &redis_url)?;
    command.args(["--max-instance-concurrent-reuse-count", "1"]);
    let host = Process::serving(&mut command, "Serving ")?;

    let mut waiting = JoinSet::new();
    let started = Instant::now();
    hold(&mut waiting, host.address, prompt_bytes, 1).await?;
    let one = when_held(host.address, 1, started).await?;
    let before = (own_bytes(host.pid())?, tree_usage(host.pid())?.rss_bytes);
    hold(&mut waiting, host.address, prompt_bytes, INSTANCES).await?;
    let many = when_held(host.address, one + u64::from(INSTANCES), started).await?;
    let after = (own_bytes(host.pid())?, tree_usage(host.pid())?.rss_bytes);
    ensure!(started.elapsed() < WITHIN, "the first instances are gone before the last are there");
    let each = |after: u64, before: u64| {
        after.saturating_sub(before) as f64 / many.saturating_sub(one).max(1) as f64
    };
    Ok(Held { own: each(after.0, before.0), resident: each(after.1, before.1) })
}

/// Sends `count` reservations, each on a connection of its own.
async fn hold(
    waiting: &mut JoinSet<()>,
    address: SocketAddr,
    prompt_bytes: usize,
    count: u32,
) -> anyhow::Result<()> {
    let prompt = beginning(prompt_bytes);
    for consumer in 0..count {
        let mut connection = Connection::open(address, prompt).await?;
        waiting.spawn_local(async move {
            // It is refused in the end, or dropped before.
            let _refused = connection.reserve(consumer).await;
        });
    }
    Ok(())
}

/// The first bytes of the prose, without a character that would be cut.
fn beginning(prompt_bytes: usize) -> &'static str {
    PROSE.get(..PROSE.floor_char_boundary(prompt_bytes)).unwrap_or_default()
}

/// Waits until so many instances live and have settled; returns how many there are.
async fn when_held(address: SocketAddr, count: u64, started: Instant) -> anyhow::Result<u64> {
    loop {
        let live = Counters::read(address).await?.instances.values().sum::<u64>();
        if live >= count {
            sleep(SETTLING).await;
            return Ok(live);
        }
        ensure!(started.elapsed() < WITHIN, "only {live} of {count} instances are there in time");
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_is_as_long_as_it_says() {
        for prompt_bytes in PROMPTS {
            assert!(beginning(prompt_bytes).len() > prompt_bytes - 4, "{prompt_bytes}");
        }
    }
}
