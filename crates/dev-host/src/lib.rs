//! Runs a Spin application, a `spin.toml` and its components, where the `spin` command is absent.
//!
//! A stand-in for trying out, tests and benchmarks, not for production. It behaves as Spin does, odd parts included, so
//! that what passes on it passes on Spin; what it does not support it refuses by name rather than ignore. The README
//! lists both.

// A command-line tool: the terminal is where it speaks.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
mod bindings;
pub mod component;
pub mod engine;
pub mod handler;
pub mod host;
pub mod instance;
pub mod kv;
pub mod logs;
pub mod outbound;
pub mod server;
pub mod stats;
mod terminal;
