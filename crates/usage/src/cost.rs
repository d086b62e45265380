//! What a request cost, in integer nano-dollars.
//!
//! Prices are per million tokens. The three products are added exactly and rounded once, half up, so that a cost is
//! never off by more than half a nano-dollar, whatever the split between prompt, cache and completion.

use contracts::{CacheOutcome, Outcome, UsageRecord};
use gateway_config::{Price, Pricing};

/// Sets the cost of each record, replacing whatever cost it arrived with.
///
/// The answer of a cache hit, a refusal and what took no tokens cost 0. Anything else costs what its tokens cost, or `None` (unknown) when the
/// document gives no price for the deployment that answered, in its pool. Attempts that failed midway are added, each at the
/// price of its own; if one of those is unknown, so is the whole.
pub fn price_records(records: &mut [UsageRecord], pricing: &Pricing) {
    for record in records {
        let answer = match (record.cache, record.outcome) {
            (CacheOutcome::Exact, _) | (_, Outcome::Refused) => Some(0),
            _ if took_nothing(record) => Some(0),
            (CacheOutcome::Bypass | CacheOutcome::Miss, _) => {
                pricing.price(served(record), &record.deployment).map(|price| cost_nano_usd(price, record))
            }
        };
        record.cost_nano_usd = record.retried_usage.iter().fold(answer, |sum, retried| {
            let attempt = UsageRecord {
                prompt_tokens: retried.prompt_tokens,
                cached_tokens: retried.cached_tokens,
                completion_tokens: retried.completion_tokens,
                ..UsageRecord::default()
            };
            let pool = if retried.pool.is_empty() { &record.model } else { &retried.pool };
            let price = pricing.price(pool, &retried.deployment)?;
            Some(sum?.saturating_add(cost_nano_usd(price, &attempt)))
        });
    }
}

