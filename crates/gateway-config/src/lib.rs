//! The configuration: two TOML documents in, types that cannot be wrong out.
//!
//! `gateway` describes a gateway; `secrets` is a flat table of names and values that the first refers to. Each
//! component reads its own sections ([`RouterConfig`], [`LimiterConfig`], [`CacheConfig`], [`UsageConfig`]); [`check`]
//! reads all of them and what must fit between them. Nothing is repaired and nothing unknown is ignored: all
//! [`Problems`] are reported together. This crate sees no clock, no environment and no host.

mod backends;
mod base_url;
mod bounds;
mod cache;
mod check;
mod consumers;
mod document;
mod fields;
mod limits;
mod models;
mod names;
mod pricing;
mod problems;
mod router;
mod secret;
mod usage;

#[cfg(test)]
mod tests;

pub use backends::{Backend, Provider};
pub use base_url::BaseUrl;
pub use bounds::Bounds;
pub use cache::CacheConfig;
pub use check::{PLAIN_HTTP_ORIGINS_MAX, Summary, check};
pub use consumers::{Consumer, Consumers};
pub use limits::{CounterPart, Limit, LimiterConfig, OnStoreError};
pub use models::{Deployment, Model, Timeouts};
pub use pricing::{Price, Pricing};
pub use problems::{Problem, Problems};
pub use router::{PlainVariables, RouterConfig};
pub use secret::Secret;
pub use usage::UsageConfig;

/// The document that applies when `gateway` is empty.
///
/// Its one consumer is accepted only from a loopback address; its key is `tollgate-local`.
pub const BUILT_IN: &str = include_str!("built_in.toml");
