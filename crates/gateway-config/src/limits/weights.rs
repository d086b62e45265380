//! `counts`: which tokens count, and how much.

use crate::fields::{Fields, scaled, unknown_name};

/// Keys of `[limits.counts]`.
pub(crate) const KEYS: &[&str] = &["prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"];

const DECIMALS: usize = 3;
const WEIGHT_MAX_THOUSANDTHS: u64 = 1_000_000;

/// How much a token of each kind counts, in thousandths; each 0 to 1,000,000, and not all 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// Prompt tokens that the provider did not read from its own prompt cache.
    pub prompt: u64,
    /// Prompt tokens that it did; as much as the others unless given.
    pub cached: u64,
    /// Completion tokens that are not reasoning.
    pub completion: u64,
    /// Reasoning tokens; as much as the other completion tokens unless given.
    pub reasoning: u64,
}

impl Weights {
    /// `total`: prompt and completion alike.
    pub const TOTAL: Weights = Weights { prompt: 1_000, cached: 1_000, completion: 1_000, reasoning: 1_000 };
    /// `prompt`: the prompt alone.
    pub const PROMPT: Weights = Weights { completion: 0, reasoning: 0, ..Weights::TOTAL };
    /// `completion`: the completion alone.
    pub const COMPLETION: Weights = Weights { prompt: 0, cached: 0, ..Weights::TOTAL };

    /// What these tokens count, rounded up; cached tokens are a part of the prompt, reasoning of the completion.
    pub fn weigh(&self, prompt: u64, cached: u64, completion: u64, reasoning: u64) -> u64 {
        let product = |tokens: u64, weight: u64| u128::from(tokens) * u128::from(weight);
        let sum = product(prompt.saturating_sub(cached), self.prompt)
            .saturating_add(product(cached, self.cached))
            .saturating_add(product(completion.saturating_sub(reasoning), self.completion))
            .saturating_add(product(reasoning, self.reasoning));
        u64::try_from(sum.div_ceil(1_000)).unwrap_or(u64::MAX)
    }
}

/// Reads `counts`: a word or a table.
pub(crate) fn read(fields: &Fields<'_, '_>) -> Option<Weights> {
    match fields.peek_text("counts") {
        Some("total") => Some(Weights::TOTAL),
        Some("prompt") => Some(Weights::PROMPT),
        Some("completion") => Some(Weights::COMPLETION),
        Some(other) => {
            let words = ["total", "prompt", "completion"];
            fields.refuse(
                "counts",
                format!("{}, or a table of weights", unknown_name(other, "what counts", words)),
            );
            None
        }
        None if !fields.has("counts") => Some(Weights::TOTAL),
        None => read_table(&fields.table("counts", KEYS)?),
    }
}

fn read_table(table: &Fields<'_, '_>) -> Option<Weights> {
    let weight = |key| {
        let text = table.decimal(key)?;
        let weight = scaled(text, DECIMALS).filter(|weight| *weight <= WEIGHT_MAX_THOUSANDTHS);
        if weight.is_none() {
            table.refuse(key, format!("is {text}, must be from 0 to 1000 with at most {DECIMALS} decimals"));
        }
        weight
    };
    let prompt = weight("prompt_tokens").unwrap_or(Weights::TOTAL.prompt);
    let completion = weight("completion_tokens").unwrap_or(Weights::TOTAL.completion);
    let weights = Weights {
        prompt,
        cached: weight("cached_tokens").unwrap_or(prompt),
        completion,
        reasoning: weight("reasoning_tokens").unwrap_or(completion),
    };
    if weights == (Weights { prompt: 0, cached: 0, completion: 0, reasoning: 0 }) {
        table.report().add(table.path(), "has no weight above 0, so the limit could never decide");
    }
    Some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_token_has_its_weight_and_the_sum_is_rounded_up() {
        let priced = Weights { prompt: 1_000, cached: 100, completion: 4_000, reasoning: 2_500 };
        for (weights, [prompt, cached, completion, reasoning], expected) in [
            (Weights::TOTAL, [100, 40, 50, 20], 150),
            (Weights::PROMPT, [100, 40, 50, 20], 100),
            (Weights::COMPLETION, [100, 40, 50, 20], 50),
            (priced, [100, 40, 50, 20], 60 + 4 + 120 + 50),
            (priced, [1, 1, 0, 0], 1),
            (priced, [11, 11, 0, 0], 2),
            (priced, [0, 5, 0, 4], 11), // more cached than prompt, more reasoning than completion: those
            (Weights::TOTAL, [u64::MAX, 0, u64::MAX, 0], u64::MAX),
            (Weights::TOTAL, [0, 0, 0, 0], 0),
        ] {
            assert_eq!(weights.weigh(prompt, cached, completion, reasoning), expected, "{weights:?}");
        }
    }
}
