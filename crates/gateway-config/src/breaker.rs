//! `[models.breaker]`: when a deployment is left alone, and for how long.

use crate::fields::Fields;
use crate::share::{self, Share};
use crate::statuses::{self, StatusSet};

/// Keys of `[models.breaker]`.
pub(crate) const KEYS: &[&str] = &[
    "enabled",
    "failures",
    "failure_ratio",
    "min_requests",
    "interval_s",
    "trip_duration_s",
    "statuses",
    "timeouts",
    "accept_retry_after",
];

const COUNT_MAX: u64 = 1_000_000;
const INTERVAL_MAX_S: u64 = 3_600;
const TRIP_MAX_S: u64 = 3_600;

/// When a deployment's circuit breaker opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Whether it opens at all; default true.
    pub enabled: bool,
    /// Opens at this many failures in the interval; 1 to 1,000,000, by default not counted.
    pub failures: Option<u32>,
    /// Opens when this share of the interval's requests failed; by default a half, unless `failures` is given.
    pub failure_ratio: Option<Share>,
    /// Requests in the interval below which the ratio says nothing; 1 to 1,000,000, default 10.
    pub min_requests: u32,
    /// The interval that is looked back on, in seconds; 1 to 3,600, default 30.
    pub interval_s: u32,
    /// How long it stays open, in seconds; 1 to 3,600, default 15.
    pub trip_duration_s: u32,
    /// Statuses that are failures; default 401 to 403, 408, 429 and 5xx: what speaks of the deployment, not of the request.
    pub statuses: StatusSet,
    /// Whether timeouts are failures; default true. Connections that fail and answers that break off always are.
    pub timeouts: bool,
    /// Whether a failure that says when to come back opens it until then, at once; default true.
    pub accept_retry_after: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            enabled: true,
            failures: None,
            failure_ratio: Some(Share::HALF),
            min_requests: 10,
            interval_s: 30,
            trip_duration_s: 15,
            statuses: StatusSet::of(&[(401, 403), (408, 408), (429, 429), (500, 599)]),
            timeouts: true,
            accept_retry_after: true,
        }
    }
}

/// Reads `breaker`; `base` is what applies where nothing is written.
///
/// `failures` and `failure_ratio` belong together: where one is written, the other is no longer taken from `base`.
pub(crate) fn read(fields: &Fields<'_, '_>, base: &Breaker) -> Breaker {
    let Some(table) = fields.table("breaker", KEYS) else { return base.clone() };
    let number =
        |key, range, base| table.integer(key, range).and_then(|n| u32::try_from(n).ok()).unwrap_or(base);
    let failures = table.integer("failures", 1..=COUNT_MAX).and_then(|n| u32::try_from(n).ok());
    let failure_ratio = share::read(&table, "failure_ratio");
    let is_either_written = table.has("failures") || table.has("failure_ratio");
    Breaker {
        enabled: table.flag("enabled").unwrap_or(base.enabled),
        failures: if is_either_written { failures } else { base.failures },
        failure_ratio: if is_either_written { failure_ratio } else { base.failure_ratio },
        min_requests: number("min_requests", 1..=COUNT_MAX, base.min_requests),
        interval_s: number("interval_s", 1..=INTERVAL_MAX_S, base.interval_s),
        trip_duration_s: number("trip_duration_s", 1..=TRIP_MAX_S, base.trip_duration_s),
        statuses: statuses::read(&table, "statuses").unwrap_or_else(|| base.statuses.clone()),
        timeouts: table.flag("timeouts").unwrap_or(base.timeouts),
        accept_retry_after: table.flag("accept_retry_after").unwrap_or(base.accept_retry_after),
    }
}
