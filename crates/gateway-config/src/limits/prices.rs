//! What a token can cost: the prices, and which deployments may serve a model.
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
    /// Labels of the deployments of each model.
    labels: HashMap<String, Vec<String>>,
}

impl CostTable {
    /// The highest price of each kind of token among the deployments of `pool`, for those who ask for `model`; `None` when
    /// none has a price.
    pub fn highest(&self, pool: &str, model: &str) -> Option<Price> {
        let labels = self.labels.get(pool).or_else(|| self.labels.get("*"))?;
        let prices = labels.iter().filter_map(|label| self.pricing.price(model, label));
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

    /// The price of `model` at the deployment that answered; `None` when it has none.
    pub fn at(&self, model: &str, deployment: &str) -> Option<&Price> {
        self.pricing.price(model, deployment)
    }
}

/// Reads `[pricing]`, and of `[[models]]` the labels alone.
pub(crate) fn read(root: &Fields<'_, '_>) -> CostTable {
    let unheard = Report::default();
    let quiet = root.reporting_to(&unheard);
    let mut labels: HashMap<String, Vec<String>> = HashMap::new();
    for model in quiet.tables("models", &[]) {
        let Some(name) = model.peek_text("name") else { continue };
        let deployments = model.tables("deployments", &[]);
        let label = |deployment: &Fields<'_, '_>| {
            let backend = deployment.peek_text("backend")?;
            Some(format!("{backend}/{}", deployment.peek_text("model").unwrap_or(name)))
        };
        labels.insert(name.to_owned(), deployments.iter().filter_map(label).collect());
    }
    CostTable { pricing: pricing::read(root), labels }
}
