//! `[[models]]`: a public name, the deployments that serve it (its pool), and how the pool is used.

use crate::backends::Backends;
use crate::deployments::{self, Deployment};
use crate::fallbacks::{self, Fallback};
use crate::fields::{Fields, Taken};
use crate::names::{MODEL_NAME_RULE, is_model_name, shown};
use crate::settings::{self, Settings};
use std::collections::HashMap;

/// Keys of `[[models]]`: its own and those of [`settings::KEYS`].
pub(crate) const KEYS: &[&str] = &[
    "name",
    "aliases",
    "deployments",
    "fallbacks",
    "strategy",
    "session_key",
    "timeouts",
    "retries",
    "breaker",
    "health_check",
    "mid_stream",
    "buffer",
    "cancel_whole",
    "keepalive_ms",
    "promise_ms",
    "response_bytes",
];

const ALIASES_MAX: usize = 64;

/// A public model name and its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What clients ask for, or `*` for every name that no other model has.
    pub name: String,
    /// Other names for the same.
    pub aliases: Vec<String>,
    /// At least one with a weight above zero; by priority, then document order.
    pub deployments: Vec<Deployment>,
    /// Other pools, asked in this order; following them never leads back here.
    pub fallbacks: Vec<Fallback>,
    /// How the pool is used.
    pub settings: Settings,
}

/// The models of a document while it is read.
#[derive(Default)]
pub(crate) struct Models<'a> {
    pub valid: Vec<Model>,
    /// Every name and alias that is written, so that a reference to a broken model is not reported as well.
    pub names: Taken<'a>,
    /// The name of the model that an alias stands for.
    aliases: HashMap<&'a str, &'a str>,
    /// From, to and where each fallback stands.
    pub fallback_edges: Vec<(String, String, String)>,
}

impl<'a> Models<'a> {
    /// Whether a client could ask for this name.
    pub fn can_serve(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.names.contains_key("*") && is_model_name(name)
    }

    /// Every name and alias, sorted, for a problem's text.
    pub fn known(&self) -> Vec<&'a str> {
        let mut known: Vec<&str> = self.names.keys().copied().collect();
        known.sort_unstable();
        known
    }

    /// The name under which a name or alias is served; `None` when it is not. `*` itself is no name to ask for.
    pub fn canonical<'n>(&self, name: &'n str) -> Option<&'n str>
    where
        'a: 'n,
    {
        let served = self.aliases.get(name).copied().unwrap_or(name);
        (name != "*" && self.can_serve(name)).then_some(served)
    }
}

/// Reads `[[models]]`.
pub(crate) fn read<'a>(root: &Fields<'a, '_>, backends: &Backends<'_>, defaults: &Settings) -> Models<'a> {
    let mut models = Models::default();
    let tables = root.tables("models", KEYS);
    if tables.is_empty() {
        let what = if root.has("models") { "empty" } else { "missing" };
        root.refuse(
            "models",
            format!("is {what}; at least one [[models]] must say what clients may ask for"),
        );
    }
    for fields in &tables {
        let name = read_name(fields, &mut models.names);
        let deployments = deployments::read(fields, name, backends);
        let settings = settings::read(fields, defaults);
        if let Some(name) = name {
            models.valid.push(Model {
                name: name.to_owned(),
                aliases: Vec::new(),
                deployments,
                fallbacks: Vec::new(),
                settings,
            });
        }
    }
    // Names first, then aliases, then what refers to either: so that the order of the models does not matter.
    read_all_aliases(&tables, &mut models);
    read_all_fallbacks(&tables, &mut models, root);
    models
}

fn read_name<'a>(fields: &Fields<'a, '_>, taken: &mut Taken<'a>) -> Option<&'a str> {
    let name = fields.required_text("name")?;
    if name != "*" && !is_model_name(name) {
        let any = "or be \"*\" for every name that no other model has";
        fields.refuse("name", format!("is {}, {MODEL_NAME_RULE}, {any}", shown(name)));
    }
    fields.claim("name", name, taken);
    Some(name)
}

fn read_all_aliases<'a>(tables: &[Fields<'a, '_>], models: &mut Models<'a>) {
    let named = tables.iter().filter_map(|fields| fields.peek_text("name").map(|name| (fields, name)));
    for (at, (fields, name)) in named.enumerate() {
        let texts = fields.texts("aliases").unwrap_or_default();
        if texts.len() > ALIASES_MAX {
            fields.refuse("aliases", format!("has {} names, at most {ALIASES_MAX} are allowed", texts.len()));
        }
        if name == "*" && !texts.is_empty() {
            fields.refuse("aliases", "makes no sense for \"*\", which every name leads to already");
            continue;
        }
        let mut aliases = Vec::with_capacity(texts.len());
        for (path, alias) in texts {
            if !is_model_name(alias) {
                fields.report().add(path, format!("is {}, {MODEL_NAME_RULE}", shown(alias)));
            } else if let Some(first) = models.names.get(alias) {
                fields
                    .report()
                    .add(path, format!("is {}, which {first} has too; must be unique", shown(alias)));
            } else {
                models.names.insert(alias, fields.path().to_owned());
                models.aliases.insert(alias, name);
                aliases.push(alias.to_owned());
            }
        }
        if let Some(model) = models.valid.get_mut(at) {
            model.aliases = aliases;
        }
    }
}

fn read_all_fallbacks(tables: &[Fields<'_, '_>], models: &mut Models<'_>, root: &Fields<'_, '_>) {
    let named = tables.iter().filter_map(|fields| fields.peek_text("name").map(|name| (fields, name)));
    for (at, (fields, name)) in named.enumerate() {
        let fallbacks = fallbacks::read(fields, name, models);
        for (index, fallback) in fallbacks.iter().enumerate() {
            // A name that `*` serves leads to its pool, whose own fallbacks go on from there.
            let is_named = models.valid.iter().any(|model| model.name == fallback.to);
            let pool = if is_named { fallback.to.clone() } else { "*".to_owned() };
            let path = format!("{}.fallbacks[{index}].to", fields.path());
            models.fallback_edges.push((name.to_owned(), pool, path));
        }
        if let Some(model) = models.valid.get_mut(at) {
            model.fallbacks = fallbacks;
        }
    }
    fallbacks::refuse_circles(models, root);
}
