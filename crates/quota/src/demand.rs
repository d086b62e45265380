//! What one request asks of which counters.

use crate::MAX_TOKENS;
use crate::counter::Counter;
use gateway_config::{CounterPart, Limit, LimiterConfig};

/// Who asks, for which model. What is unknown or does not exist is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Id of the consumer.
    pub consumer: &'a str,
    /// Its team.
    pub team: &'a str,
    /// Its app.
    pub app: &'a str,
    /// Public model name.
    pub model: &'a str,
}

impl<'a> Subject<'a> {
    fn part(&self, part: CounterPart) -> &'a str {
        match part {
            CounterPart::Consumer => self.consumer,
            CounterPart::Team => self.team,
            CounterPart::App => self.app,
            CounterPart::Model => self.model,
        }
    }
}

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

/// An amount to take from one counter under one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand<'c> {
    /// Name of the limit.
    pub limit: &'c str,
    /// Tokens that the limit allows in 60 seconds.
    pub limit_tokens: u64,
    /// The counter.
    pub counter: Counter,
    /// Tokens to take.
    pub amount: u64,
}

/// Tokens that the request is expected to take at most: its prompt, and all the completion that it allows.
///
/// A client that sets no bound gets the configured reserve for each completion. That is our guess, so it must not shut
/// anyone out: it is at most a quarter of the smallest limit, and no more than that limit leaves beside the prompt.
pub fn estimated_tokens(config: &LimiterConfig, size: RequestSize) -> u64 {
    let completion = match size.max_completion_tokens {
        Some(max) => max.saturating_mul(size.n),
        None => {
            let smallest =
                config.limits.iter().map(|limit| limit.tokens_per_minute).min().unwrap_or(u64::MAX);
            let reserve = config.completion_reserve.saturating_mul(size.n);
            reserve.min(smallest / 4).min(smallest.saturating_sub(size.prompt_tokens))
        }
    };
    size.prompt_tokens.saturating_add(completion)
}

/// What each of the limits is asked for, in the order of the document.
///
/// A value that is absent is counted like any other: those without a team share one counter, so that no limit can be
/// slipped past by having none.
pub fn demands<'c>(limits: &'c [Limit], subject: &Subject<'_>, amount: u64) -> Vec<Demand<'c>> {
    limits
        .iter()
        .map(|limit| Demand {
            limit: &limit.name,
            limit_tokens: limit.tokens_per_minute.min(MAX_TOKENS),
            counter: Counter::new(&limit.name, limit.counter_key.iter().map(|&part| subject.part(part))),
            amount,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_config::OnStoreError;

    fn limit(name: &str, counter_key: &[CounterPart], tokens_per_minute: u64) -> Limit {
        Limit { name: name.to_owned(), counter_key: counter_key.to_vec(), tokens_per_minute }
    }

    fn config(completion_reserve: u64, limits: &[u64]) -> LimiterConfig {
        LimiterConfig {
            limits: limits.iter().map(|&tokens| limit("l", &[], tokens)).collect(),
            completion_reserve,
            on_store_error: OnStoreError::Deny,
        }
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
            assert_eq!(estimated_tokens(&config(1_000, limits), size), expected, "{limits:?} {size:?}");
        }
    }

    #[test]
    fn each_limit_counts_by_its_own_key() {
        use CounterPart::{App, Consumer, Model, Team};
        let limits =
            [limit("all", &[], 1), limit("one", &[Team], 2), limit("four", &[Model, App, Team, Consumer], 3)];
        let subject = Subject { consumer: "c", team: "", app: "a", model: "m" };
        let keys: Vec<_> = demands(&limits, &subject, 9).iter().map(|d| d.counter.key(5)).collect();
        assert_eq!(keys, ["tl:1:all::5", "tl:1:one::5", "tl:1:four:m+a++c:5"]);
    }
}
