//! `[pricing."name"]`: what a million tokens cost.

use crate::fields::{Fields, scaled};
use std::collections::HashMap;

/// Keys of `[pricing."name"]`.
pub(crate) const KEYS: &[&str] =
    &["prompt_usd_per_million", "cached_usd_per_million", "completion_usd_per_million"];

/// Tokens that a price is for.
const TOKENS_PER_PRICE: u128 = 1_000_000;
/// Digits after the point: a nano-dollar.
const DECIMALS: usize = 9;
/// A million dollars in nano-dollars: far above any price, and a request of 10^10 tokens still costs less than 2^64.
const PRICE_MAX_NANO_USD: u64 = 1_000_000_000_000_000;

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

impl Price {
    /// What these tokens cost, in nano-dollars; `u64::MAX` when it does not fit.
    ///
    /// The three products are added exactly and rounded once, half up. Cached tokens are a part of the prompt and are
    /// charged at their own price only; more cached than prompt tokens are charged for the cached ones.
    pub fn cost_nano_usd(&self, prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> u64 {
        let product = |tokens: u64, per_million: u64| u128::from(tokens) * u128::from(per_million);
        let sum = product(prompt_tokens.saturating_sub(cached_tokens), self.prompt_nano_usd_per_million)
            .saturating_add(product(cached_tokens, self.cached_nano_usd_per_million))
            .saturating_add(product(completion_tokens, self.completion_nano_usd_per_million));
        let rounded = sum.saturating_add(TOKENS_PER_PRICE / 2) / TOKENS_PER_PRICE;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }
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

    /// The names that have a price, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.prices.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether the document gives no prices.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Price> {
        self.prices.get(name)
    }
}

/// Reads `[pricing]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> Pricing {
    let mut prices = HashMap::new();
    let Some(section) = root.open_table("pricing") else { return Pricing::default() };
    for name in section.keys() {
        let Some(table) = section.table(name, KEYS) else { continue };
        let prompt = required_price(&table, "prompt_usd_per_million");
        let cached = price(&table, "cached_usd_per_million");
        let completion = required_price(&table, "completion_usd_per_million");
        if let (Some(prompt), Some(completion)) = (prompt, completion) {
            prices.insert(
                name.to_owned(),
                Price {
                    prompt_nano_usd_per_million: prompt,
                    cached_nano_usd_per_million: cached.unwrap_or(prompt),
                    completion_nano_usd_per_million: completion,
                },
            );
        }
    }
    Pricing { prices }
}

fn required_price(fields: &Fields<'_, '_>, key: &str) -> Option<u64> {
    if !fields.has(key) {
        fields.refuse(key, "is missing; write 0 for what costs nothing");
    }
    price(fields, key)
}

fn price(fields: &Fields<'_, '_>, key: &str) -> Option<u64> {
    let text = fields.decimal(key)?;
    let price = nano_usd(text);
    if price.is_none() {
        fields.refuse(
            key,
            format!("is {text}, must be US dollars from 0 to 1000000 with at most {DECIMALS} decimals, no exponent"),
        );
    }
    price
}

/// A decimal number of dollars as nano-dollars, exactly; no floating point comes near money.
pub(crate) fn nano_usd(text: &str) -> Option<u64> {
    scaled(text, DECIMALS).filter(|nano| *nano <= PRICE_MAX_NANO_USD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_nano_dollars_exactly() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("2", Some(2_000_000_000)),
            ("2.5", Some(2_500_000_000)),
            ("+2.5", Some(2_500_000_000)),
            ("0.1", Some(100_000_000)),
            ("0.075", Some(75_000_000)),
            ("0.000000001", Some(1)),
            ("1000000", Some(PRICE_MAX_NANO_USD)),
            ("1000000.0", Some(PRICE_MAX_NANO_USD)),
            ("1000000.000000001", None),
            ("0.0000000001", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("-0.0", None),
            ("1e3", None),
            ("inf", None),
            ("nan", None),
            ("", None),
            (".5", None),
        ] {
            assert_eq!(nano_usd(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_most_specific_price_wins() {
        let price = |nano| Price {
            prompt_nano_usd_per_million: nano,
            cached_nano_usd_per_million: nano,
            completion_nano_usd_per_million: nano,
        };
        let names = ["azure/gpt-4o-eu", "gpt-4o-eu", "gpt-4o", "local/*", "local/big", "meta/llama"];
        let prices = (1..).zip(names).map(|(nano, name)| (name.to_owned(), price(nano))).collect();
        let pricing = Pricing { prices };
        for (model, deployment, expected) in [
            ("gpt-4o", "azure/gpt-4o-eu", Some(1)),
            ("gpt-4o", "other/gpt-4o-eu", Some(2)),
            ("gpt-4o", "openai/gpt-4o-2024", Some(3)),
            ("gpt-4o", "openai/*", Some(3)),
            ("gpt-4o", "local/*", Some(4)),
            ("big", "local/*", Some(5)),
            ("big", "openai/big", None),
            ("x", "openai/meta/llama", Some(6)),
            ("meta/llama", "openai/*", Some(6)),
            ("gpt-4o", "", Some(3)),
            ("x", "openai/y", None),
        ] {
            let found = pricing.price(model, deployment).map(|price| price.prompt_nano_usd_per_million);
            assert_eq!(found, expected, "{model} at {deployment}");
        }
    }
}
