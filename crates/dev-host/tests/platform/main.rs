//! The platform as a component sees it: each test shows one behaviour of Spin that the product relies on
//! or must live with, on the dev-host. The probes in `../../probes` are the components.
//!
//! Every test starts a host of its own, so they run in parallel and share nothing.

#![cfg(test)]

mod support;

mod after_response;
mod chaining;
mod embeddings;
mod http;
mod instances;
mod key_value;
mod logs;
mod outbound;
mod pass_through;
mod redis;
mod refusals;
mod routing;
mod sqlite;
mod stats;
mod variables;