/// Whether the answer took no tokens of any kind: they cost nothing at any price, and so need none.
fn took_nothing(record: &UsageRecord) -> bool {
    (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (0, 0, 0)
}

/// The name whose price counts: that of the pool, because the one asked for may be an alias, or lead elsewhere by a route or a
/// fallback. Records of builds that did not tell them apart have the latter alone.
fn served(record: &UsageRecord) -> &str {
    if record.pool.is_empty() { &record.model } else { &record.pool }
}

/// The cost of a record's tokens at `price`, in nano-dollars ([`Price::cost_nano_usd`]).
pub fn cost_nano_usd(price: &Price, record: &UsageRecord) -> u64 {
    price.cost_nano_usd(record.prompt_tokens, record.cached_tokens, record.completion_tokens)
}

/// Nano-dollars as dollars with all nine decimals: 1,234 is `0.000001234`.
pub(crate) fn usd(nano_usd: u64) -> String {
    format!("{}.{:09}", nano_usd / 1_000_000_000, nano_usd % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::RetriedUsage;

    /// 2.50, 1.25 and 10 dollars per million tokens.
    const PRICE: Price = Price {
        prompt_nano_usd_per_million: 2_500_000_000,
        cached_nano_usd_per_million: 1_250_000_000,
        completion_nano_usd_per_million: 10_000_000_000,
    };

    fn tokens(prompt_tokens: u64, cached_tokens: u64, completion_tokens: u64) -> UsageRecord {
        UsageRecord { prompt_tokens, cached_tokens, completion_tokens, ..UsageRecord::default() }
    }

    #[test]
    fn each_kind_of_token_is_charged_at_its_own_price() {
        for (record, nano_usd) in [
            (tokens(0, 0, 0), 0),
            (tokens(1_000_000, 0, 0), 2_500_000_000),
            (tokens(1_000_000, 1_000_000, 0), 1_250_000_000),
            (tokens(0, 0, 1_000_000), 10_000_000_000),
            (tokens(1_000, 400, 50), 1_500_000 + 500_000 + 500_000),
            (tokens(10, 400, 0), 500_000), // more cached than prompt: the cached ones
        ] {
            assert_eq!(cost_nano_usd(&PRICE, &record), nano_usd, "{record:?}");
        }
    }

    #[test]
    fn the_sum_is_rounded_once_half_up() {
        let price = |per_million| Price {
            prompt_nano_usd_per_million: per_million,
            cached_nano_usd_per_million: per_million,
            completion_nano_usd_per_million: per_million,
        };
        for (per_million, record, nano_usd) in [
            (499_999, tokens(1, 0, 0), 0),
            (500_000, tokens(1, 0, 0), 1),
            (1_499_999, tokens(1, 0, 0), 1),
            (1_500_000, tokens(1, 0, 0), 2),
            (200_000, tokens(2, 1, 1), 1), // 0.6, where each of the three alone rounds to 0
        ] {
            assert_eq!(cost_nano_usd(&price(per_million), &record), nano_usd, "{per_million} {record:?}");
        }
    }

    #[test]
    fn a_cost_that_does_not_fit_is_the_largest() {
        let price = Price {
            prompt_nano_usd_per_million: u64::MAX,
            cached_nano_usd_per_million: u64::MAX,
            completion_nano_usd_per_million: u64::MAX,
        };
        assert_eq!(cost_nano_usd(&price, &tokens(u64::MAX, u64::MAX, u64::MAX)), u64::MAX);
        assert_eq!(cost_nano_usd(&price, &tokens(1_000_000, 0, 0)), u64::MAX);
    }

    #[test]
    fn hits_and_refusals_cost_nothing_and_what_has_no_price_is_unknown() {
        let document = "[pricing.\"gpt-4o\"]\nprompt_usd_per_million = 2.5\ncompletion_usd_per_million = 10";
        let pricing = gateway_config::UsageConfig::parse(document).unwrap().pricing;
        let record = |model: &str, cache, outcome| UsageRecord {
            model: model.to_owned(),
            deployment: format!("openai/{model}"),
            cache,
            outcome,
            cost_nano_usd: Some(7),
            ..tokens(1_000, 0, 50)
        };
        use CacheOutcome::{Bypass, Exact, Miss};
        use Outcome::{ClientGone, Completed, Refused, UpstreamError, UpstreamFailed};
        for (model, cache, outcome, cost_nano_usd) in [
            ("gpt-4o", Miss, Completed, Some(3_000_000)),
            ("gpt-4o", Bypass, Completed, Some(3_000_000)),
            ("gpt-4o", Miss, ClientGone, Some(3_000_000)),
            ("gpt-4o", Miss, UpstreamFailed, Some(3_000_000)),
            ("gpt-4o", Miss, UpstreamError, Some(3_000_000)),
            ("gpt-4o", Exact, Completed, Some(0)),
            ("gpt-4o", Miss, Refused, Some(0)),
            ("other", Miss, Completed, None),
            ("other", Exact, Completed, Some(0)),
            ("other", Bypass, Refused, Some(0)),
        ] {
            let mut records = [record(model, cache, outcome)];
            price_records(&mut records, &pricing);
            assert_eq!(records[0].cost_nano_usd, cost_nano_usd, "{model} {cache:?} {outcome:?}");
        }
    }

    #[test]
    fn what_took_no_tokens_costs_nothing_also_without_a_price() {
        let failed = |prompt_tokens, completion_tokens, retried_usage| UsageRecord {
            model: "other".to_owned(),
            outcome: Outcome::UpstreamFailed,
            retried_usage,
            ..tokens(prompt_tokens, 0, completion_tokens)
        };
        let retried = RetriedUsage { prompt_tokens: 1, ..RetriedUsage::default() };
        for (record, cost_nano_usd) in [
            (failed(0, 0, vec![]), Some(0)),
            (failed(1, 0, vec![]), None),
            (failed(0, 1, vec![]), None),
            (failed(0, 0, vec![retried]), None),
        ] {
            let mut records = [record];
            price_records(&mut records, &Pricing::default());
            assert_eq!(records[0].cost_nano_usd, cost_nano_usd, "{:?}", records[0]);
        }
    }

    #[test]
    fn attempts_that_failed_midway_are_paid_at_their_own_price() {
        let document = "[pricing.\"gpt-4o\"]\nprompt_usd_per_million = 2.5\ncached_usd_per_million = 1\n\
                        completion_usd_per_million = 10\n\
                        [pricing.\"eu/gpt-4o\"]\nprompt_usd_per_million = 3\ncompletion_usd_per_million = 12\n\
                        [pricing.\"eu/other\"]\nprompt_usd_per_million = 3\ncompletion_usd_per_million = 12";
        let pricing = gateway_config::UsageConfig::parse(document).unwrap().pricing;
        let retried = |deployment: &str| RetriedUsage {
            pool: String::new(),
            deployment: deployment.to_owned(),
            prompt_tokens: 1_000,
            completion_tokens: 10,
            ..RetriedUsage::default()
        };
        let (us, eu) = (retried("us/gpt-4o"), retried("eu/gpt-4o"));
        let cached = RetriedUsage { cached_tokens: 400, reasoning_tokens: 5, ..us.clone() };
        for (model, deployment, cache, retried_usage, cost_nano_usd) in [
            ("gpt-4o", "us/gpt-4o", CacheOutcome::Miss, vec![us.clone()], Some(3_000_000 + 2_600_000)),
            ("gpt-4o", "us/gpt-4o", CacheOutcome::Miss, vec![eu.clone()], Some(3_000_000 + 3_120_000)),
            (
                "gpt-4o",
                "us/gpt-4o",
                CacheOutcome::Miss,
                vec![cached],
                Some(3_000_000 + 1_500_000 + 400_000 + 100_000),
            ),
            (
                "gpt-4o",
                "us/gpt-4o",
                CacheOutcome::Miss,
                vec![us, eu.clone()],
                Some(3_000_000 + 2_600_000 + 3_120_000),
            ),
            ("gpt-4o", "us/gpt-4o", CacheOutcome::Exact, vec![eu.clone()], Some(3_120_000)),
            ("other", "eu/other", CacheOutcome::Miss, vec![retried("us/other")], None), // an attempt without a price
            ("other", "us/other", CacheOutcome::Miss, vec![retried("eu/other")], None), // an answer without a price
        ] {
            let mut records = [UsageRecord {
                model: model.to_owned(),
                deployment: deployment.to_owned(),
                cache,
                retried_usage,
                ..tokens(1_000, 0, 50)
            }];
            price_records(&mut records, &pricing);
            assert_eq!(records[0].cost_nano_usd, cost_nano_usd, "{:?}", records[0]);
        }
    }

    #[test]
    fn the_pools_price_counts_and_not_that_of_the_name_asked_for() {
        let document = "[pricing.fast]\nprompt_usd_per_million = 1\ncompletion_usd_per_million = 1\n\
                        [pricing.slow]\nprompt_usd_per_million = 5\ncompletion_usd_per_million = 5";
        let pricing = gateway_config::UsageConfig::parse(document).unwrap().pricing;
        let retried = |pool: &str| RetriedUsage {
            pool: pool.to_owned(),
            deployment: "b/up".to_owned(),
            prompt_tokens: 100,
            ..RetriedUsage::default()
        };
        for (model, pool, retried_usage, cost_nano_usd) in [
            ("an-alias", "fast", vec![], Some(1_050_000)),
            ("an-alias", "", vec![], None),
            ("slow", "fast", vec![], Some(1_050_000)), // fallen back
            ("slow", "fast", vec![retried("slow")], Some(1_050_000 + 500_000)),
            ("slow", "fast", vec![retried("")], Some(1_050_000 + 500_000)), // of a build that did not say
            ("slow", "fast", vec![retried("none")], None),
        ] {
            let mut records = [UsageRecord {
                model: model.to_owned(),
                pool: pool.to_owned(),
                deployment: "b/up".to_owned(),
                cache: CacheOutcome::Miss,
                retried_usage,
                ..tokens(1_000, 0, 50)
            }];
            price_records(&mut records, &pricing);
            assert_eq!(records[0].cost_nano_usd, cost_nano_usd, "{:?}", records[0]);
        }
    }

    #[test]
    fn dollars_have_nine_decimals() {
        for (nano_usd, text) in [
            (0, "0.000000000"),
            (1, "0.000000001"),
            (1_500_000_000, "1.500000000"),
            (u64::MAX, "18446744073.709551615"),
        ] {
            assert_eq!(usd(nano_usd), text);
        }
    }
}
