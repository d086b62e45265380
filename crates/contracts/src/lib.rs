//! The internal wire: paths, headers and bodies that the components exchange.
//!
//! Every component talks to the others by plain HTTP, so each contract can be tried with curl. This crate holds
//! names and shapes only; what they mean for the caller stands in each component's README. It decides nothing.

pub mod cache;
pub mod event;
pub mod headers;
pub mod limiter;
pub mod origins;
pub mod record;
pub mod store_batch;

pub use event::Event;
pub use record::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
