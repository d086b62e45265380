//! How much a request is expected to take at most, before it is answered.
//!
//! Its prompt, and all the completion that it allows; of what can turn out cheaper (cached or reasoning tokens, another
//! deployment, a fallback's too), the dearer. A client that sets no bound gets the configured reserve for each completion. That is our
//! guess, so it must not shut anyone out: it is at most a quarter of the smallest limit, and no more than that limit
//! leaves beside the prompt.

use gateway_config::{Check, LimiterConfig, Measure, Price, Weights};

/// How large a request is before it is answered, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSize {
    /// The prompt.
    pub prompt_tokens: u64,
    /// The bound that the client sets for one completion, if any.
    pub max_completion_tokens: Option<u64>,
    /// Completions asked for, at least 1.
    pub n: u64,
}

/// Most of the prompt and of the completion, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The prompt.
    pub prompt_tokens: u64,
    /// All completions together.
    pub completion_tokens: u64,
    /// The dearest that a token can be; `None` when nothing has a price.
    price: Option<Price>,
}

impl Estimate {
    /// What a request that `model` serves is expected to take at most; `checks` are the ones that decide about it.
    pub(crate) fn new<'c>(
        config: &LimiterConfig,
        model: &str,
        size: RequestSize,
        checks: impl Iterator<Item = &'c Check> + Clone,
    ) -> Self {
        let prompt_tokens = size.prompt_tokens;
        let estimate = |completion_tokens| Estimate {
            prompt_tokens,
            completion_tokens,
            price: config.costs.highest(model),
        };
        let completion_tokens = match size.max_completion_tokens {
            Some(max) => max.saturating_mul(size.n),
            None => {
                let reserve = config.completion_reserve.saturating_mul(size.n);
                let grows = |check: &&Check| matches!(check.measure, Measure::Tokens(_) | Measure::NanoUsd);
                let checks = checks.filter(grows);
                largest(reserve, |completion_tokens| {
                    let whole = estimate(completion_tokens);
                    let alone = Estimate { prompt_tokens: 0, ..whole };
                    checks.clone().all(|check| {
                        alone.amount(check.measure) <= check.size / 4
                            && whole.amount(check.measure) <= check.size
                    })
                })
            }
        };
        estimate(completion_tokens)
    }

    /// Prompt and completion together, in tokens.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// How much of a measure that is, in its unit. Money without a price is 0.
    pub(crate) fn amount(&self, measure: Measure) -> u64 {
        match measure {
            Measure::Tokens(weights) => {
                let dearer = Weights {
                    prompt: weights.prompt.max(weights.cached),
                    completion: weights.completion.max(weights.reasoning),
                    ..weights
                };
                dearer.weigh(self.prompt_tokens, 0, self.completion_tokens, 0)
            }
            Measure::Requests | Measure::Parallel => 1,
            Measure::NanoUsd => self.price.map_or(0, |price| {
                let prompt = price.prompt_nano_usd_per_million.max(price.cached_nano_usd_per_million);
                let dearer = Price { prompt_nano_usd_per_million: prompt, ..price };
                dearer.cost_nano_usd(self.prompt_tokens, 0, self.completion_tokens)
            }),
        }
    }
}

