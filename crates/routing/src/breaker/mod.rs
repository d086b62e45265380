//! Circuit breakers: a deployment that fails is left alone for a while, then asked by one request at a time.
//!
//! [`Breakers`] is what one instance knows; the functions of this module take it along with a [`SharedStore`].

mod instance;
mod opening;
mod probe;
mod shared;

pub use instance::{Breakers, Failing, Probe, REFRESH_MS, RETRY_AFTER_MAX_MS, should_trip};
pub use opening::{Opening, Openings, Reason, State};
pub use probe::{claim_probe, released};
pub use shared::{OPENINGS, SharedStore, StoreError, Told, failed, is_expired, recovered, refresh};
