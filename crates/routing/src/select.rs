//! Which deployment of a pool a request goes to: the first tier that has one in service, there the nearest ones, and of
//! those the strategy's choice.
//!
//! One pass over a tier finds what is in service and how near, a second picks; nothing is allocated. What is
//! drained is never picked, what is open never, what is half-open only while its probe is free.

use crate::DeploymentId;
use crate::breaker::{Breakers, Reason, State};
use crate::fleet::{Member, Target};
use crate::hash::{Chance, mixed, unit};
use crate::load::Loads;
use gateway_config::{Deployment, Nearness, Price, Regions, Strategy};

/// What one instance knows: its own load, and breakers.
#[derive(Debug, Clone, Copy)]
pub struct View<'v> {
    /// Requests, turns, latencies and tokens of this instance.
    pub loads: &'v Loads,
    /// Breakers, as this instance knows them.
    pub breakers: &'v Breakers,
    /// Which regions are near to which.
    pub regions: &'v Regions,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What of a request matters for where it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'r> {
    /// Where the client says it is.
    pub region: Option<&'r str>,
    /// Hash of the session; `None` where it has none, and chance decides.
    pub session: Option<u64>,
    /// Prompt tokens, estimated.
    pub prompt_tokens: u64,
    /// Completion tokens at most, or estimated.
    pub completion_tokens: u64,
    /// Whether it has no retry left, and so leaves a probe to others while another deployment of the tier is in service.
    pub leaves_probes: bool,
}

impl Wish<'_> {
    /// What the request will take at most.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A deployment that was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<'c> {
    /// The deployment.
    pub deployment: &'c Deployment,
    /// What its state is kept under.
    pub id: DeploymentId,
    /// Whether it is half-open: its probe must be claimed before it is asked.
    pub is_probe: bool,
}

/// Why a deployment is not picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// This request has tried it, or may not yet.
    Tried,
    /// Its breaker is open until then, or half-open with another probe under way.
    Open {
        /// In ms since the Unix epoch; the present where it is half-open.
        until_ms: u64,
        /// Whether it said when to come back, rather than failed too often.
        said_when: bool,
    },
    /// This instance sends it as much as it may.
    AtCapacity,
    /// Its weight is 0.
    Drained,
}

/// Picks a deployment; `is_tried` says which this request must leave out. `None` when none is in service.
pub fn select<'c>(
    target: Target<'c, '_>,
    wish: &Wish<'_>,
    view: &View<'_>,
    is_tried: impl Fn(DeploymentId) -> bool,
    chance: &mut Chance,
) -> Option<Choice<'c>> {
    let nearness = wish.region.map(|user| view.regions.seen_from(user));
    let mut rest = target.pool.members.as_slice();
    while let Some(first) = rest.first() {
        // Sorted by priority: a tier is what has the same.
        let priority = first.deployment.priority;
        let (tier, lower) = rest.split_at(rest.partition_point(|m| m.deployment.priority == priority));
        if let Some(choice) = select_in_tier(tier, target, wish, view, nearness.as_ref(), &is_tried, chance) {
            return Some(choice);
        }
        rest = lower;
    }
    None
}

