//! The document's pools, prepared once so that a decision per request looks nothing up by name and copies nothing.

use crate::breaker::Failing;
use crate::{ById, DeploymentId, Failure};
use gateway_config::{Deployment, ErrorClass, Model, Price, RouterConfig};
use std::collections::HashMap;

/// All pools, routes and regions of a document.
#[derive(Debug)]
pub struct Fleet<'c> {
    pub(crate) config: &'c RouterConfig,
    pools: Vec<Pool<'c>>,
    by_name: HashMap<&'c str, usize>,
    /// The pool of `*`.
    any: Option<usize>,
    /// How long a probe of a deployment may take: its longest timeouts in any pool.
    leases_ms: ById<u64>,
}

/// The deployments of one model.
#[derive(Debug)]
pub struct Pool<'c> {
    /// The model, with its settings.
    pub model: &'c Model,
    pub(crate) members: Vec<Member<'c>>,
    pub(crate) fallbacks: Vec<(&'c str, &'c [ErrorClass])>,
    /// Models that fallbacks lead to from here and that have a deployment with a capacity.
    capacities: Vec<&'c str>,
}

/// One deployment in a pool.
#[derive(Debug)]
pub(crate) struct Member<'c> {
    pub deployment: &'c Deployment,
    /// `None` where the name that is asked for is passed on, and with it decides.
    pub id: Option<DeploymentId>,
    pub price: Option<Price>,
}

/// A pool, and the name under which it is asked: the model's own, or for `*` the one that is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Target<'c, 'n> {
    /// The pool.
    pub pool: &'c Pool<'c>,
    /// What an alias was resolved to.
    pub name: &'n str,
}

impl Target<'_, '_> {
    /// Its deployments.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DeploymentId> {
        self.pool.members.iter().map(|member| member.id(self.name))
    }

    fn with_capacity(self) -> impl Iterator<Item = DeploymentId> {
        let members = self.pool.members.iter().filter(|member| member.has_capacity());
        members.map(move |member| member.id(self.name))
    }
}

impl Member<'_> {
    /// Its id, where `name` is what is passed on.
    pub fn id(&self, name: &str) -> DeploymentId {
        self.id.unwrap_or_else(|| DeploymentId::new(&self.deployment.label, Some(name)))
    }

    fn has_capacity(&self) -> bool {
        self.deployment.weight > 0 && self.deployment.capacity_tokens_per_minute.is_some()
    }
}

impl<'c> Fleet<'c> {
    /// Prepares a document.
    pub fn new(config: &'c RouterConfig) -> Self {
        let mut by_name = HashMap::new();
        let mut leases_ms = ById::<u64>::default();
        let mut pools = Vec::with_capacity(config.models.len());
        for (index, model) in config.models.iter().enumerate() {
            by_name.insert(model.name.as_str(), index);
            by_name.extend(model.aliases.iter().map(|alias| (alias.as_str(), index)));
            let members: Vec<Member<'c>> =
                (model.deployments.iter()).map(|deployment| member(config, model, deployment)).collect();
            for id in members.iter().filter_map(|member| member.id) {
                let lease_ms = leases_ms.entry(id).or_default();
                *lease_ms = (*lease_ms).max(lease_of(model));
            }
            let fallbacks =
                model.fallbacks.iter().map(|fallback| (fallback.to.as_str(), fallback.on.as_slice()));
            pools.push(Pool { model, members, fallbacks: fallbacks.collect(), capacities: Vec::new() });
        }
        let any = by_name.remove("*");
        let mut fleet = Fleet { config, pools, by_name, any, leases_ms };
        let capacities: Vec<_> = fleet.pools.iter().map(|pool| fleet.capacities_beyond(pool)).collect();
        for (pool, capacities) in fleet.pools.iter_mut().zip(capacities) {
            pool.capacities = capacities;
        }
        fleet
    }

