//! What of the limits' events becomes a line of the log.

use quota::{Admission, Alert, CounterStore, latch};

/// Says which thresholds were reached for the first time in their window; `None` when none was.
pub async fn tell<S: CounterStore>(counters: &S, alerts: &[Alert<'_>]) -> Option<String> {
    let mut told = Vec::new();
    for alert in alerts {
        let Alert { limit, slot, permille, used, size } = alert;
        match latch(counters, alert).await {
            Ok(false) => {}
            Ok(true) => {
                let kind = slot.counter.kind();
                told.push(format!(
                    "alert limit={limit} kind={kind} at={permille}/1000 used={used} size={size}"
                ));
            }
            Err(failure) => told.push(format!("alert limit={limit} may be lost: {failure}")),
        }
    }
    joined(told)
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
pub fn joined(lines: Vec<String>) -> Option<String> {
    if lines.is_empty() { None } else { Some(lines.join("; ")) }
}