/// Every deployment of the pool that is not in service, and why.
pub fn skipped<'a, 'c>(
    target: Target<'c, 'a>,
    wish: &'a Wish<'_>,
    view: &'a View<'_>,
    is_tried: impl Fn(DeploymentId) -> bool + 'a,
) -> impl Iterator<Item = (&'c Deployment, Skip)> + 'a
where
    'c: 'a,
{
    target.pool.members.iter().filter_map(move |member| {
        let skip = in_service(member, member.id(target.name), target, wish, view, &is_tried).err()?;
        Some((member.deployment, skip))
    })
}

/// When the pool may serve a request again: the earliest end of an opening, or when a deployment that is at capacity has room. `None`
/// when nothing is out of service for a time.
pub fn earliest_in_service_ms(target: Target<'_, '_>, wish: &Wish<'_>, view: &View<'_>) -> Option<u64> {
    let skips = skipped(target, wish, view, |_| false).filter_map(|(deployment, skip)| match skip {
        // Where it is half-open a probe is under way, and may close it any moment.
        Skip::Open { until_ms, .. } => Some(until_ms),
        Skip::AtCapacity => {
            let member =
                target.pool.members.iter().find(|member| std::ptr::eq(member.deployment, deployment))?;
            let room = deployment.capacity_tokens_per_minute?.saturating_sub(wish.tokens());
            let load = view.loads.get(member.id(target.name))?;
            Some(load.falls_to_ms(room, view.now_ms))
        }
        Skip::Tried | Skip::Drained => None,
    });
    skips.min()
}

/// Whether a deployment can be picked: `Ok(true)` as a probe.
fn in_service(
    member: &Member<'_>,
    id: DeploymentId,
    target: Target<'_, '_>,
    wish: &Wish<'_>,
    view: &View<'_>,
    is_tried: &impl Fn(DeploymentId) -> bool,
) -> Result<bool, Skip> {
    if member.deployment.weight == 0 {
        return Err(Skip::Drained);
    }
    if is_tried(id) {
        return Err(Skip::Tried);
    }
    let mut is_probe = false;
    if target.pool.model.settings.breaker.enabled && !view.breakers.are_all_closed() {
        match view.breakers.state(id, view.now_ms) {
            State::Closed => {}
            State::Open { until_ms, reason } => {
                return Err(Skip::Open { until_ms, said_when: reason == Reason::RetryAfter });
            }
            State::HalfOpen { .. } if view.breakers.is_probe_free(id, view.now_ms) => is_probe = true,
            State::HalfOpen { .. } => {
                return Err(Skip::Open { until_ms: view.now_ms, said_when: false });
            }
        }
    }
    if let Some(capacity) = member.deployment.capacity_tokens_per_minute {
        let used = view.loads.get(id).map_or(0, |load| load.tokens(view.now_ms));
        // One that is idle takes even a request that is larger than its capacity: nobody else would ever.
        if used > 0 && used.saturating_add(wish.tokens()) > capacity {
            return Err(Skip::AtCapacity);
        }
    }
    Ok(is_probe)
}

fn select_in_tier<'c>(
    tier: &'c [Member<'c>],
    target: Target<'c, '_>,
    wish: &Wish<'_>,
    view: &View<'_>,
    nearness: Option<&Nearness<'_>>,
    is_tried: &impl Fn(DeploymentId) -> bool,
    chance: &mut Chance,
) -> Option<Choice<'c>> {
    let distance =
        |member: &Member<'_>| nearness.map_or(0, |near| near.distance(member.deployment.region.as_deref()));
    let serving = || {
        tier.iter().filter_map(|member| {
            let id = member.id(target.name);
            let is_probe = in_service(member, id, target, wish, view, is_tried).ok()?;
            Some((member, Choice { deployment: member.deployment, id, is_probe }))
        })
    };
    let leaves_probes = wish.leaves_probes && serving().any(|(_, choice)| !choice.is_probe);
    let serving = || serving().filter(|(_, choice)| !(leaves_probes && choice.is_probe));
    let nearest =
        if wish.region.is_some() { serving().map(|(member, _)| distance(member)).min()? } else { 0 };
    let near = serving().filter(|(member, _)| distance(member) == nearest);
    pick(near, &target.pool.model.settings.strategy, wish, view, chance)
}

