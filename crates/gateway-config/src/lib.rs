//! The configuration: two TOML documents in, types that cannot be wrong out.
//!
//! `gateway` describes a gateway; `secrets` is a flat table of names and values that the first refers to. Each
//! component reads its own sections ([`RouterConfig`], [`LimiterConfig`], [`CacheConfig`], [`UsageConfig`]); [`check`]
//! reads all of them and what must fit between them. Nothing is repaired and nothing unknown is ignored: all
//! [`Problems`] are reported together. This crate sees no clock, no environment and no host.

mod backends;
mod base_url;
mod bounds;
mod breaker;
mod cache;
mod check;
mod consumers;
mod deployments;
mod document;
mod fallbacks;
mod fields;
mod health_check;
mod limits;
mod models;
mod names;
mod pricing;
mod problems;
mod regions;
mod retries;
mod router;
mod routes;
mod secret;
mod settings;
mod share;
mod statuses;
mod strategy;
mod timeouts;
mod usage;

#[cfg(test)]
mod tests;

pub use backends::{Backend, Provider};
pub use base_url::BaseUrl;
pub use bounds::Bounds;
pub use breaker::Breaker;
pub use cache::CacheConfig;
pub use check::{PLAIN_HTTP_ORIGINS_MAX, Summary, check};
pub use consumers::{Consumer, Consumers};
pub use deployments::{Deployment, PrefillStyle};
pub use fallbacks::{ErrorClass, Fallback};
pub use health_check::HealthCheck;
pub use limits::{
    Check, CostTable, CounterPart, CounterStore, Limit, LimitHeaders, LimiterConfig, Matches, Measure, Mode,
    OnStoreError, Period, Weights, Window, Zone,
};
pub use models::Model;
pub use pricing::{Price, Pricing};
pub use problems::{Problem, Problems};
pub use regions::{Nearness, Regions};
pub use retries::Retries;
pub use router::{PlainVariables, RouterConfig};
pub use routes::{Feature, Mirror, Route};
pub use secret::Secret;
pub use settings::{MidStream, Settings};
pub use share::Share;
pub use statuses::StatusSet;
pub use strategy::{HashKey, Strategy};
pub use timeouts::Timeouts;
pub use usage::UsageConfig;

/// The document that applies when `gateway` is empty.
///
/// Its one consumer is accepted only from a loopback address; its key is `tollgate-local`.
pub const BUILT_IN: &str = include_str!("built_in.toml");
