//! The amounts of a rule: how much of what in which time.

use super::weights::{self, Weights};
use super::zone::Zone;
use crate::fields::{Fields, unknown_name};
use crate::names::shown;
use crate::pricing::nano_usd;

/// Far above any provider's rate, far below where sums of counters could overflow.
const AMOUNT_MAX: u64 = 1_000_000_000_000;
const PARALLEL_MAX: u64 = 1_000_000;
/// A bucket, a quarter of the lease, is a whole second then.
const LEASE_MIN_S: u64 = 4;
const LEASE_MAX_S: u64 = 86_400;
const LEASE_DEFAULT_S: u64 = 600;

/// One amount of one rule: a request passes when what is used and what it asks for are together at most `size`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is counted.
    pub measure: Measure,
    /// Over which time.
    pub window: Window,
    /// The most of it, in the measure's unit; 1 to 10^12, money to 10^15.
    pub size: u64,
}

/// What is counted, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Tokens, weighed.
    Tokens(Weights),
    /// Requests.
    Requests,
    /// Money, in nano-dollars (1 USD = 1,000,000,000).
    NanoUsd,
    /// Requests that run at the same time.
    Parallel,
}

/// The time over which a check counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// Any 60 seconds.
    SlidingMinute,
    /// The calendar's, in a time zone.
    Calendar(Period, Zone),
    /// From the first use on, and from the first use after that.
    Rolling(Period),
    /// While a request runs, at most this many seconds; 4 to 86,400, default 600.
    Lease {
        /// After how long a request that never ended is taken for dead.
        lease_s: u64,
    },
}

/// Length of a quota's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// `hour`.
    Hour,
    /// `day`.
    Day,
    /// `week`, from Monday.
    Week,
    /// `month`.
    Month,
    /// `year`.
    Year,
}

impl Period {
    const ALL: [(&'static str, Period); 5] = [
        ("hour", Period::Hour),
        ("day", Period::Day),
        ("week", Period::Week),
        ("month", Period::Month),
        ("year", Period::Year),
    ];

    /// The name in the document.
    pub fn as_str(self) -> &'static str {
        Period::ALL.iter().find(|(_, period)| *period == self).map_or("", |(name, _)| name)
    }

    /// Length of a window that rolls from first use, in milliseconds: a month is 30 days, a year 365.
    pub fn rolling_ms(self) -> u64 {
        const HOUR_MS: u64 = 3_600_000;
        match self {
            Period::Hour => HOUR_MS,
            Period::Day => 24 * HOUR_MS,
            Period::Week => 7 * 24 * HOUR_MS,
            Period::Month => 30 * 24 * HOUR_MS,
            Period::Year => 365 * 24 * HOUR_MS,
        }
    }
}

/// Reads the amounts of a rule, in the order of their keys in the manual. None without a problem being reported.
pub(crate) fn read(fields: &Fields<'_, '_>) -> Vec<Check> {
    let weights = read_weights(fields);
    let quota_window = read_quota_window(fields);
    let lease_s = fields.integer("lease_s", LEASE_MIN_S..=LEASE_MAX_S);
    if fields.has("lease_s") && !fields.has("max_parallel") {
        fields.refuse("lease_s", "is of no use without max_parallel");
    }
    let mut checks = Vec::new();
    let mut check = |measure, window: Option<&Window>, size| {
        if let (Some(window), Some(size)) = (window, size) {
            checks.push(Check { measure, window: window.clone(), size });
        }
    };
    let minute = Window::SlidingMinute;
    let amount = |key| fields.integer(key, 1..=AMOUNT_MAX);
    check(Measure::Tokens(weights), Some(&minute), amount("tokens_per_minute"));
    check(Measure::Requests, Some(&minute), amount("requests_per_minute"));
    check(Measure::Tokens(weights), quota_window.as_ref(), amount("token_quota"));
    check(Measure::Requests, quota_window.as_ref(), amount("request_quota"));
    check(Measure::NanoUsd, quota_window.as_ref(), read_usd(fields, "cost_quota_usd"));
    let lease = Window::Lease { lease_s: lease_s.unwrap_or(LEASE_DEFAULT_S) };
    check(Measure::Parallel, Some(&lease), fields.integer("max_parallel", 1..=PARALLEL_MAX));
    checks
}

/// The keys of which a rule must have at least one.
pub(crate) const AMOUNTS: [&str; 6] = [
    "tokens_per_minute",
    "requests_per_minute",
    "token_quota",
    "request_quota",
    "cost_quota_usd",
    "max_parallel",
];
const QUOTAS: [&str; 3] = ["token_quota", "request_quota", "cost_quota_usd"];

fn read_weights(fields: &Fields<'_, '_>) -> Weights {
    if fields.has("counts") && !fields.has("tokens_per_minute") && !fields.has("token_quota") {
        fields.refuse("counts", "is of no use without tokens_per_minute or token_quota");
    }
    weights::read(fields).unwrap_or(Weights::TOTAL)
}

/// `period`, `timezone` and `window`, which belong to a quota. `None` also after a problem.
fn read_quota_window(fields: &Fields<'_, '_>) -> Option<Window> {
    if !QUOTAS.iter().any(|key| fields.has(key)) {
        for key in ["period", "timezone", "window"].into_iter().filter(|key| fields.has(key)) {
            fields.refuse(key, format!("is of no use without one of {}", QUOTAS.join(", ")));
        }
        return None;
    }
    let text = fields.required_text("period");
    let period = Period::ALL.into_iter().find(|(name, _)| Some(*name) == text).map(|(_, period)| period);
    if let (Some(text), None) = (text, period) {
        fields.refuse("period", unknown_name(text, "a period", Period::ALL.map(|(name, _)| name)));
    }
    let zone = match fields.text("timezone") {
        None => Some(Zone::UTC),
        Some(name) => {
            let zone = Zone::named(name);
            if zone.is_none() {
                let example = "must be a name of the IANA database, such as \"Europe/Berlin\"";
                fields.refuse("timezone", format!("is {}, {example}", shown(name)));
            }
            zone
        }
    };
    match fields.text("window") {
        None if fields.has("window") => None,
        None | Some("calendar") => Some(Window::Calendar(period?, zone?)),
        Some("rolling") => {
            if fields.has("timezone") {
                fields.refuse(
                    "timezone",
                    "is of no use with window = \"rolling\", which begins at the first use",
                );
            }
            Some(Window::Rolling(period?))
        }
        Some(other) => {
            fields.refuse("window", unknown_name(other, "a window", ["calendar", "rolling"]));
            None
        }
    }
}

/// Dollars, as a number or, so that no editor can round them, as a text.
fn read_usd(fields: &Fields<'_, '_>, key: &str) -> Option<u64> {
    let text = match fields.peek_text(key) {
        Some(text) => text,
        None => fields.decimal(key)?,
    };
    let amount = nano_usd(text).filter(|nano| *nano > 0);
    if amount.is_none() {
        let allowed = "must be US dollars above 0, up to 1000000, with at most 9 decimals and no exponent";
        fields.refuse(key, format!("is {}, {allowed}", shown(text)));
    }
    amount
}
