//! Rules that can never match, never decide or tell no requests apart.

use super::reach::{Reach, add_new};
use super::{CounterPart, Limit, LimiterConfig, Measure};
use crate::document::Report;
use crate::fields::unknown_name;
use crate::router::RouterConfig;
use crate::{Consumer, Pricing};

/// Reports every rule that does not fit the consumers, models and prices of the document.
pub(super) fn refuse_limits_that_fit_nothing(
    limiter: &LimiterConfig,
    router: &RouterConfig,
    pricing: &Pricing,
    report: &Report,
) {
    for (index, limit) in limiter.limits.iter().enumerate() {
        let rule = Rule { limit, path: format!("limits[{index}]"), router, report };
        rule.refuse_parts_that_no_one_has();
        if rule.refuse_unknown_names() {
            continue;
        }
        rule.refuse_match_of_nothing();
        if limit.checks.iter().any(|check| check.measure == Measure::NanoUsd) {
            rule.refuse_missing_prices(pricing);
        }
    }
}

struct Rule<'a> {
    limit: &'a Limit,
    path: String,
    router: &'a RouterConfig,
    report: &'a Report,
}

impl Rule<'_> {
    /// A limit by team when no consumer has a team: all would share one counter, which is not what it says.
    fn refuse_parts_that_no_one_has(&self) {
        let has = |part: &CounterPart, consumer: &Consumer| match part {
            CounterPart::Team => consumer.team.is_some(),
            CounterPart::App => consumer.app.is_some(),
            // Consumers are told apart by keys alone, and a key makes no claims.
            CounterPart::Claim(_) => false,
            _ => true,
        };
        for part in &self.limit.counter_key {
            if !self.router.consumers.iter().any(|consumer| has(part, consumer)) {
                let message = "which no consumer has, so it would tell no requests apart; leave it out";
                self.report.add(format!("{}.counter_key", self.path), format!("has \"{part}\", {message}"));
            }
        }
    }

    /// Names that nothing in the document has. Whether there were any.
    fn refuse_unknown_names(&self) -> bool {
        let before = self.report.len();
        let consumers = || self.router.consumers.iter();
        let matches = &self.limit.matches;
        let model_names =
            || self.router.models.iter().map(|model| model.name.as_str()).filter(|name| *name != "*");
        self.refuse_unknown("models", &matches.models, "the name of a model", model_names(), |name| {
            // Not an alias: what counts is the model's own name.
            model_names().any(|known| known == name) || self.serves(name)
        });
        let teams = || consumers().filter_map(|consumer| consumer.team.as_deref());
        self.refuse_unknown("teams", &matches.teams, "the team of a consumer", teams(), |name| {
            teams().any(|team| team == name)
        });
        let tags = || consumers().flat_map(|consumer| consumer.tags.iter().map(String::as_str));
        self.refuse_unknown("tags", &matches.tags, "a tag of a consumer", tags(), |name| {
            tags().any(|tag| tag == name)
        });
        self.report.len() > before
    }

    fn refuse_unknown<'n>(
        &self,
        key: &str,
        listed: &[String],
        what: &str,
        known: impl Iterator<Item = &'n str>,
        is_known: impl Fn(&str) -> bool,
    ) {
        let mut known: Vec<&str> = known.collect();
        known.sort_unstable();
        known.dedup();
        for (at, name) in listed.iter().enumerate().filter(|(_, name)| !is_known(name)) {
            let path = format!("{}.match.{key}[{at}]", self.path);
            let problem = unknown_name(name, what, known.iter().copied());
            self.report.add(path, format!("{problem}; it would never match"));
        }
    }

    /// Each name exists, but no consumer has all that is asked for.
    fn refuse_match_of_nothing(&self) {
        if Reach::of(self.limit, self.router).serving().is_empty() {
            let message = "is met by no consumer: none has such a team and tag and may ask for such a model";
            self.report.add(format!("{}.match", self.path), message);
        }
    }

    /// What has no price would pass a limit of money for nothing.
    fn refuse_missing_prices(&self, pricing: &Pricing) {
        let reach = Reach::of(self.limit, self.router);
        let asked = reach.asked();
        let mut told: Vec<&str> = Vec::new();
        for (at, name) in self.with_fallbacks(reach.serving()).into_iter().enumerate() {
            for deployment in self.router.model(name).into_iter().flat_map(|model| &model.deployments) {
                let label = deployment.label.as_str();
                if deployment.weight == 0 || pricing.price(name, label).is_some() || told.contains(&label) {
                    continue;
                }
                told.push(label);
                let by = if at < asked.len() { "" } else { ", which a route or a fallback leads to," };
                let what = "has no price, so what it takes could not be counted; add it under [pricing]";
                self.report.add(
                    format!("{}.cost_quota_usd", self.path),
                    format!("limits money, but deployment \"{label}\"{by} {what}"),
                );
            }
        }
    }

    /// These names, then those that fallbacks lead to from them, each once.
    fn with_fallbacks<'n>(&'n self, mut names: Vec<&'n str>) -> Vec<&'n str> {
        let mut at = 0;
        while let Some(name) = names.get(at).copied() {
            let fallbacks = self.router.model(name).into_iter().flat_map(|model| &model.fallbacks);
            add_new(&mut names, fallbacks.map(|fallback| fallback.to.as_str()));
            at += 1;
        }
        names
    }

    /// Whether the model `*` serves this name.
    fn serves(&self, name: &str) -> bool {
        self.router.model(name).is_some_and(|model| model.name == "*")
    }
}