/// The largest number up to `max` that is `allowed`, where what is above a forbidden one is forbidden too; 0 if none is.
fn largest(max: u64, allowed: impl Fn(u64) -> bool) -> u64 {
    if allowed(max) {
        return max;
    }
    let (mut good, mut bad) = (0, max);
    while bad.saturating_sub(good) > 1 {
        let middle = good.midpoint(bad);
        if allowed(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_config::Limit;

    fn config(text: &str) -> LimiterConfig {
        LimiterConfig::parse(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn estimate(config: &LimiterConfig, size: RequestSize) -> Estimate {
        Estimate::new(config, "m", size, config.limits.iter().flat_map(|limit| &limit.checks))
    }

    fn tokens(reserve: u64, limits: &[u64]) -> LimiterConfig {
        let rule = |(at, size): (usize, &u64)| {
            let key = if at == 0 { "" } else { "\"team\"" };
            format!("[[limits]]\nname = \"l{at}\"\ncounter_key = [{key}]\ntokens_per_minute = {size}\n")
        };
        let rules: String = limits.iter().enumerate().map(rule).collect();
        config(&format!("[limiter]\ncompletion_reserve = {reserve}\n{rules}"))
    }

    #[test]
    fn the_completion_is_the_clients_bound_or_a_share_of_the_smallest_limit() {
        for (limits, prompt_tokens, max_completion_tokens, n, expected) in [
            (&[100_000, 50_000][..], 10, None, 1, 1_010),
            (&[100_000, 50_000], 10, None, 3, 3_010),
            (&[100_000, 50_000], 10, Some(7), 3, 31),
            (&[100_000, 50_000], 10, Some(0), 1, 10),
            // A quarter of the smallest limit.
            (&[100_000, 1_000], 10, None, 1, 260),
            (&[3], 1, None, 1, 1),
            // No more than the limit leaves, so that a prompt which fits is not too large by our guess.
            (&[1_000], 900, None, 1, 1_000),
            (&[1_000], 1_001, None, 1, 1_001),
            // A bound of the client's own is taken at its word.
            (&[1_000], 900, Some(500), 1, 1_400),
            (&[], 10, None, 1, 1_010),
            (&[10], u64::MAX, Some(u64::MAX), u64::MAX, u64::MAX),
        ] {
            let size = RequestSize { prompt_tokens, max_completion_tokens, n };
            let total = estimate(&tokens(1_000, limits), size).total_tokens();
            assert_eq!(total, expected, "{limits:?} {size:?}");
        }
    }

    const PRICED: &str = r#"
        [[models]]
        name = "m"
        [[models.deployments]]
        backend = "b"
        [[models.deployments]]
        backend = "b"
        model = "dear"
        [pricing.m]
        prompt_usd_per_million = 1
        completion_usd_per_million = 2
        [pricing.dear]
        prompt_usd_per_million = 0.5
        cached_usd_per_million = 3
        completion_usd_per_million = 10
    "#;

    #[test]
    fn each_measure_takes_the_dearest_that_a_request_can_become() {
        let rule = |amounts: &str| {
            let text = format!("[[limits]]\nname = \"l\"\ncounter_key = []\n{amounts}\n{PRICED}");
            config(&text)
        };
        for (amounts, expected) in [
            ("tokens_per_minute = 9000", 300),
            ("tokens_per_minute = 9000\ncounts = \"prompt\"", 100),
            ("tokens_per_minute = 9000\ncounts = \"completion\"", 200),
            ("tokens_per_minute = 9000\ncounts = { cached_tokens = 0.1, reasoning_tokens = 4.5 }", 100 + 900),
            ("tokens_per_minute = 9000\ncounts = { cached_tokens = 2, completion_tokens = 0.001 }", 200 + 1),
            ("requests_per_minute = 9", 1),
            ("max_parallel = 9", 1),
            ("cost_quota_usd = 1\nperiod = \"day\"", 100 * 3_000 + 200 * 10_000),
        ] {
            let config = rule(amounts);
            let size = RequestSize { prompt_tokens: 100, max_completion_tokens: Some(200), n: 1 };
            let measure = config.limits[0].checks[0].measure;
            assert_eq!(estimate(&config, size).amount(measure), expected, "{amounts}");
        }
    }

    #[test]
    fn our_guess_is_a_quarter_of_what_the_limit_allows_in_its_own_unit() {
        for (amounts, expected) in [
            ("tokens_per_minute = 4000\ncounts = { completion_tokens = 4 }", 250),
            ("tokens_per_minute = 4000\ncounts = \"prompt\"", 5_000),
            // 0.01 USD of 10 USD per million tokens; a quarter of it is 250.
            ("cost_quota_usd = 0.01\nperiod = \"day\"", 250),
            ("requests_per_minute = 1", 5_000),
        ] {
            let text = format!("[[limits]]\nname = \"l\"\ncounter_key = []\n{amounts}\n{PRICED}");
            let config = LimiterConfig { completion_reserve: 5_000, ..config(&text) };
            let size = RequestSize { prompt_tokens: 1, max_completion_tokens: None, n: 1 };
            assert_eq!(estimate(&config, size).completion_tokens, expected, "{amounts}");
        }
    }

    #[test]
    fn nothing_is_guessed_of_limits_that_are_not_asked() {
        let config = tokens(1_000, &[10]);
        let size = RequestSize { prompt_tokens: 1, max_completion_tokens: None, n: 1 };
        let none: &[Limit] = &[];
        let checks = none.iter().flat_map(|limit| &limit.checks);
        assert_eq!(Estimate::new(&config, "m", size, checks).completion_tokens, 1_000);
    }
}
