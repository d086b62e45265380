//! Which component answers a path. Decides precedence (exact before wildcard, then the longest prefix; on the same
//! route the later trigger wins) and what the guest is told about the match. Private routes are not here: they are
//! reached by chaining only.
//!
//! Matching is done by `routefinder`, the crate that Spin uses.

use crate::manifest::{HttpTrigger, TriggerRoute};
use anyhow::anyhow;
use std::borrow::Cow;

/// The public routes of an application.
#[derive(Debug)]
pub struct Routes {
    router: routefinder::Router<Route>,
}

/// One public route.
#[derive(Debug)]
pub struct Route {
    /// The component that answers.
    pub component: String,
    /// As the manifest has it: `spin-raw-component-route`.
    pub raw: String,
    /// Absolute and without a trailing slash: `spin-matched-route`.
    pub based: String,
}

/// A matched route, with what the guest is told about it.
#[derive(Debug)]
pub struct RouteMatch<'a> {
    /// The component that answers.
    pub component: &'a str,
    /// `spin-raw-component-route`.
    pub raw: &'a str,
    /// `spin-matched-route`.
    pub based: &'a str,
    /// What the wildcard matched: `spin-path-info`.
    pub path_info: Cow<'a, str>,
    /// `spin-path-match-<name>` for every `:name` in the route.
    pub named: Vec<(String, String)>,
}

impl Routes {
    /// Collects the public routes of `triggers`; returns also a warning per route that is declared twice.
    pub fn build(triggers: &[HttpTrigger]) -> anyhow::Result<(Self, Vec<String>)> {
        let mut warnings = Vec::new();
        let mut router = routefinder::Router::new();
        for (position, trigger) in triggers.iter().enumerate() {
            let TriggerRoute::Public(raw) = &trigger.route else {
                continue;
            };
            let is_replaced = triggers.iter().skip(position + 1).any(|later| later.route == trigger.route);
            if is_replaced {
                warnings.push(format!(
                    "the route {raw:?} of component {:?} is declared again later and never used",
                    trigger.component
                ));
                continue;
            }
            let based = absolute(raw);
            let pattern = match based.strip_suffix("/...") {
                Some(prefix) => format!("{prefix}/*"),
                None => based.clone(),
            };
            let route = Route { component: trigger.component.clone(), raw: raw.clone(), based };
            router.add(pattern, route).map_err(|error| anyhow!("route {raw:?}: {error}"))?;
        }
        Ok((Self { router }, warnings))
    }

    /// The route that answers `path`.
    pub fn find<'a>(&'a self, path: &'a str) -> Option<RouteMatch<'a>> {
        let best = self.router.best_match(path)?;
        let captures = best.captures();
        let named =
            captures.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let path_info = captures.wildcard().map_or(Cow::Borrowed(""), |rest| path_info(path, rest));
        let route = best.handler();
        Some(RouteMatch {
            component: &route.component,
            raw: &route.raw,
            based: &route.based,
            path_info,
            named,
        })
    }

    /// All routes, in order of precedence.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.router.iter().map(|(_, route)| route)
    }
}

impl<'a> RouteMatch<'a> {
    /// The match that a chained request gets: as if the component had the route `/...`.
    pub fn chained(component: &'a str, path: &'a str) -> Self {
        Self { component, raw: "/...", based: "/...", path_info: Cow::Borrowed(path), named: Vec::new() }
    }

    /// `spin-component-route`: the raw route without its wildcard.
    pub fn component_route(&self) -> &str {
        self.raw.strip_suffix("/...").unwrap_or(self.raw)
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wildcard = self.based.strip_suffix("/...").or_else(|| self.based.strip_suffix("/*"));
        match wildcard {
            Some(prefix) => write!(f, "{prefix} (wildcard)"),
            None => f.write_str(&self.based),
        }
    }
}

/// What a wildcard matched, with the slashes that the matching library drops.
fn path_info<'a>(path: &'a str, rest: &str) -> Cow<'a, str> {
    match (rest.is_empty(), path.ends_with('/')) {
        (true, false) => Cow::Borrowed(""),
        (true, true) => Cow::Borrowed("/"),
        (false, false) => Cow::Owned(format!("/{rest}")),
        (false, true) => Cow::Owned(format!("/{rest}/")),
    }
}

fn absolute(route: &str) -> String {
    let route = route.strip_suffix('/').unwrap_or(route);
    if route.starts_with('/') || route.is_empty() { route.to_owned() } else { format!("/{route}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(pairs: &[(&str, &str)]) -> Routes {
        let triggers: Vec<_> = pairs
            .iter()
            .map(|(route, component)| HttpTrigger {
                component: (*component).to_owned(),
                route: TriggerRoute::Public((*route).to_owned()),
            })
            .collect();
        Routes::build(&triggers).unwrap().0
    }

    #[test]
    fn the_longest_prefix_wins_and_exact_beats_wildcard() {
        let routes =
            routes(&[("/...", "root"), ("/v1/...", "v1"), ("/v1/models", "models"), ("/user/:id", "user")]);
        for (path, component, path_info) in [
            ("/", "root", "/"),
            ("/x/y", "root", "/x/y"),
            ("/v1", "v1", ""),
            ("/v1/", "v1", "/"),
            ("/v1/chat/completions", "v1", "/chat/completions"),
            ("/v1/chat/", "v1", "/chat/"),
            ("/v1/models", "models", ""),
            ("/v1/models/x", "v1", "/models/x"),
            ("/user/7", "user", ""),
        ] {
            let found = routes.find(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(found.component, component, "{path}");
            assert_eq!(found.path_info, path_info, "{path}");
        }
        assert_eq!(routes.find("/user/7").unwrap().named, [("id".to_owned(), "7".to_owned())]);
    }

    #[test]
    fn a_path_without_a_route_has_no_match() {
        assert!(routes(&[("/a", "a")]).find("/b").is_none());
    }

    #[test]
    fn of_two_equal_routes_the_later_is_used() {
        let routes = routes(&[("/a", "first"), ("/a", "second")]);
        assert_eq!(routes.find("/a").unwrap().component, "second");
    }

    #[test]
    fn a_chained_request_looks_like_the_wildcard_route() {
        let chained = RouteMatch::chained("c", "/p");
        assert_eq!((chained.component_route(), &*chained.path_info), ("", "/p"));
    }
}