    /// The pool that serves a name or alias.
    pub fn target<'n>(&'c self, name: &'n str) -> Option<Target<'c, 'n>>
    where
        'c: 'n,
    {
        if let Some(pool) = self.by_name.get(name).and_then(|index| self.pools.get(*index)) {
            return Some(Target { pool, name: &pool.model.name });
        }
        self.any.and_then(|index| self.pools.get(index)).map(|pool| Target { pool, name })
    }

    /// The deployments with a capacity that a request for this pool can come to: its own, and those of its fallbacks and theirs.
    pub fn with_capacity<'n>(&'c self, target: Target<'c, 'n>) -> impl Iterator<Item = DeploymentId>
    where
        'c: 'n,
    {
        let fallbacks = target.pool.capacities.iter().filter_map(|name| self.target(name));
        std::iter::once(target).chain(fallbacks).flat_map(Target::with_capacity)
    }

    /// The models that fallbacks lead to from a pool, however far, and that have a deployment with a capacity.
    fn capacities_beyond(&self, pool: &Pool<'c>) -> Vec<&'c str> {
        let mut names = vec![pool.model.name.as_str()];
        let mut at = 0;
        while let Some(pool) = names.get(at).and_then(|name| self.pool(name)) {
            for to in pool.fallbacks.iter().filter_map(|(to, _)| self.pool(to)) {
                if !names.contains(&to.model.name.as_str()) {
                    names.push(&to.model.name);
                }
            }
            at += 1;
        }
        names.into_iter().skip(1).filter(|name| self.pool(name).is_some_and(Pool::has_capacity)).collect()
    }

    fn pool(&self, name: &str) -> Option<&Pool<'c>> {
        self.by_name.get(name).copied().or(self.any).and_then(|index| self.pools.get(index))
    }

    /// How long a probe of a deployment may take, in ms: what `breaker::claim_probe` wants.
    pub fn probe_lease_ms(&self, id: DeploymentId, model: &Model) -> u64 {
        self.leases_ms.get(&id).copied().unwrap_or_else(|| lease_of(model))
    }
}

impl<'c> Pool<'c> {
    /// The upstream model name that a deployment of this pool is asked for, `name` being the target's.
    pub fn upstream_model<'n>(&self, deployment: &'n Deployment, name: &'n str) -> &'n str {
        deployment.model.as_deref().unwrap_or(name)
    }

    /// What a failure of one of its deployments means for that one's breaker.
    ///
    /// A rate limit that does not say for how long opens it at once only where others can take over: to refuse everything
    /// for as long as a trip would do more harm than the limit.
    pub fn for_breaker(&self, failure: &Failure) -> Failing {
        let failing = failure.for_breaker(&self.model.settings.breaker);
        Failing { is_rate_limit: failing.is_rate_limit && self.can_overflow(), ..failing }
    }

    fn has_capacity(&self) -> bool {
        self.members.iter().any(Member::has_capacity)
    }

    fn can_overflow(&self) -> bool {
        let in_use = self.members.iter().filter(|member| member.deployment.weight > 0);
        in_use.count() > 1 || self.fallbacks.iter().any(|(_, on)| on.contains(&ErrorClass::RateLimit))
    }
}

fn member<'c>(config: &'c RouterConfig, model: &'c Model, deployment: &'c Deployment) -> Member<'c> {
    let passes_on = model.name == "*" && deployment.model.is_none();
    Member {
        deployment,
        id: (!passes_on).then(|| DeploymentId::new(&deployment.label, None)),
        price: config.pricing.price(&model.name, &deployment.label).copied(),
    }
}

/// Until connected and the first token, and a second for what is done before and after.
fn lease_of(model: &Model) -> u64 {
    let timeouts = &model.settings.timeouts;
    timeouts
        .connect_ms
        .saturating_add(timeouts.first_byte_ms.max(timeouts.first_token_ms))
        .saturating_add(1_000)
}
