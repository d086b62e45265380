//! What a token can cost: the prices, and which deployments may come to serve a model. One that is drained (`weight = 0`) never
//! does.
//!
//! Read for rules that limit money alone. `[[models]]` is read leniently here: the router judges it.

use crate::document::Report;
use crate::fields::Fields;
use crate::{Price, Pricing, pricing};
use std::collections::HashMap;

/// Prices by model and deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostTable {
    pricing: Pricing,
    pools: HashMap<String, Pool>,
    /// The name of the model that an alias stands for.
    aliases: HashMap<String, String>,
}

/// What is known of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pool {
    /// Labels of its deployments, but for those that are drained.
    labels: Vec<String>,
    /// Names that it falls back to, as written.
    fallbacks: Vec<String>,
}

impl CostTable {
    /// The highest price of each kind of token among the deployments that may come to answer a request which `model` serves:
    /// its own, and those of its fallbacks and theirs, for every one of the requests under way may end there. `None` when
    /// none has a price.
    pub fn highest(&self, model: &str) -> Option<Price> {
        let prices = self.reachable(model).into_iter().flat_map(|name| {
            let labels = self.pool(name).into_iter().flat_map(|pool| &pool.labels);
            labels.filter_map(move |label| self.pricing.price(name, label))
        });
        prices.copied().reduce(|one, other| Price {
            prompt_nano_usd_per_million: one
                .prompt_nano_usd_per_million
                .max(other.prompt_nano_usd_per_million),
            cached_nano_usd_per_million: one
                .cached_nano_usd_per_million
                .max(other.cached_nano_usd_per_million),
            completion_nano_usd_per_million: one
                .completion_nano_usd_per_million
                .max(other.completion_nano_usd_per_million),
        })
    }

    pub(crate) fn pricing(&self) -> &Pricing {
        &self.pricing
    }

    /// The price of `model` at the deployment that answered; `None` when it has none.
    pub fn at(&self, model: &str, deployment: &str) -> Option<&Price> {
        self.pricing.price(model, deployment)
    }

    /// `model` and all that fallbacks lead to from there, each once.
    fn reachable<'n>(&'n self, model: &'n str) -> Vec<&'n str> {
        let mut names = vec![model];
        let mut at = 0;
        while let Some(name) = names.get(at).copied() {
            for to in self.pool(name).into_iter().flat_map(|pool| &pool.fallbacks) {
                let to = self.aliases.get(to).unwrap_or(to).as_str();
                if !names.contains(&to) {
                    names.push(to);
                }
            }
            at += 1;
        }
        names
    }

    /// The pool that serves a name.
    fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.get(name).or_else(|| self.pools.get("*"))
    }
}

/// Reads `[pricing]`, and of `[[models]]` names, labels and fallbacks alone.
pub(crate) fn read(root: &Fields<'_, '_>) -> CostTable {
    let unheard = Report::default();
    let quiet = root.reporting_to(&unheard);
    let mut table = CostTable { pricing: pricing::read(root), ..CostTable::default() };
    for model in quiet.tables("models", &[]) {
        let Some(name) = model.peek_text("name") else { continue };
        let label = |deployment: &Fields<'_, '_>| {
            let backend = deployment.peek_text("backend")?;
            let is_drained = deployment.integer("weight", 0..=u64::MAX) == Some(0);
            let label = format!("{backend}/{}", deployment.peek_text("model").unwrap_or(name));
            (!is_drained).then_some(label)
        };
        let to = |fallback: &Fields<'_, '_>| fallback.peek_text("to").map(str::to_owned);
        let pool = Pool {
            labels: model.tables("deployments", &[]).iter().filter_map(label).collect(),
            fallbacks: model.tables("fallbacks", &[]).iter().filter_map(to).collect(),
        };
        table.pools.insert(name.to_owned(), pool);
        for (_, alias) in model.texts("aliases").unwrap_or_default() {
            table.aliases.insert(alias.to_owned(), name.to_owned());
        }
    }
    table
}
