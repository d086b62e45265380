//! The platform: variables, clock, randomness, log, the usage logger, and the counters in Spin's key-value store.

mod counters;
mod later;
mod redis;

pub use counters::Counters;
pub use later::{alert_later, sweep_later, tell};
pub use redis::Redis;

use crate::error::Cause;
use crate::keeper::Keeper;
use futures::future::{Either, select};
use gateway_config::{CounterStore, LimiterConfig, Problems};
use spin_sdk::time::sleep;
use spin_sdk::variables;
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::random::random::get_random_u64;
use spin_sdk::wit_bindgen::yield_async;
use std::io::Write as _;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The validated limits, parsed once per instance.
pub async fn config() -> Result<&'static LimiterConfig, Cause<'static>> {
    static CONFIG: OnceLock<Result<LimiterConfig, Problems>> = OnceLock::new();
    let config = match CONFIG.get() {
        Some(config) => config,
        None => {
            // An unreadable document must not pass for an empty one: that would lift every limit.
            let gateway = variable("gateway").await?;
            // Two first requests may both get here; one result is kept, and they are equal.
            CONFIG.get_or_init(|| LimiterConfig::parse(&gateway))
        }
    };
    config.as_ref().map_err(Cause::Configuration)
}

/// What the store may take of a reservation: the router waits 5 s for all of it, and `on_store_error` must have its say
/// before.
pub const RESERVE_WITHIN: Duration = Duration::from_secs(3);

/// What it may take of anything that no client waits for; the router waits 10 s for a batch of settlements.
pub const AFTERWARDS_WITHIN: Duration = Duration::from_secs(8);

/// Both stores, for one piece of work that may wait so long for them in all; neither is opened before it is used.
pub fn stores(limit: Duration) -> (Counters, Redis) {
    (Counters::within(limit), Redis::within(limit))
}

/// The one of them that the document names.
pub fn keeper<'s>(
    config: &LimiterConfig,
    counters: &'s Counters,
    scripts: &'s Redis,
) -> Keeper<'s, Counters, Redis> {
    match config.store {
        CounterStore::KeyValue => Keeper::Counters(counters),
        CounterStore::Redis => Keeper::Scripts(scripts),
    }
}

/// The operator's token, read for each request so that a changed one counts at once; empty: no operator.
pub async fn admin_token() -> Result<String, Cause<'static>> {
    variable("admin_token").await
}

async fn variable(name: &'static str) -> Result<String, Cause<'static>> {
    let value = variables::get(name).await;
    value.map_err(|error| Cause::VariableUnreadable { name, reason: format!("{error:?}") })
}

/// 16 hexadecimal digits that nobody has had before.
pub fn random_id() -> String {
    format!("{:016x}", get_random_u64())
}

/// Milliseconds since the Unix epoch, by the host's wall clock.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Since some moment, never going back.
fn monotonic() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

/// Lets the host run this instance's other requests.
pub async fn pause() {
    yield_async().await;
}

/// Prints one line about a request to the component's log.
pub fn log(request_id: &str, why: &str) {
    let request_id = if request_id.is_empty() { "-" } else { request_id };
    let line = format!("token-limiter: request_id={request_id} {why}\n");
    // Not `eprintln!`, which panics when standard error cannot be written to.
    let _unheard = std::io::stderr().write_all(line.as_bytes());
}

/// The result of `work`, or `None` when `limit` passes first; the work is then dropped.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(pin!(work), pin!(sleep(limit))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}
