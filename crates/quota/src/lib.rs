//! Limits: what a request asks of which counter, whether it may have it, and what it really took.
//!
//! [`demands`] turns the configured rules and a request's size into amounts to take, one for each check; [`reserve`]
//! takes all of them or none; [`corrections`] and [`settle`] put right what was taken once the real figures are known.
//!
//! # What holds
//! With one clock, whatever the number of requests and however their store operations interleave:
//! - an admitted request fits every check at its instant, counting every other admitted one (`window` says how);
//! - in no window do the admitted reservations, corrected by what was settled meanwhile, exceed the limit at an admission;
//! - a refused request has left every counter as it found it; a settlement changes the window that was charged, but what goes
//!   beyond the reservation of a minute that is over counts in the minute of the settlement;
//! - if each pause outlasts what others have begun, a request is refused only if it would not fit at the end either,
//!   after all others that were admitted.
//!
//! When a store operation fails or its answer is lost, counters may stay too high, never too low.
//!
//! On a store that runs scripts ([`ScriptStore`]) each of these is one atomic step, and a refusal is always right.
//!
//! This crate knows no HTTP, no host and no clock: the store is a port ([`CounterStore`]), time is an argument.

mod alerts;
mod bounds;
mod calendar;
mod corrections;
mod counter;
mod demand;
mod duration;
mod estimate;
mod inspect;
mod kind;
mod level;
mod outcome;
mod pace;
mod read_first;
mod reservation;
mod reserve;
mod rolling;
mod script;
mod settle;
mod store;
mod subject;
mod sweep;
mod taken;
mod unchanged;
mod window;

pub use alerts::{Alert, Told, latch};
pub use bounds::{bounds, bounds_by_script};
pub use calendar::{Stretch, stretch};
pub use corrections::{Corrections, Rejected, Settlement, corrections};
pub use counter::{Counter, KEY_PREFIX, Slot, is_expired};
pub use demand::{Demand, Demands, counters, counters_shown, demands};
pub use duration::ResetDuration;
pub use estimate::{Estimate, RequestSize};
pub use inspect::{inspect, reset};
pub use kind::{Class, Kind, Span, Unit};
pub use outcome::{Admission, Outcome, Refusal, Standing, Tightest};
pub use pace::Pace;
pub use read_first::ReadFirst;
pub use reservation::{Charge, MAX_CHARGES, MalformedReservation, Reservation};
pub use reserve::reserve;
pub use script::{
    ScriptStore, inspect_by_script, latch_by_script, reserve_by_script, reset_by_script, settle_by_script,
};
pub use settle::{Unapplied, settle};
pub use store::{CounterStore, StoreError, decode_counter};
pub use subject::Subject;
pub use sweep::{EVERY_MS, Sweepable, sweep};
pub use taken::{MAX_TOKENS, Retried, Taken, Usage};
pub use unchanged::unchanged;

/// Most of anything in one charge or one limit: a million dollars in nano-dollars, 10¹⁵ tokens. So far below 2⁶³ that no
/// sum of them overflows a stored counter, and below 2⁵³, to which other languages count exactly.
pub const MAX_AMOUNT: u64 = 1_000_000_000_000_000;
