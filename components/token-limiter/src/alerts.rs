//! What of the limits' events becomes a line of the log, and what of it the usage logger hears.

use crate::events::{self, Asked};
use crate::keeper::Keeper;
use contracts::Event;
use gateway_config::LimiterConfig;
use quota::{Admission, Alert, CounterStore, ScriptStore, StoreError, Stretch, Told};

/// Which alerts are told, as far as this instance knows. Hashes only.
static TOLD: Told = Told::new();

/// Thresholds that are reached for the first time in their window, and a line for the log; neither when none is.
pub async fn tell<C: CounterStore, S: ScriptStore>(
    keeper: &Keeper<'_, C, S>,
    config: &LimiterConfig,
    alerts: &[Alert<'_>],
    asked: &Asked,
    now_ms: u64,
) -> (Vec<Event>, Option<String>) {
    let (mut told, mut lines) = (Vec::new(), Vec::new());
    for alert in alerts {
        let Alert { limit, slot, permille, used, size } = alert;
        match first(keeper, config, alert, now_ms).await {
            Ok(None) => {}
            Ok(Some(window)) => {
                let kind = slot.counter.kind();
                lines.push(format!(
                    "alert limit={limit} kind={kind} at={permille}/1000 used={used} size={size}"
                ));
                let mode = config.limit(limit).map(|limit| limit.mode).unwrap_or_default();
                told.push(events::alert(alert, mode, window, asked, now_ms));
            }
            Err(failure) => lines.push(format!("alert limit={limit} may be lost: {failure}")),
        }
    }
    (told, joined(lines))
}

/// Its window, if the alert is now to be told.
async fn first<C: CounterStore, S: ScriptStore>(
    keeper: &Keeper<'_, C, S>,
    config: &LimiterConfig,
    alert: &Alert<'_>,
    now_ms: u64,
) -> Result<Option<Stretch>, StoreError> {
    if TOLD.knows(alert) {
        return Ok(None);
    }
    let is_first = keeper.latch(config, alert, now_ms).await?;
    TOLD.learn(alert);
    if !is_first {
        return Ok(None);
    }
    // It is told whether or not its window can be found out.
    let window = keeper.bounds(config, &alert.slot).await.ok().flatten();
    Ok(Some(window.unwrap_or(Stretch { start_ms: 0, end_ms: 0 })))
}

/// Says what rules that only observe would have refused, and whether they could count; `None` when there is nothing.
pub fn observed(admission: &Admission<'_>) -> Option<String> {
    let refused = admission.would_refuse.iter().map(|standing| {
        let quota::Standing { limit, kind, size, used, .. } = standing;
        format!("observe limit={limit} kind={kind} would refuse: used={used} size={size}")
    });
    let failed = admission.unobserved.iter().map(|failure| format!("observe failed: {failure}"));
    joined(refused.chain(failed).collect())
}

/// Several lines of a log as one.
fn joined(lines: Vec<String>) -> Option<String> {
    if lines.is_empty() { None } else { Some(lines.join("; ")) }
}
