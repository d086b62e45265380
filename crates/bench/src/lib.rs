//! Whole-path measurements of the gateway against the mock provider.
//!
//! Everything is measured in one run, by one load generator, on one machine, in interleaved rounds: what is reported
//! is how paths compare, not what a machine can do. [`scenario`] names the paths, [`rig`] starts what they need,
//! [`round`] measures one path once, [`summary`] makes figures of several rounds, [`report`] prints them and says
//! whether the bars hold. A wrong answer, however rare, ends the run: a benchmark of wrong answers means nothing.

// Apart from the binary, only the progress lines and the table reach the terminal, and they are what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod answers;
pub mod bars;
pub mod client;
pub mod counters;
pub mod events;
pub mod held;
pub mod latency;
pub mod limiter;
pub mod load;
pub mod process;
pub mod procfs;
pub mod questions;
pub mod report;
pub mod rig;
pub mod round;
pub mod scenario;
pub mod settings;
pub mod summary;
