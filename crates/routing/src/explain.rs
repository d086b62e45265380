//! How a request came to its deployment, in one header: `x-tollgate-route`.
//!
//! `route=canary;model=gpt-4o-mini;deployment=eu/gpt-4o-mini;strategy=weighted;tier=0;attempts=2;fallback=gpt-4o:rate_limit;skipped=us/gpt-4o-mini:open`
//!
//! `mirror` names the pool that got a copy, `region` where the deployment is, if the client said where it is itself. Names hold none of `;` and `,`, so the fields can be taken apart again. What would make it too long is left out.

use crate::plan::Plan;
use crate::select::{Skip, View, skipped};
use gateway_config::Deployment;

/// Longest explanation, in bytes: as much as proxies pass without a thought.
pub const EXPLANATION_MAX_BYTES: usize = 512;

/// What a document's routes made of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Led<'c> {
    /// The route that chose its model.
    pub route: Option<&'c str>,
    /// The pool that was sent a copy.
    pub mirror: Option<&'c str>,
}

/// Explains how a request came to `deployment`, or to nowhere. `view` says what is out of service now.
pub fn explain(
    plan: &Plan<'_, '_>,
    led: Led<'_>,
    deployment: Option<&Deployment>,
    view: &View<'_>,
) -> String {
    let target = plan.target();
    let mut text = Bounded::decision(led, target.name);
    if let Some(deployment) = deployment {
        text.field("deployment", &deployment.label);
    }
    text.field("strategy", target.pool.model.settings.strategy.as_str());
    if let Some(deployment) = deployment {
        text.field("tier", &deployment.priority.to_string());
    }
    let region = deployment.and_then(|deployment| deployment.region.as_deref());
    if let Some(region) = region.filter(|_| plan.wish().region.is_some()) {
        text.field("region", region);
    }
    text.field("attempts", &plan.attempts().to_string());
    text.list("fallback", plan.left().iter().map(|(name, class)| format!("{name}:{}", class.as_str())));
    let skips = skipped(target, plan.wish(), view, |id| plan.has_tried(id));
    let is_it = |other: &Deployment| deployment.is_some_and(|one| one.label == other.label);
    let skips = skips.filter(|(skipped, _)| !is_it(skipped));
    text.list("skipped", skips.map(|(deployment, skip)| format!("{}:{}", deployment.label, word(skip))));
    text.0
}

/// Explains how a request came to its model, where no deployment was asked yet, or none needed to be.
pub fn explain_decision(led: Led<'_>, model: &str) -> String {
    Bounded::decision(led, model).0
}

fn word(skip: Skip) -> &'static str {
    match skip {
        Skip::Tried => "failed",
        Skip::Open { said_when: true, .. } => "cooling",
        Skip::Open { said_when: false, .. } => "open",
        Skip::AtCapacity => "full",
        Skip::Drained => "drained",
    }
}

#[derive(Default)]
struct Bounded(String);

impl Bounded {
    fn decision(led: Led<'_>, model: &str) -> Self {
        let mut text = Bounded::default();
        if let Some(route) = led.route {
            text.field("route", route);
        }
        if let Some(pool) = led.mirror {
            text.field("mirror", pool);
        }
        text.field("model", model);
        text
    }

    fn field(&mut self, name: &str, value: &str) {
        let separator = if self.0.is_empty() { "" } else { ";" };
        self.push(&format!("{separator}{name}={value}"));
    }

    fn list(&mut self, name: &str, values: impl Iterator<Item = String>) {
        let mut separator = format!("{}{name}=", if self.0.is_empty() { "" } else { ";" });
        for value in values {
            if !self.push(&format!("{separator}{value}")) {
                return;
            }
            separator = ",".to_owned();
        }
    }

    /// Whole or not at all. Values are names, which are visible ASCII; anything else would be no header.
    fn push(&mut self, piece: &str) -> bool {
        let fits = self.0.len() + piece.len() <= EXPLANATION_MAX_BYTES
            && piece.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            self.0.push_str(piece);
        }
        fits
    }
}
