//! `[pricing."name"]`: what a million tokens cost.

use std::collections::HashMap;

/// The prices of the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pricing {
    prices: HashMap<String, Price>,
}

/// What a million tokens cost, in nano-dollars (1 USD = 1,000,000,000); each at most 1,000,000 USD. Zero is a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Prompt tokens that the provider did not read from its own prompt cache.
    pub prompt_nano_usd_per_million: u64,
    /// Prompt tokens that the provider read from its own prompt cache; the prompt's price unless given.
    pub cached_nano_usd_per_million: u64,
    /// Completion tokens, reasoning included.
    pub completion_nano_usd_per_million: u64,
}

impl Pricing {
    /// The price of `model` (as the client asked for it) at `deployment` (the label, `backend/upstream-model`).
    ///
    /// The most specific name wins: the label, the upstream model name in it, the public model name. For a label
    /// `backend/*` the upstream name is `model`, so `backend/model` is looked up before `backend/*`.
    pub fn price(&self, model: &str, deployment: &str) -> Option<&Price> {
        let (backend, upstream) = deployment.split_once('/').unwrap_or((deployment, model));
        if upstream == "*" {
            let named = format!("{backend}/{model}");
            return self.get(&named).or_else(|| self.get(deployment)).or_else(|| self.get(model));
        }
        self.get(deployment).or_else(|| self.get(upstream)).or_else(|| self.get(model))
    }

    /// Whether the document gives no prices.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Price> {
        self.prices.get(name)
    }
}
