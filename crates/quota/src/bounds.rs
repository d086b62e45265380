//! When the window of a counter began and when it ends: for what is told of it, not for what is decided.

use crate::calendar::{Stretch, stretch};
use crate::counter::Slot;
use crate::kind::Kind;
use crate::rolling;
use crate::store::{CounterStore, StoreError};
use crate::window::{MINUTE_MS, bucket_ms};
use gateway_config::{Check, LimiterConfig, Window};

/// The bounds of a charge's window. `None` when its rule is gone, or the window long over where they roll from first use.
/// One read where they do, else none.
///
/// # Errors
/// The store cannot be read.
pub async fn bounds<S: CounterStore>(
    store: &S,
    config: &LimiterConfig,
    slot: &Slot,
) -> Result<Option<Stretch>, StoreError> {
    let rolls_from_ms = match check(config, slot).map(|check| &check.window) {
        Some(Window::Rolling(period)) => {
            rolling::start_ms(store, &slot.counter, period.rolling_ms(), slot.window).await?
        }
        _ => None,
    };
    Ok(as_configured(config, slot, rolls_from_ms))
}

/// The same on a store that runs scripts, where a rolling window is called by its start.
pub fn bounds_by_script(config: &LimiterConfig, slot: &Slot) -> Option<Stretch> {
    as_configured(config, slot, Some(slot.window))
}

/// The check of a counter, as configured now.
fn check<'c>(config: &'c LimiterConfig, slot: &Slot) -> Option<&'c Check> {
    let mut checks = config.limit(slot.counter.limit())?.checks.iter();
    checks.find(|check| Kind::of(check) == slot.counter.kind())
}

fn as_configured(config: &LimiterConfig, slot: &Slot, rolls_from_ms: Option<u64>) -> Option<Stretch> {
    let check = check(config, slot)?;
    let from =
        |start_ms: u64, length_ms: u64| Stretch { start_ms, end_ms: start_ms.saturating_add(length_ms) };
    match &check.window {
        Window::SlidingMinute => Some(from(slot.window.saturating_mul(MINUTE_MS), MINUTE_MS)),
        Window::Calendar(period, zone) => stretch(*period, zone, slot.window.saturating_mul(1_000)),
        Window::Rolling(period) => rolls_from_ms.map(|start_ms| from(start_ms, period.rolling_ms())),
        Window::Lease { lease_s } => {
            let bucket_ms = bucket_ms(*lease_s);
            Some(from(slot.window.saturating_mul(bucket_ms), bucket_ms))
        }
    }
}
