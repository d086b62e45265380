//! `[[limits]]` and `[limiter]`: who may have how much.
//!
//! A rule may name several amounts. Each becomes a [`Check`] of its own, with its own counter; a request must pass all
//! checks of all rules that match it. What a check means over time is decided in the crate `quota`.

mod amount;
mod counter_key;
mod fit;
pub(crate) mod headers;
mod lease;
mod prices;
mod reach;
pub(crate) mod rule;
pub(crate) mod weights;
mod zone;

pub use amount::{Check, Measure, Period, Window};
pub use counter_key::CounterPart;
pub use headers::LimitHeaders;
pub use prices::CostTable;
pub use rule::{Limit, Matches, Mode};
pub use weights::Weights;
pub use zone::Zone;

use crate::document::{Document, Report};
use crate::fields::{Fields, unknown_name};
use crate::router::{self, RouterConfig};
use crate::secret::Secrets;
use crate::{Pricing, Problems};

/// Keys of `[limiter]`.
pub(crate) const LIMITER_KEYS: &[&str] = &["completion_reserve", "on_store_error", "headers", "store"];

const RESERVE_MAX: u64 = 1_000_000;
const RESERVE_DEFAULT: u64 = 1_024;

/// What `token-limiter` needs of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimiterConfig {
    /// All rules; a request must pass each one that matches it.
    pub limits: Vec<Limit>,
    /// Completion tokens that are reserved for a request that sets no maximum itself; 1 to 1,000,000, default 1,024.
    pub completion_reserve: u64,
    /// What happens when the counters cannot be reached.
    pub on_store_error: OnStoreError,
    /// Where the counters are.
    pub store: CounterStore,
    /// What the headers for the client are called.
    pub headers: LimitHeaders,
    /// What tokens cost; empty unless a rule limits money.
    pub costs: CostTable,
}

/// What happens to requests when the counters cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnStoreError {
    /// They are refused with 503: `deny`.
    #[default]
    Deny,
    /// They pass uncounted: `allow`.
    Allow,
}

/// Where the counters are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CounterStore {
    /// In the platform's key-value store: `key_value`.
    #[default]
    KeyValue,
    /// In a Redis that the limiter reaches by itself: `redis`.
    Redis,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        LimiterConfig {
            limits: Vec::new(),
            completion_reserve: RESERVE_DEFAULT,
            on_store_error: OnStoreError::default(),
            store: CounterStore::default(),
            headers: LimitHeaders::default(),
            costs: CostTable::default(),
        }
    }
}

impl LimiterConfig {
    /// Reads the limiter's sections of the document: `[[limits]]`, `[limiter]`, and, where a rule limits money, the
    /// prices and which deployments serve a model.
    ///
    /// # Errors
    /// Everything that is wrong with the first two and with the prices, and rules that do not fit the document's models and
    /// consumers: they would limit nothing. What is wrong with the router's sections themselves is the router's to say, and
    /// whether rules fit them is not judged then.
    pub fn parse(gateway: &str) -> Result<Self, Problems> {
        let report = Report::default();
        let config = Document::gateway(gateway, &report).map(|document| {
            let root = document.root(&report);
            let mut config = read(&root);
            if config.limits.iter().flat_map(|limit| &limit.checks).any(|c| c.measure == Measure::NanoUsd) {
                config.costs = prices::read(&root);
            }
            if report.len() == 0 && !config.limits.is_empty() {
                config.refuse_what_does_not_fit(&document, &report);
            }
            config
        });
        report.finish(config.unwrap_or_default())
    }

    fn refuse_what_does_not_fit(&self, document: &Document<'_>, report: &Report) {
        let unheard = Report::default();
        let router = router::read(document, &Secrets::unseen(), &unheard);
        if unheard.len() == 0 {
            refuse_what_does_not_fit(self, &router, Some(self.costs.pricing()), report);
        }
    }

    /// The rule of this name.
    pub fn limit(&self, name: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.name == name)
    }

    /// Whether any rule has a counter for each value of `part`.
    pub fn counts_by(&self, part: &CounterPart) -> bool {
        self.limits.iter().any(|limit| limit.counter_key.contains(part))
    }
}

/// Reports every rule that could not limit what it says with these models and consumers, and, where they are known, these prices.
pub(crate) fn refuse_what_does_not_fit(
    limiter: &LimiterConfig,
    router: &RouterConfig,
    pricing: Option<&Pricing>,
    report: &Report,
) {
    if let Some(pricing) = pricing {
        fit::refuse_limits_that_fit_nothing(limiter, router, pricing, report);
    }
    lease::refuse_leases_shorter_than_requests(limiter, router, report);
}

/// The headers of the client's that rules count by, for whoever hands them on; what is wrong with the rules is not said.
pub(crate) fn counted_headers(root: &Fields<'_, '_>) -> Vec<String> {
    let unheard = Report::default();
    // The keys alone: to read whole rules would bring the time zones into the router.
    let limits = root.reporting_to(&unheard).tables("limits", rule::KEYS);
    let mut names: Vec<String> = (limits.iter().filter_map(counter_key::read).flatten())
        .filter_map(|part| match part {
            CounterPart::Header(name) => Some(name),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What the headers for clients are called, for whoever corrects them; what is wrong with the names is not said.
pub(crate) fn limit_headers(root: &Fields<'_, '_>) -> LimitHeaders {
    let unheard = Report::default();
    let limiter = root.reporting_to(&unheard).table("limiter", LIMITER_KEYS);
    limiter.map(|table| headers::read(&table)).unwrap_or_default()
}

/// Reads `[[limits]]` and `[limiter]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> LimiterConfig {
    let mut config = LimiterConfig { limits: rule::read_all(root), ..LimiterConfig::default() };
    if let Some(table) = root.table("limiter", LIMITER_KEYS) {
        let reserve = table.integer("completion_reserve", 1..=RESERVE_MAX);
        config.completion_reserve = reserve.unwrap_or(RESERVE_DEFAULT);
        config.on_store_error = read_on_store_error(&table).unwrap_or_default();
        config.store = read_store(&table).unwrap_or_default();
        config.headers = headers::read(&table);
    }
    config
}

fn read_store(fields: &Fields<'_, '_>) -> Option<CounterStore> {
    match fields.text("store")? {
        "key_value" => Some(CounterStore::KeyValue),
        "redis" => Some(CounterStore::Redis),
        other => {
            fields.refuse("store", unknown_name(other, "a store", ["key_value", "redis"]));
            None
        }
    }
}

fn read_on_store_error(fields: &Fields<'_, '_>) -> Option<OnStoreError> {
    match fields.text("on_store_error")? {
        "deny" => Some(OnStoreError::Deny),
        "allow" => Some(OnStoreError::Allow),
        other => {
            fields.refuse("on_store_error", unknown_name(other, "a way to go on", ["deny", "allow"]));
            None
        }
    }
}
