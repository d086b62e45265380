//! What one request asks of which counters.

use crate::MAX_AMOUNT;
use crate::counter::Counter;
use crate::estimate::{Estimate, RequestSize};
use crate::kind::Kind;
use crate::subject::Subject;
use gateway_config::{Check, Limit, LimiterConfig, Mode};

/// An amount to take from one counter under one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand<'c> {
    /// The rule.
    pub limit: &'c Limit,
    /// Which of its checks.
    pub check: &'c Check,
    /// The counter.
    pub counter: Counter,
    /// How much to take, in the unit of the check's measure; at most [`MAX_AMOUNT`].
    pub amount: u64,
    /// Whether the counter was near its limit lately: then it is read before it is added to, so that a refusal writes
    /// nothing. Otherwise adding is the first look, and an admission saves the read. See [`crate::ReadFirst`].
    pub read_first: bool,
}

impl Demand<'_> {
    /// Whether it decides.
    pub(crate) fn is_enforced(&self) -> bool {
        self.limit.mode == Mode::Enforce
    }
}

/// What a request asks for, and by which estimate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands<'c> {
    /// One for each check of each rule that matches, in the order of the document.
    pub demands: Vec<Demand<'c>>,
    /// What they are computed from.
    pub estimate: Estimate,
}

/// What each of the checks that match is asked for.
pub fn demands<'c>(config: &'c LimiterConfig, subject: &Subject<'_>, size: RequestSize) -> Demands<'c> {
    let matching: Vec<&Limit> = config.limits.iter().filter(|limit| subject.is_matched_by(limit)).collect();
    // What only observes must not change what the others decide, by making our guess of the completion smaller.
    let decides = |limit: &&&Limit| limit.mode == Mode::Enforce;
    let deciding = matching.iter().filter(decides).flat_map(|limit| &limit.checks);
    let estimate = Estimate::new(config, subject.served, size, deciding);
    let demand = |limit: &'c Limit, check: &'c Check| Demand {
        limit,
        check,
        counter: Counter::new(&limit.name, Kind::of(check), subject.values(limit)),
        amount: estimate.amount(check.measure).min(MAX_AMOUNT),
        read_first: false,
    };
    let demands = matching.iter().flat_map(|&limit| limit.checks.iter().map(move |check| (limit, check)));
    Demands { demands: demands.map(|(limit, check)| demand(limit, check)).collect(), estimate }
}

/// The counters of one rule for `values`, in the order of its `counter_key`, asked for nothing: to look at or to reset.
pub fn counters<'c>(limit: &'c Limit, values: &[&str]) -> Vec<Demand<'c>> {
    let demand = |check: &'c Check| Demand {
        limit,
        check,
        counter: Counter::new(&limit.name, Kind::of(check), values.iter().copied()),
        amount: 0,
        read_first: true,
    };
    limit.checks.iter().map(demand).collect()
}

/// The same for values as [`Counter::value`] shows them; `None` for what it never shows.
pub fn counters_shown<'c>(limit: &'c Limit, value: &str) -> Option<Vec<Demand<'c>>> {
    let shown = |demand: Demand<'c>| {
        let counter = Counter::parse(&limit.name, &demand.counter.kind().to_string(), value)?;
        Some(Demand { counter, ..demand })
    };
    counters(limit, &[]).into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
        [[limits]]
        name = "all"
        counter_key = []
        tokens_per_minute = 1_000
        requests_per_minute = 5
        [[limits]]
        name = "team"
        counter_key = ["team"]
        match = { models = ["m"], tags = ["trial"] }
        token_quota = 9_000
        period = "day"
        counts = "prompt"
        [[limits]]
        name = "many"
        counter_key = ["claim:org", "header:X-Project", "client_ip", "pool", "user", "model", "app", "consumer"]
        mode = "observe"
        token_quota = 100
        max_parallel = 3
        period = "month"
        window = "rolling"
    "#;

    #[test]
    fn each_check_of_each_rule_that_matches_counts_by_its_own_key() {
        let config = LimiterConfig::parse(DOCUMENT).unwrap();
        let subject = Subject {
            consumer: "c",
            team: "",
            app: "a",
            tags: &["eu", "trial"],
            user: "u",
            model: "m",
            served: "m",
            pool: "*",
            client_ip: "::1",
            headers: &[("x-project", "p")],
            claims: &[],
        };
        let size = RequestSize { prompt_tokens: 10, max_completion_tokens: Some(20), n: 2 };
        let seen = |subject: &Subject<'_>| {
            let demands = demands(&config, subject, size).demands;
            demands.iter().map(|d| format!("{} {}", d.counter, d.amount)).collect::<Vec<_>>()
        };
        assert_eq!(
            seen(&subject),
            [
                "all:mt: 50",
                "all:mn: 1",
                "team:cp: 10",
                "many:rt:c+a+u+m+%2A+%3A%3A1+p+ 50",
                "many:ls:c+a+u+m+%2A+%3A%3A1+p+ 1",
            ]
        );
        assert_eq!(seen(&Subject { tags: &["eu"], ..subject }).len(), 4);
        let renamed = |demand: &String| demand.replace("u+m+", "u+other+");
        let served = seen(&Subject { served: "other", ..subject });
        assert_eq!(
            seen(&Subject { model: "other", ..subject }),
            served.iter().map(renamed).collect::<Vec<_>>()
        );
        assert_eq!(seen(&Subject { model: "other", served: "other", ..subject }).len(), 4);
    }

    #[test]
    fn a_rule_that_only_observes_does_not_shrink_our_guess() {
        let config = LimiterConfig::parse(DOCUMENT).unwrap();
        let size = RequestSize { prompt_tokens: 10, max_completion_tokens: None, n: 1 };
        assert_eq!(demands(&config, &Subject::default(), size).estimate.completion_tokens, 250);
    }

    #[test]
    fn a_rules_counters_are_found_by_its_values() {
        let config = LimiterConfig::parse(DOCUMENT).unwrap();
        let found: Vec<_> =
            counters(&config.limits[1], &["acme"]).iter().map(|d| d.counter.to_string()).collect();
        assert_eq!(found, ["team:cp:acme"]);
    }
}
