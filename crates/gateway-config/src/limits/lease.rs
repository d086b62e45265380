//! Leases that end before the requests that they stand for: then more would run than the rule says.

use super::{Limit, LimiterConfig, Window};
use crate::document::Report;
use crate::models::Model;
use crate::router::RouterConfig;

/// Reports every rule whose `lease_s` is less than a request that it counts may last: `timeouts.total_ms` of its model,
/// retries and fallbacks included.
pub(super) fn refuse_leases_shorter_than_requests(
    limiter: &LimiterConfig,
    router: &RouterConfig,
    report: &Report,
) {
    for (index, limit) in limiter.limits.iter().enumerate() {
        let lease_s = limit.checks.iter().find_map(|check| match check.window {
            Window::Lease { lease_s } => Some(lease_s),
            Window::SlidingMinute | Window::Calendar(..) | Window::Rolling(_) => None,
        });
        let Some(lease_s) = lease_s else { continue };
        let counted = router.models.iter().filter(|model| may_serve(model, limit, router));
        let Some(slowest) = counted.max_by_key(|model| model.settings.timeouts.total_ms) else { continue };
        let total_ms = slowest.settings.timeouts.total_ms;
        if lease_s.saturating_mul(1_000) < total_ms {
            report.add(
                format!("limits[{index}].lease_s"),
                format!(
                    "is {lease_s}, but a request to model \"{}\" may last {total_ms} ms (timeouts.total_ms), so that more \
                     than max_parallel could run; at least {} are needed",
                    slowest.name,
                    total_ms.div_ceil(1_000)
                ),
            );
        }
    }
}

/// Whether a request that the rule counts may go to this model.
fn may_serve(model: &Model, limit: &Limit, router: &RouterConfig) -> bool {
    // The rule goes by the name asked for; a route may lead from there to any model.
    let is_any = limit.matches.models.is_empty() || !router.routes.is_empty();
    let serves = |name: &String| router.model(name).is_some_and(|serving| serving.name == model.name);
    is_any || limit.matches.models.iter().any(serves)
}
