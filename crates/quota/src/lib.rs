//! Limits: what a request asks of which counter, whether it may have it, and what it really took.
//!
//! [`demands`] turns the configured limits and a request's size into amounts to take; [`reserve`] takes all of them
//! or none; [`corrections`] and [`settle`] put right what was taken once the real figure is known.
//!
//! # What holds
//! With one clock, whatever the number of requests and however their store operations interleave:
//! - an admitted request fits its limit at its instant, counting every other admitted one (`window` says how);
//! - in no window do the admitted reservations, corrected by what was settled meanwhile, exceed the limit at an admission;
//! - a refused request has left every counter as it found it; a settlement changes the window that was charged.
//!
//! When a store operation fails or its answer is lost, counters may stay too high, never too low.
//!
//! This crate knows no HTTP, no host and no clock: the store is a port ([`CounterStore`]), time is an argument.

mod counter;
mod demand;
mod duration;
mod reservation;
mod reserve;
mod settle;
mod store;
mod window;

pub use counter::Counter;
pub use demand::{Demand, RequestSize, Subject, demands, estimated_tokens};
pub use duration::ResetDuration;
pub use reservation::{Charge, MAX_CHARGES, MalformedReservation, Reservation};
pub use reserve::{Outcome, Standing, reserve};
pub use settle::{Corrections, Rejected, Unapplied, corrections, settle};
pub use store::{CounterStore, StoreError, decode_counter};
pub use window::{Counts, WINDOW_MS, window_of};

/// Most tokens in one reservation, one settlement or one limit: far above any real one, and so far below 2⁶³ that no
/// sum of them overflows a stored counter.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
