//! Which deployment gets a request, what its answer means for the next one, and when to give up.
//!
//! Pure: time, chance and storage are arguments, and HTTP is not known here. A router drives it like this:
//!
//! 1. Once: [`Fleet::new`] from the document. Per instance: [`Loads`] and [`breaker::Breakers`].
//! 2. A request arrives: [`breaker::refresh`] and [`capacity::look`], beside what else it waits for. [`Fleet::route`] resolves aliases and routes; what it looks
//!    at is worked out only as far as [`Fleet::needs`] says.
//! 3. [`Plan::next`] says wait, ask or give up. A probe is claimed first ([`breaker::claim_probe`], with
//!    [`Fleet::probe_lease_ms`]); if it is not to be had, [`Plan::not_asked`] and on. [`Loads::begin`] when it is asked.
//! 4. It answers: [`Loads::answered`] and [`breaker::succeeded`] with the first token of a stream, or the head of a whole answer. It fails:
//!    a [`Failure`] goes to [`Loads::failed`], [`breaker::failed`] and [`Plan::failed`]. It tells nothing (the client left): [`breaker::released`] if it was a
//!    probe. [`Loads::end`] in any case, and [`capacity::tell`] where there is one.
//! 5. [`explain`] says in one header how it came about.
//!
//! # What is shared
//! Breakers are, through a [`breaker::SharedStore`] (its page says which operations when): what one instance opened, all leave alone.
//! So are the tokens of the last minute, of deployments that have a capacity ([`capacity`]).
//! Turns, requests under way and latencies are each instance's own: they spread load, and nobody is
//! harmed when two instances pick the same deployment at once.

pub mod breaker;
pub mod capacity;
mod classify;
pub mod ewma;
mod explain;
mod failure;
mod fleet;
pub mod hash;
mod id;
mod load;
mod plan;
pub mod retry_after;
mod route;
mod select;
mod traits;
pub mod window;

pub use classify::classify;
pub use explain::{EXPLANATION_MAX_BYTES, Led, explain, explain_decision};
pub use failure::{Failure, NoAnswer};
pub use fleet::{Fleet, Pool, Target};
pub(crate) use id::ById;
pub use id::DeploymentId;
pub use load::Loads;
pub use plan::{Attempt, LastWord, Past, Plan, Step};
pub use route::{Decision, Facts, Needs, session};
pub use select::{Choice, Skip, View, Wish, earliest_in_service_ms, select, skipped};
pub use traits::Traits;
