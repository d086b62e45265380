//! What this instance knows of the pools: the document's fleet, what it has under way itself, and which breakers are open.
//!
//! Loads and latencies are this instance's own; breakers, and what was taken of capacities, are shared through the key-value store
//! (`routing::breaker`, `routing::capacity`). Of a request nothing but figures stays here.

use crate::host::{self, Shared};
use gateway_config::{Breaker, Deployment, RouterConfig};
use routing::breaker::{self, Breakers, Failing, Probe};
use routing::hash::Chance;
use routing::{Choice, DeploymentId, Failure, Fleet, Loads, Pool, Target, View, capacity};
use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Duration;

thread_local! {
    // One each for the instance's whole life, because a refresh keeps hold of them while it waits.
    static LOADS: &'static RefCell<Loads> = Box::leak(Box::default());
    static BREAKERS: &'static RefCell<Breakers> = Box::leak(Box::default());
}

/// The document's pools, prepared once.
pub fn fleet(config: &'static RouterConfig) -> &'static Fleet<'static> {
    static FLEET: OnceLock<Fleet<'static>> = OnceLock::new();
    FLEET.get_or_init(|| Fleet::new(config))
}

/// Random numbers for one request.
pub fn chance() -> Chance {
    Chance::new(host::random())
}

/// Lets `decide` see the pools as they are now.
pub fn view<T>(config: &RouterConfig, decide: impl FnOnce(&View<'_>) -> T) -> T {
    let now_ms = host::epoch_ms();
    let (loads, breakers) = (loads().borrow(), breakers().borrow());
    decide(&View { loads: &loads, breakers: &breakers, regions: &config.regions, now_ms })
}

fn loads() -> &'static RefCell<Loads> {
    LOADS.with(|loads| *loads)
}

fn breakers() -> &'static RefCell<Breakers> {
    BREAKERS.with(|breakers| *breakers)
}

/// How long a request waits for what other instances know, or for telling them: a store that takes longer is as good as none.
const STORE_WITHIN: Duration = Duration::from_millis(100);
/// And for a probe: a claim that is given up halfway holds up the next ones.
const CLAIM_WITHIN: Duration = Duration::from_millis(500);

/// Reads what other instances know that matters for requests to a pool, at most once a second.
pub async fn refresh(config: &'static RouterConfig, target: Option<Target<'static, '_>>) {
    let (store, now_ms) = (Shared::within(STORE_WITHIN), host::epoch_ms());
    tell("read", breaker::refresh(breakers(), &store, now_ms)).await;
    if let Some(target) = target {
        let ids = fleet(config).with_capacity(target);
        tell("read", capacity::look(loads(), &store, ids, now_ms)).await;
    }
}

/// Asks for the probe of a half-open deployment; `None` when somebody else has it.
pub async fn claim_probe(id: DeploymentId, lease_ms: u64) -> Option<Claim> {
    let store = Shared::within(CLAIM_WITHIN);
    let probe = breaker::claim_probe(breakers(), &store, id, lease_ms, host::epoch_ms).await?;
    Some(Claim { id, probe })
}

/// A probe under way. Dropped, it is given back, be it that its result was told or that there is none: whoever asks is dropped where it
/// waits when the client of a promised stream leaves, or the total has passed, and nobody else could ask until the lease is over.
#[derive(Debug)]
pub struct Claim {
    id: DeploymentId,
    probe: Probe,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Claim { id, probe } = *self;
        host::spawn(async move {
            let store = Shared::within(CLAIM_WITHIN);
            tell("tell", breaker::released(breakers(), &store, id, probe)).await;
        });
    }
}

/// Notes that a deployment has answered; of a probe the others are told meanwhile.
pub fn succeeded(id: DeploymentId, policy: &Breaker, claim: Option<Claim>) {
    breakers().borrow_mut().count_success(id, policy, host::epoch_ms());
    if let Some(claim) = claim {
        host::spawn(async move { recovered(id, claim.probe).await });
    }
}

