//! Which deployment gets a request, and what its answer means for the next one.
//!
//! Today: the document's order inside ascending priorities, each deployment at most once per request. Nothing here
//! knows HTTP clients, clocks or storage.

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
pub use explain::{EXPLANATION_MAX_BYTES, explain};
pub use failure::{Failure, NoAnswer};
pub use fleet::{Fleet, Pool, Target};
pub(crate) use id::ById;
pub use id::DeploymentId;
pub use load::Loads;
pub use plan::{Attempt, LastWord, Plan, Step};
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
