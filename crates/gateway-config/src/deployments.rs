//! `[[models.deployments]]`: who serves a model.

use crate::Backend;
use crate::backends::Backends;
use crate::fields::{Fields, unknown_name};
use crate::names::{MODEL_NAME_RULE, is_model_name, shown};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys of `[[models.deployments]]`.
pub(crate) const KEYS: &[&str] =
    &["backend", "model", "priority", "weight", "region", "capacity_tokens_per_minute", "supports"];

const PRIORITY_MAX: u64 = 1_000;
const WEIGHT_MAX: u64 = 1_000_000;
/// Far above any provider's rate, far below where sums could overflow.
const CAPACITY_MAX: u64 = 1_000_000_000_000;

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
    /// Where it is; a name.
    pub region: Option<String>,
    /// Tokens per minute, prompt and completion together, that one instance of the router sends it; 1 to 10^12,
    /// default unbounded.
    pub capacity_tokens_per_minute: Option<u64>,
    /// Whether it goes on from a last message of the assistant rather than answer it; default false.
    pub supports_prefill: bool,
}

/// Reads the deployments of one model.
pub(crate) fn read(fields: &Fields<'_, '_>, model: Option<&str>, backends: &Backends<'_>) -> Vec<Deployment> {
    let tables = fields.tables("deployments", KEYS);
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
        let region = table.name("region");
        let capacity_tokens_per_minute = table.integer("capacity_tokens_per_minute", 1..=CAPACITY_MAX);
        let supports_prefill = read_supports(table);
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
        deployments.push(Deployment {
            backend,
            model: upstream,
            priority,
            weight,
            label,
            region,
            capacity_tokens_per_minute,
            supports_prefill,
        });
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

/// `supports = ["prefill"]`.
fn read_supports(fields: &Fields<'_, '_>) -> bool {
    let mut supports_prefill = false;
    for (path, text) in fields.texts("supports").unwrap_or_default() {
        match text {
            "prefill" => supports_prefill = true,
            other => fields.report().add(path, unknown_name(other, "something to support", ["prefill"])),
        }
    }
    supports_prefill
}
