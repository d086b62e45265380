//! Which requests a rule comes to count: what its consumers may ask for, and where routes lead them.
//!
//! A route's other conditions (headers, size, share) are taken to be met by some request. Fallbacks are none of this: a
//! request is counted before it is sent.

use super::{Limit, Matches};
use crate::router::RouterConfig;
use crate::{Consumer, Route};

/// The requests that one rule counts.
pub(super) struct Reach<'a> {
    matches: &'a Matches,
    router: &'a RouterConfig,
}

impl<'a> Reach<'a> {
    pub fn of(limit: &'a Limit, router: &'a RouterConfig) -> Self {
        Reach { matches: &limit.matches, router }
    }

    /// Names that are asked for and that the rule counts by, each once. `*` stands for any name that no model has.
    pub fn asked(&self) -> Vec<&'a str> {
        let mut names = Vec::new();
        if self.matches.models.is_empty() {
            if self.consumers().any(|consumer| consumer.models.is_none()) {
                add_new(&mut names, self.router.models.iter().map(|model| model.name.as_str()));
            }
            let listed = self.consumers().filter_map(|consumer| consumer.models.as_ref()).flatten();
            add_new(&mut names, listed.map(String::as_str));
        } else {
            let listed = self.matches.models.iter().map(String::as_str);
            add_new(&mut names, listed.filter(|name| self.consumers().any(|one| one.may_use(name))));
        }
        names
    }

    /// Names that routes lead counted requests to, each once, in the order of the document.
    pub fn routed(&self) -> Vec<&'a str> {
        let is_taken = |route: &Route, to: &str| {
            self.consumers().any(|consumer| takes(route, consumer) && self.leads(route, consumer, to))
        };
        let mut names = Vec::new();
        let leading = self.router.routes.iter().filter_map(|route| Some((route, route.to.as_deref()?)));
        add_new(&mut names, leading.filter(|(route, to)| is_taken(route, to)).map(|(_, to)| to));
        names
    }

    /// Names of all models that may answer counted requests, unless they fall back, each once.
    pub fn serving(&self) -> Vec<&'a str> {
        let mut names = self.asked();
        add_new(&mut names, self.routed());
        names
    }

    /// Whom the rule counts.
    fn consumers(&self) -> impl Iterator<Item = &'a Consumer> {
        let (matches, router) = (self.matches, self.router);
        router.consumers.iter().filter(move |consumer| {
            let team = consumer.team.as_deref().unwrap_or_default();
            matches.has_consumer(team, consumer.tags.iter().map(String::as_str))
        })
    }

    /// Whether a route that takes the consumer's requests leads one that is counted to `to`.
    fn leads(&self, route: &Route, consumer: &Consumer, to: &str) -> bool {
        let is_counted_anyway = self.matches.has_model(to);
        let is_counted = |asked: &String| is_counted_anyway || self.matches.has_model(asked);
        match route.models.as_slice() {
            [] if is_counted_anyway => true,
            [] => self.matches.models.iter().any(|asked| consumer.may_use(asked)),
            listed => listed.iter().any(|asked| is_counted(asked) && consumer.may_use(asked)),
        }
    }
}

/// Adds names that are not there yet.
pub(super) fn add_new<'n>(names: &mut Vec<&'n str>, more: impl IntoIterator<Item = &'n str>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

/// Whether a route takes requests of a consumer, whatever else it asks of them.
fn takes(route: &Route, consumer: &Consumer) -> bool {
    let is_one_of = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|one| one == value))
    };
    is_one_of(&route.consumers, Some(&consumer.id))
        && is_one_of(&route.teams, consumer.team.as_deref())
        && is_one_of(&route.apps, consumer.app.as_deref())
        && (route.tags.is_empty() || consumer.tags.iter().any(|tag| route.tags.contains(tag)))
}
