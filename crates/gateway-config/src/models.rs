//! `[[models]]`: a public name and the deployments that serve it (its pool).

use crate::Backend;
use crate::backends::Backends;
use crate::fields::{Fields, Taken, unknown_name};
use crate::names::{MODEL_NAME_RULE, is_model_name, shown};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys of `[[models]]`.
pub(crate) const KEYS: &[&str] = &["name", "deployments", "timeouts"];
/// Keys of `[[models.deployments]]`.
pub(crate) const DEPLOYMENT_KEYS: &[&str] = &["backend", "model", "priority", "weight"];
/// Keys of `[models.timeouts]`.
pub(crate) const TIMEOUT_KEYS: &[&str] = &["connect_ms", "first_byte_ms", "idle_ms"];

/// Ten minutes, the timeout of OpenAI's own clients: no one waits longer.
const TIMEOUT_MAX_MS: u64 = 600_000;
const PRIORITY_MAX: u64 = 1_000;
const WEIGHT_MAX: u64 = 1_000_000;

/// A public model name and its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What clients ask for, or `*` for every name that no other model has.
    pub name: String,
    /// At least one with a weight above zero; by priority, then document order.
    pub deployments: Vec<Deployment>,
    /// How long each attempt may take.
    pub timeouts: Timeouts,
}

/// One backend with one upstream model name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// One of the document's backends.
    pub backend: Arc<Backend>,
    /// Upstream model name; `None` passes on the name that the client asked for.
    pub model: Option<String>,
    /// Lower first; 0 to 1,000, default 0.
    pub priority: u32,
    /// Share inside its priority; 0 to 1,000,000, default 1. 0 = drained, never picked.
    pub weight: u32,
    /// `backend/upstream-model` for records and prices; `backend/*` when the upstream name is only known per request.
    pub label: String,
}

/// How long one upstream attempt may take, each 1 to 600,000 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until connected, in ms; default 5,000.
    pub connect_ms: u64,
    /// From the connection to the first byte of the answer, in ms; default 120,000.
    pub first_byte_ms: u64,
    /// Between two chunks of the answer, in ms; default 60,000.
    pub idle_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect_ms: 5_000, first_byte_ms: 120_000, idle_ms: 60_000 }
    }
}

/// The models of a document while it is read.
#[derive(Default)]
pub(crate) struct Models<'a> {
    pub valid: Vec<Model>,
    /// Every name that is written, so that a reference to a broken model is not reported as well.
    pub names: Taken<'a>,
}

impl Models<'_> {
    /// Whether a client could ask for this name.
    pub fn can_serve(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.names.contains_key("*") && is_model_name(name)
    }
}

/// Reads `[[models]]`.
pub(crate) fn read<'a>(root: &Fields<'a, '_>, backends: &Backends<'_>) -> Models<'a> {
    let mut models = Models::default();
    let tables = root.tables("models", KEYS);
    if tables.is_empty() {
        let what = if root.has("models") { "empty" } else { "missing" };
        root.refuse(
            "models",
            format!("is {what}; at least one [[models]] must say what clients may ask for"),
        );
    }
    for fields in tables {
        let name = read_name(&fields, &mut models.names);
        let deployments = read_deployments(&fields, name, backends);
        let timeouts = read_timeouts(&fields);
        if let Some(name) = name {
            models.valid.push(Model { name: name.to_owned(), deployments, timeouts });
        }
    }
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

fn read_deployments(
    fields: &Fields<'_, '_>,
    model: Option<&str>,
    backends: &Backends<'_>,
) -> Vec<Deployment> {
    let tables = fields.tables("deployments", DEPLOYMENT_KEYS);
    if tables.is_empty() {
        fields.refuse(
            "deployments",
            "is missing or empty; at least one [[models.deployments]] must serve the model",
        );
        return Vec::new();
    }
    let mut deployments = Vec::with_capacity(tables.len());
    let mut first_with: HashMap<String, String> = HashMap::new();
    let mut is_any_picked = false;
    for table in &tables {
        let backend = read_backend(table, backends);
        let upstream = read_upstream(table);
        let priority = read_u32(table, "priority", PRIORITY_MAX).unwrap_or(0);
        let weight = read_u32(table, "weight", WEIGHT_MAX);
        is_any_picked |= weight != Some(0);
        let Some(backend) = backend else { continue };
        let served = upstream.as_deref().or(model).unwrap_or("*");
        let label = format!("{}/{served}", backend.id);
        match first_with.get(&label) {
            Some(first) => table.report().add(
                table.path(),
                format!("has the same backend and model as {first}; keep one, its weight says its share"),
            ),
            None => {
                first_with.insert(label.clone(), table.path().to_owned());
            }
        }
        let weight = weight.unwrap_or(1);
        deployments.push(Deployment { backend, model: upstream, priority, weight, label });
    }
    if !is_any_picked {
        fields.refuse(
            "deployments",
            "all have weight = 0 (drained), so none could ever answer; one must have more",
        );
    }
    deployments.sort_by_key(|deployment| deployment.priority); // stable: document order within a priority
    deployments
}

fn read_backend(fields: &Fields<'_, '_>, backends: &Backends<'_>) -> Option<Arc<Backend>> {
    let id = fields.required_text("backend")?;
    let found = backends.valid.iter().find(|backend| backend.id == id);
    if found.is_none() && !backends.ids.contains(&id) {
        fields.refuse("backend", unknown_name(id, "the id of a backend", backends.ids.iter().copied()));
    }
    found.cloned()
}

fn read_upstream(fields: &Fields<'_, '_>) -> Option<String> {
    let name = fields.text("model")?;
    if !is_model_name(name) {
        let none = "leave it out to pass on the name that the client asked for";
        fields.refuse("model", format!("is {}, {MODEL_NAME_RULE}; {none}", shown(name)));
    }
    Some(name.to_owned())
}

fn read_u32(fields: &Fields<'_, '_>, key: &str, max: u64) -> Option<u32> {
    fields.integer(key, 0..=max).and_then(|number| u32::try_from(number).ok())
}

fn read_timeouts(fields: &Fields<'_, '_>) -> Timeouts {
    let defaults = Timeouts::default();
    let Some(table) = fields.table("timeouts", TIMEOUT_KEYS) else { return defaults };
    let ms = |key, default| table.integer(key, 1..=TIMEOUT_MAX_MS).unwrap_or(default);
    Timeouts {
        connect_ms: ms("connect_ms", defaults.connect_ms),
        first_byte_ms: ms("first_byte_ms", defaults.first_byte_ms),
        idle_ms: ms("idle_ms", defaults.idle_ms),
    }
}
