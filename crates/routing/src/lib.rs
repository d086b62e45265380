//! Which deployment gets a request, what its answer means for the next one, and when to give up.
//!
//! Pure: time, chance and storage are arguments, and HTTP is not known here. A router drives it like this:
//!
//! 1. Once: [`Fleet::new`] from the document. Per instance: [`Loads`] and [`breaker::Breakers`].
//! 2. A request arrives: [`breaker::refresh`], beside what else it waits for. [`Fleet::route`] resolves aliases and routes; what it looks
//!    at is worked out only as far as [`Fleet::needs`] says.
//! 3. [`Plan::next`] says wait, ask or give up. A probe is claimed first ([`breaker::claim_probe`], with
//!    [`Fleet::probe_lease_ms`]); if it is not to be had, [`Plan::not_asked`] and on. [`Loads::begin`] when it is asked.
//! 4. It answers: [`Loads::answered`] and [`breaker::succeeded`] with the first token of a stream, or the head of a whole answer. It fails:
//!    a [`Failure`] goes to [`breaker::failed`] and [`Plan::failed`]. It tells nothing (the client left): [`breaker::released`] if it was a
//!    probe. [`Loads::end`] in any case.
//! 5. [`explain`] says in one header how it came about.
//!
//! # What is shared
//! Breakers are, through a [`breaker::SharedStore`] (its page says which operations when): what one instance opened, all leave alone.
//! Turns, requests under way, latencies and tokens per minute are each instance's own: they spread load, and nobody is
//! harmed when two instances pick the same deployment at once. A capacity of tokens per minute is therefore what one
//! instance sends; beyond it the provider's own 429 and the shared breaker decide.

pub mod breaker;
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
pub use explain::{EXPLANATION_MAX_BYTES, explain, explain_decision};
pub use failure::{Failure, NoAnswer};
pub use fleet::{Fleet, Pool, Target};
pub(crate) use id::ById;
pub use id::DeploymentId;
pub use load::Loads;
pub use plan::{Attempt, LastWord, Past, Plan, Step};
pub use route::{Decision, Facts, Needs, session};
pub use select::{Choice, Skip, View, Wish, earliest_half_open_ms, select, skipped};
pub use traits::Traits;

use gateway_config::{Deployment, Model};

/// The deployments to try, in order: lower priority first, drained ones (weight 0) never.
pub fn candidates(model: &Model) -> impl Iterator<Item = &Deployment> {
    model.deployments.iter().filter(|d| d.weight > 0)
}

/// What an upstream's status means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An answer, to be read.
    Answer,
    /// The request itself is at fault, or says so: another deployment would say the same. Passed on to the client.
    PassOn,
    /// This deployment cannot serve it now; another might.
    TryNext,
}

/// Classifies an upstream's status.
///
/// 401 and 403 mean that *our* credential for this deployment will not do, 404 that it does not have the model: neither
/// is the client's doing, and another deployment may well serve. 408, 429 and 5xx are the classes that the OpenAI
/// SDKs retry themselves (`_should_retry` in `openai-python`).
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Answer,
        401 | 403 | 404 | 408 | 409 | 429 | 500.. => Verdict::TryNext,
        _ => Verdict::PassOn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_deployment_may_do_better_is_tried_again() {
        for (status, expected) in [
            (200, Verdict::Answer),
            (204, Verdict::Answer),
            (301, Verdict::PassOn),
            (400, Verdict::PassOn),
            (401, Verdict::TryNext),
            (404, Verdict::TryNext),
            (408, Verdict::TryNext),
            (413, Verdict::PassOn),
            (422, Verdict::PassOn),
            (429, Verdict::TryNext),
            (500, Verdict::TryNext),
            (503, Verdict::TryNext),
            (599, Verdict::TryNext),
        ] {
            assert_eq!(verdict(status), expected, "{status}");
        }
    }
}
