//! Who asks a half-open deployment whether it is well: one request at a time among all instances.
//!
//! Time is cut into leases as long as a probe may take, and each lease has two counters per deployment: claims and ends.
//! Whoever adds a claim and finds as many ends as there were claims before has the probe; the others take their claim
//! back. A claim in the lease before that has no end blocks this lease, for its probe may still run. So claims less ends
//! are never fewer than the probes under way: there is one at a time, as long as clocks agree, whatever instances believe
//! of openings. A probe that dies with its instance holds up the next for two leases at most.

use super::instance::{Breakers, Held, Probe, REFRESH_MS};
use super::opening::State;
use super::shared::{SharedStore, StoreError, Told, meet};
use crate::DeploymentId;
use std::cell::RefCell;

/// Asks for the probe of a half-open deployment, which must be over within `lease_ms`.
///
/// `None` when somebody else has it, or when the breaker is no longer half-open. Where the store is out of reach, each
/// instance probes for itself.
pub async fn claim_probe(
    breakers: &RefCell<Breakers>,
    store: &impl SharedStore,
    id: DeploymentId,
    lease_ms: u64,
    clock: impl Fn() -> u64,
) -> Option<Probe> {
    let lease_ms = lease_ms.max(1);
    let begun_ms = clock();
    // Here first, so that two requests of one instance do not both ask the store.
    if !breakers.borrow_mut().take_probe(id, begun_ms.saturating_add(lease_ms), begun_ms) {
        return None;
    }
    let mut taken = Taken { breakers, id, is_kept: false };
    // Somebody may have asked meanwhile; without the store there is nobody to ask.
    let _alone = meet(breakers, store, begun_ms).await;
    let claimed = claim(store, id, lease_ms, &clock).await;
    taken.is_kept = true;
    let held = match claimed {
        Ok(Some(lease)) => Held::Lease(lease_ms, lease),
        Ok(None) => {
            breakers.borrow_mut().set_probe_taken(id, clock().saturating_add(REFRESH_MS));
            return None;
        }
        Err(_) => Held::Own,
    };
    let state = breakers.borrow().state(id, clock());
    if let State::HalfOpen { until_ms } = state {
        return Some(Probe { until_ms, held });
    }
    // Somebody was faster. Should this not be told, it is forgotten with the lease.
    let _untold = released(breakers, store, id, Probe { until_ms: 0, held }).await;
    None
}

/// A probe that was taken in this instance, until it is claimed in the store: whoever is dropped meanwhile leaves it to the next.
struct Taken<'a> {
    breakers: &'a RefCell<Breakers>,
    id: DeploymentId,
    is_kept: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // Nobody drops a future while it looks at the breakers; a panic is worse than a lease that is waited for.
        if let (false, Ok(mut breakers)) = (self.is_kept, self.breakers.try_borrow_mut()) {
            breakers.set_probe_taken(self.id, 0);
        }
    }
}

/// Claims the current lease; `None` when somebody else may be probing.
async fn claim(
    store: &impl SharedStore,
    id: DeploymentId,
    lease_ms: u64,
    clock: &impl Fn() -> u64,
) -> Result<Option<u64>, StoreError> {
    let lease = clock() / lease_ms;
    let (claims, ends) =
        (|lease| lease_key(id, "claims", lease_ms, lease), |lease| lease_key(id, "ends", lease_ms, lease));
    let before = lease.saturating_sub(1);
    // Claims before ends, here and below: an end that comes in between is one that has happened.
    if store.count(&claims(before)).await? != store.count(&ends(before)).await? {
        return Ok(None);
    }
    let claim = store.add(&claims(lease), 1).await?;
    let ended = store.count(&ends(lease)).await?;
    // A claim that lands after its lease may not have been seen by whoever asked in the next.
    if claim - 1 == ended && clock() / lease_ms == lease {
        return Ok(Some(lease));
    }
    store.add(&claims(lease), -1).await?;
    Ok(None)
}

pub(super) fn lease_key(id: DeploymentId, what: &str, lease_ms: u64, lease: u64) -> String {
    let expires_minute = lease.saturating_add(3).saturating_mul(lease_ms) / 60_000 + 1;
    format!("rt:1:{id}:{what}.{lease_ms}.{lease}:{expires_minute}")
}

/// Gives a probe back: when what came of it has been told, or when it told nothing about the deployment.
///
/// # Errors
/// The store failed; the others wait for the end of the lease.
pub async fn released(
    breakers: &RefCell<Breakers>,
    store: &impl SharedStore,
    id: DeploymentId,
    probe: Probe,
) -> Told {
    let ended = match probe.held {
        Held::Nothing => return Ok(()),
        Held::Own => Ok(()),
        Held::Lease(lease_ms, lease) => {
            store.add(&lease_key(id, "ends", lease_ms, lease), 1).await.map(|_| ())
        }
    };
    breakers.borrow_mut().set_probe_taken(id, 0);
    ended
}
