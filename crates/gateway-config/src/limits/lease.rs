//! Leases that end before the requests that they stand for: then more would run than the rule says.

use super::reach::Reach;
use super::{LimiterConfig, Window};
use crate::document::Report;
use crate::router::RouterConfig;

/// Reports every rule whose `lease_s` is less than a request that it counts may last: `timeouts.total_ms` of the model that
/// serves it after routes, which bounds retries and fallbacks as well.
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
        let serving = Reach::of(limit, router).serving().into_iter().filter_map(|name| router.model(name));
        let Some(slowest) = serving.max_by_key(|model| model.settings.timeouts.total_ms) else { continue };
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