/// Notes that a deployment of a pool has failed before its answer began.
pub async fn failed(id: DeploymentId, pool: &Pool<'_>, failure: &Failure, claim: Option<Claim>) {
    tell_failure(id, pool, pool.for_breaker(failure), claim.is_some()).await;
}

/// Notes that an answer of a deployment of a pool broke off: that it began was noted as an answer.
pub async fn broke_off(id: DeploymentId, pool: &Pool<'_>, failure: &Failure) {
    let failing = Failing { had_begun: true, ..pool.for_breaker(failure) };
    tell_failure(id, pool, failing, false).await;
}

async fn tell_failure(id: DeploymentId, pool: &Pool<'_>, failing: Failing, is_probe: bool) {
    let (store, policy) = (Shared::within(STORE_WITHIN), &pool.model.settings.breaker);
    tell("tell", breaker::failed(breakers(), &store, id, policy, failing, is_probe, host::epoch_ms())).await;
}

/// Notes how soon a deployment began to answer.
pub fn answered_after(id: DeploymentId, latency_ms: u64) {
    loads().borrow_mut().answered(id, latency_ms, host::epoch_ms());
}

/// Notes how soon a deployment failed.
pub fn failed_after(id: DeploymentId, failure: &Failure, took_ms: u64) {
    loads().borrow_mut().failed(id, failure, took_ms, host::epoch_ms());
}

/// The deployments of a pool that are out of service and due to be asked whether they are well again.
pub fn due_for_check(
    deployments: &'static [Deployment],
    interval_s: u32,
    passed_on: Option<&str>,
) -> Vec<(&'static Deployment, DeploymentId, Probe)> {
    if interval_s == 0 || breakers().borrow().are_all_closed() {
        return Vec::new();
    }
    let mut breakers = breakers().borrow_mut();
    let due = deployments.iter().filter_map(|deployment| {
        let name = passed_on.filter(|_| deployment.model.is_none());
        let id = DeploymentId::new(&deployment.label, name);
        let probe = breakers.begin_health_check(id, interval_s, host::epoch_ms())?;
        Some((deployment, id, probe))
    });
    due.collect()
}

/// Closes the breaker of a deployment that is well again.
pub async fn recovered(id: DeploymentId, probe: Probe) {
    let store = Shared::within(STORE_WITHIN);
    tell("tell", breaker::recovered(breakers(), &store, id, probe, host::epoch_ms())).await;
}

/// This instance goes on with what it knows; its operator should hear of it.
async fn tell(what: &str, telling: impl Future<Output = breaker::Told>) {
    let Err(why) = telling.await else { return };
    host::log(&format!(
        "breakers and capacities are this instance's own for now; cannot {what} the others: {why}"
    ));
}

/// A request under way at a deployment, from its asking until this is dropped.
#[derive(Debug)]
pub struct Flight {
    id: DeploymentId,
    reserved_tokens: u64,
    used_tokens: u64,
    /// Whether the others are told what it took.
    has_capacity: bool,
}

impl Flight {
    /// Begins, expected to take so many tokens at most.
    pub fn begin(choice: &Choice<'_>, tokens: u64) -> Self {
        loads().borrow_mut().begin(choice.id, tokens);
        let has_capacity = choice.deployment.capacity_tokens_per_minute.is_some();
        Flight { id: choice.id, reserved_tokens: tokens, used_tokens: tokens, has_capacity }
    }

    /// The deployment that is asked.
    pub fn id(&self) -> DeploymentId {
        self.id
    }

    /// Notes what it really took.
    pub fn used(&mut self, tokens: u64) {
        self.used_tokens = tokens;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Flight { id, reserved_tokens, used_tokens, has_capacity } = *self;
        loads().borrow_mut().end(id, reserved_tokens, used_tokens, host::epoch_ms());
        if has_capacity && used_tokens > 0 {
            host::spawn(async move {
                let store = Shared::within(STORE_WITHIN);
                tell("tell", capacity::tell(loads(), &store, id, used_tokens, host::epoch_ms())).await;
            });
        }
    }
}