/// Picks by strategy, in one pass.
fn pick<'c>(
    candidates: impl Iterator<Item = (&'c Member<'c>, Choice<'c>)>,
    strategy: &Strategy,
    wish: &Wish<'_>,
    view: &View<'_>,
    chance: &mut Chance,
) -> Option<Choice<'c>> {
    let weight = |choice: &Choice<'_>| f64::from(choice.deployment.weight);
    let load = |choice: &Choice<'_>| view.loads.get(choice.id);
    // In turn is in turn, whatever the weights.
    let share = |choice: &Choice<'_>| match strategy {
        Strategy::RoundRobin => 1,
        _ => choice.deployment.weight,
    };
    // Smaller is better; `ties` breaks those that are equal, by weight.
    let mut best: Option<(f64, Choice<'c>)> = None;
    let mut ties = ByWeight::default();
    // The two best of a draw by weight.
    let mut draw = TwoByWeight::default();
    for (member, choice) in candidates {
        let score = match (strategy, wish.session) {
            // Whoever has its turn asks whether it is well: a breaker closes as soon as there is a request to close it.
            // Not so with sessions, which stay where they are.
            (Strategy::Session(_), Some(session)) => session_score(session, &choice),
            _ if choice.is_probe => return Some(choice),
            (Strategy::Weighted | Strategy::Session(_), _) => 0.0,
            (Strategy::RoundRobin, _) => turn_of(load(&choice).map_or(0, |load| load.turn)),
            (Strategy::LeastBusy, _) => {
                f64::from(load(&choice).map_or(0, |load| load.in_flight)) / weight(&choice)
            }
            (Strategy::LowestCost, _) => cost(member.price.as_ref(), wish),
            (Strategy::LowestLatency, _) => {
                draw.add(choice, chance);
                continue;
            }
        };
        match &best {
            Some((least, _)) if score > *least => {}
            Some((least, _)) if score == *least => {
                if ties.takes(share(&choice), chance) {
                    best = Some((score, choice));
                }
            }
            _ => {
                ties = ByWeight::default();
                ties.takes(share(&choice), chance);
                best = Some((score, choice));
            }
        }
    }
    let cost_of =
        |choice: &Choice<'_>| load(choice).map_or(0.0, |load| load.latency.cost(load.in_flight, view.now_ms));
    draw.better_by(cost_of).or(best.map(|(_, choice)| choice))
}

/// Draws one of a sequence, each as likely as its weight: reservoir sampling with weights (Chao, 1982).
#[derive(Default)]
struct ByWeight {
    total: u64,
}

impl ByWeight {
    /// Whether this one takes the place of the one before.
    fn takes(&mut self, weight: u32, chance: &mut Chance) -> bool {
        self.total = self.total.saturating_add(u64::from(weight));
        // The first always does; no chance needs to be drawn for it.
        self.total == u64::from(weight) || chance.below(self.total) < u64::from(weight)
    }
}

/// Draws two of a sequence without putting back, each as likely as its weight: the two largest of u^(1/weight)
/// (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006), for the power of two choices
/// (Mitzenmacher, 2001): the better of two random ones is nearly as good as the best, and not everybody's choice at once.
#[derive(Default)]
struct TwoByWeight<'c> {
    first: Option<(f64, Choice<'c>)>,
    second: Option<(f64, Choice<'c>)>,
}

impl<'c> TwoByWeight<'c> {
    fn add(&mut self, choice: Choice<'c>, chance: &mut Chance) {
        let key = unit(chance.draw()).ln() / f64::from(choice.deployment.weight);
        let drawn = Some((key, choice));
        if self.first.is_none_or(|(largest, _)| key > largest) {
            self.second = std::mem::replace(&mut self.first, drawn);
        } else if self.second.is_none_or(|(large, _)| key > large) {
            self.second = drawn;
        }
    }

    /// The one that costs less; the first drawn where they cost the same.
    fn better_by(self, cost: impl Fn(&Choice<'c>) -> f64) -> Option<Choice<'c>> {
        match (self.first, self.second) {
            (Some((_, first)), Some((_, second))) if cost(&second) < cost(&first) => Some(second),
            (first, _) => first.map(|(_, choice)| choice),
        }
    }
}

/// Weighted rendezvous hashing: each deployment draws a number from the session's hash and its own, and the least of
/// −ln(u) ÷ weight wins (Thaler and Ravishankar, 1998; with weights Schindelhauer and Schomaker, 2005). When one leaves, only its sessions move.
fn session_score(session: u64, choice: &Choice<'_>) -> f64 {
    -unit(mixed(session ^ mixed(choice.id.as_hash()))).ln() / f64::from(choice.deployment.weight)
}

/// What a request costs at most; one without a price costs more than any other.
fn cost(price: Option<&Price>, wish: &Wish<'_>) -> f64 {
    let Some(price) = price else { return f64::INFINITY };
    let prompt = u128::from(wish.prompt_tokens) * u128::from(price.prompt_nano_usd_per_million);
    let completion = u128::from(wish.completion_tokens) * u128::from(price.completion_nano_usd_per_million);
    approximate(prompt.saturating_add(completion))
}

#[expect(clippy::cast_precision_loss, reason = "costs that differ in the 16th digit are the same")]
fn approximate(cost: u128) -> f64 {
    cost as f64
}

#[expect(clippy::cast_precision_loss, reason = "turns are exact up to 2^53")]
fn turn_of(turn: u64) -> f64 {
    turn as f64
}
