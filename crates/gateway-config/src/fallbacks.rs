//! `fallbacks` of a model: which other pool is asked when this one fails, and upon what.

use crate::fields::{Fields, unknown_name};
use crate::models::Models;

/// Keys of an entry of `fallbacks`.
pub(crate) const KEYS: &[&str] = &["to", "on"];

/// Why a provider gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// The prompt, or prompt and completion together, are longer than the model takes: `context_window`.
    ContextWindow,
    /// A filter refused the prompt or the answer: `content_policy`.
    ContentPolicy,
    /// Too much was asked of the provider in too short a time, or its quota is used up: `rate_limit`.
    RateLimit,
    /// Nothing came in time: `timeout`.
    Timeout,
    /// The provider is at fault, could not be reached or sent an unusable answer: `server`.
    Server,
    /// The gateway's credential, or the deployment's name, will not do: `auth`.
    Auth,
    /// The request is at fault, in no way named above: `invalid_request`.
    InvalidRequest,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [ErrorClass; 7] = [
        ErrorClass::ContextWindow,
        ErrorClass::ContentPolicy,
        ErrorClass::RateLimit,
        ErrorClass::Timeout,
        ErrorClass::Server,
        ErrorClass::Auth,
        ErrorClass::InvalidRequest,
    ];

    /// The name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::ContextWindow => "context_window",
            ErrorClass::ContentPolicy => "content_policy",
            ErrorClass::RateLimit => "rate_limit",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Server => "server",
            ErrorClass::Auth => "auth",
            ErrorClass::InvalidRequest => "invalid_request",
        }
    }
}

/// Another pool, and upon what it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// A name that some model answers to; an alias is resolved to its model's name.
    pub to: String,
    /// In the order of [`ErrorClass::ALL`], at least one. `any` is every class but `invalid_request`: a request that is
    /// at fault here is so elsewhere.
    pub on: Vec<ErrorClass>,
}

/// Reads `fallbacks` of the model `name`.
pub(crate) fn read(fields: &Fields<'_, '_>, name: &str, models: &Models<'_>) -> Vec<Fallback> {
    let mut fallbacks: Vec<Fallback> = Vec::new();
    for table in fields.tables("fallbacks", KEYS) {
        let to = read_to(&table, name, models);
        let on = read_on(&table);
        let (Some(to), Some(on)) = (to, on.filter(|on| !on.is_empty())) else { continue };
        if let Some(first) =
            fallbacks.iter().find(|earlier| on.iter().all(|class| earlier.on.contains(class)))
        {
            table.refuse(
                "on",
                format!("is covered by the fallback to {:?} before, so it would never apply", first.to),
            );
        }
        fallbacks.push(Fallback { to, on });
    }
    fallbacks
}

fn read_to(table: &Fields<'_, '_>, name: &str, models: &Models<'_>) -> Option<String> {
    let text = table.required_text("to")?;
    let Some(to) = models.canonical(text) else {
        table.refuse("to", unknown_name(text, "the name of a model", models.known()));
        return None;
    };
    if to == name {
        table.refuse("to", "is the model itself; a fallback is another pool, retries are within this one");
        return None;
    }
    Some(to.to_owned())
}

fn read_on(table: &Fields<'_, '_>) -> Option<Vec<ErrorClass>> {
    let Some(texts) = table.texts("on") else {
        if !table.has("on") {
            table.refuse("on", "is missing; [\"any\"] is every class but invalid_request");
        }
        return None;
    };
    if texts.is_empty() {
        table.refuse("on", "is empty, so it would never apply; [\"any\"] is every class but invalid_request");
    }
    let mut on = Vec::new();
    for (path, text) in texts {
        let named = ErrorClass::ALL.into_iter().find(|class| class.as_str() == text);
        match (named, text) {
            (Some(class), _) => on.push(class),
            (None, "any") => {
                on.extend(ErrorClass::ALL.into_iter().filter(|c| *c != ErrorClass::InvalidRequest))
            }
            (None, _) => {
                let names = ErrorClass::ALL.map(ErrorClass::as_str);
                let names = names.into_iter().chain(["any"]).collect::<Vec<_>>();
                table.report().add(path, unknown_name(text, "a class of errors", names));
            }
        }
    }
    on.sort_unstable();
    on.dedup();
    Some(on)
}

/// Reports each fallback that leads back to where it starts, so that following them always ends.
///
/// Edges are taken in document order: the one that closes a circle is the problem, the others alone are fine.
pub(crate) fn refuse_circles(models: &Models<'_>, root: &Fields<'_, '_>) {
    let mut edges: Vec<(&str, &str)> = Vec::new();
    for (from, to, path) in &models.fallback_edges {
        if let Some(way) = way(&edges, to, from) {
            let circle: Vec<&str> = std::iter::once(from.as_str()).chain(way).collect();
            root.report().add(path, format!("leads back to where it starts: {}", circle.join(" → ")));
        } else {
            edges.push((from, to));
        }
    }
}

/// The names on a way from `from` to `to`, both included.
fn way<'e>(edges: &[(&'e str, &'e str)], from: &'e str, to: &'e str) -> Option<Vec<&'e str>> {
    // Breadth first; each entry knows the one it was reached from.
    let mut reached: Vec<(&str, usize)> = vec![(from, usize::MAX)];
    let mut at = 0;
    while let Some(&(name, _)) = reached.get(at) {
        if name == to {
            let mut way = Vec::new();
            let mut step = at;
            while let Some(&(name, before)) = reached.get(step) {
                way.push(name);
                step = before;
            }
            way.reverse();
            return Some(way);
        }
        for (_, next) in edges.iter().filter(|(start, _)| *start == name) {
            if !reached.iter().any(|(seen, _)| seen == next) {
                reached.push((next, at));
            }
        }
        at += 1;
    }
    None
}
