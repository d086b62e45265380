//! Which pool a request really gets: aliases, then the first of the document's routes that matches.

use crate::fleet::{Fleet, Target};
use crate::hash::{Chance, stable_hash};
use crate::traits::Traits;
use gateway_config::{Consumer, HashKey, Route, Share, Strategy};

/// What routes and sessions may look at.
pub struct Facts<'r> {
    /// The name that was asked for.
    pub asked: &'r str,
    /// Who calls.
    pub consumer: &'r Consumer,
    /// A request header's value, as the client sent it.
    pub header: &'r dyn Fn(&str) -> Option<&'r str>,
    /// Prompt tokens, estimated; 0 where nobody asks ([`Needs::prompt_tokens`]).
    pub prompt_tokens: u64,
    /// What the body says; the default where nobody asks ([`Needs::traits`]).
    pub traits: &'r Traits,
}

/// What of a request must be worked out, because some route or session asks for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The prompt's tokens; also for capacities and the lowest cost.
    pub prompt_tokens: bool,
    /// [`Traits`] of the body.
    pub traits: bool,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'c, 'n> {
    /// The pool, and the name it is asked under.
    pub target: Target<'c, 'n>,
    /// The route that decided.
    pub route: Option<&'c str>,
    /// Whose pool gets a copy.
    pub mirror: Option<&'c str>,
}

impl<'c> Fleet<'c> {
    /// What [`Facts`] must hold for the document's routes and strategies.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        let reads_body = |key: &HashKey| matches!(key, HashKey::User | HashKey::Conversation);
        for route in &self.config.routes {
            needs.prompt_tokens |= route.min_prompt_tokens > 0 || route.max_prompt_tokens.is_some();
            needs.traits |= !route.features.is_empty() || reads_body(&route.share_key);
        }
        for model in &self.config.models {
            needs.prompt_tokens |= model.settings.strategy == Strategy::LowestCost
                || model.deployments.iter().any(|deployment| deployment.capacity_tokens_per_minute.is_some());
            needs.traits |= matches!(&model.settings.strategy, Strategy::Session(key) if reads_body(key));
        }
        needs
    }

    /// Decides where a request goes; `None` when no model answers to the name.
    pub fn route<'n>(&'c self, facts: &Facts<'n>, chance: &mut Chance) -> Option<Decision<'c, 'n>>
    where
        'c: 'n,
    {
        let asked = self.target(facts.asked)?;
        let matching = self.config.routes.iter().find(|route| matches(route, asked.name, facts, chance));
        let Some(route) = matching else {
            return Some(Decision { target: asked, route: None, mirror: None });
        };
        let target = route.to.as_deref().and_then(|to| self.target(to)).unwrap_or(asked);
        let mirror = route.mirror.as_ref().filter(|mirror| is_in_share(chance.draw(), mirror.share));
        Some(Decision { target, route: Some(&route.name), mirror: mirror.map(|mirror| mirror.to.as_str()) })
    }
}

/// The hash of a request's session, for the pool's strategy; `None` where it has none, or the request lacks the key.
pub fn session(target: Target<'_, '_>, facts: &Facts<'_>) -> Option<u64> {
    match &target.pool.model.settings.strategy {
        Strategy::Session(key) => hash_of(key, "session", facts),
        _ => None,
    }
}

fn matches(route: &Route, asked: &str, facts: &Facts<'_>, chance: &mut Chance) -> bool {
    let consumer = facts.consumer;
    let is_one_of = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|one| one == value))
    };
    is_one_of(&route.models, Some(asked))
        && is_one_of(&route.consumers, Some(&consumer.id))
        && is_one_of(&route.teams, consumer.team.as_deref())
        && is_one_of(&route.apps, consumer.app.as_deref())
        && (route.tags.is_empty() || consumer.tags.iter().any(|tag| route.tags.contains(tag)))
        && route.headers.iter().all(|(name, value)| {
            let sent = (facts.header)(name);
            value.as_deref().map_or(sent.is_some(), |value| sent == Some(value))
        })
        && facts.prompt_tokens >= route.min_prompt_tokens
        && route.max_prompt_tokens.is_none_or(|most| facts.prompt_tokens <= most)
        && route.features.iter().all(|feature| facts.traits.uses(*feature))
        && (route.share == Share::ALL || {
            let hash = hash_of(&route.share_key, &route.name, facts).unwrap_or_else(|| chance.draw());
            is_in_share(hash, route.share)
        })
}

/// The lowest part of all hashes: who is in a share stays in it when it grows.
fn is_in_share(hash: u64, share: Share) -> bool {
    (u128::from(hash) * 1_000_000) >> 64 < u128::from(share.millionths())
}

/// Seeded, so that who is in one route's share is not in another's as well.
fn hash_of(key: &HashKey, seed: &str, facts: &Facts<'_>) -> Option<u64> {
    let id = facts.consumer.id.as_str();
    let hash =
        |parts: [&str; 2]| Some(stable_hash([seed.as_bytes()].into_iter().chain(parts.map(str::as_bytes))));
    match key {
        HashKey::Consumer => hash(["consumer", id]),
        // The same name at another consumer is another user.
        HashKey::User => match &facts.traits.user {
            Some(user) => hash([id, user]),
            None => hash(["consumer", id]),
        },
        HashKey::Conversation => {
            let conversation = facts.traits.conversation?.to_string();
            hash([id, &conversation])
        }
        HashKey::Header(name) => hash(["header", (facts.header)(name)?]),
        HashKey::Cookie(name) => hash(["cookie", cookie((facts.header)("cookie")?, name)?]),
        HashKey::Request => None,
    }
}

/// A cookie's value (RFC 6265 §4.2.1); `None` where it is absent or empty.
fn cookie<'h>(header: &'h str, name: &str) -> Option<&'h str> {
    let pairs = header.split(';').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()?;
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        for (header, expected) in [
            ("sid=a", Some("a")),
            ("x=1; sid=a; sid=b", Some("a")),
            ("xsid=1", None),
            ("sid=", None),
            ("sid", None),
            ("", None),
            ("sid=a=b", Some("a=b")),
        ] {
            assert_eq!(cookie(header, "sid"), expected, "{header:?}");
        }
    }
}
