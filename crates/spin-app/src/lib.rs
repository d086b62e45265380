//! What a Spin application is told to be: its manifest, its variables, its routes, what its components may reach, and the runtime
//! config. Decides what they mean, odd parts included, and refuses by name what `dev-host` does not have; nothing here runs anything.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod allowed_hosts;
pub mod blocked_networks;
pub mod chaining;
pub mod inbound_headers;
pub mod manifest;
pub mod routes;
pub mod runtime_config;
pub mod template;
pub mod variables;
