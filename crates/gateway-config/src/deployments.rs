//! `[[models.deployments]]`: who serves a model.

use crate::Backend;
use crate::backends::Backends;
use crate::fields::{Fields, unknown_name};
use crate::names::{MODEL_NAME_RULE, is_model_name, shown};
use std::collections::HashMap;
use std::sync::Arc;

/// Keys of `[[models.deployments]]`.
pub(crate) const KEYS: &[&str] =
    &["backend", "model", "priority", "weight", "region", "capacity_tokens_per_minute", "prefill"];

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
    /// How it is told where its answer begins, if it can be; default not at all.
    pub prefill: Option<PrefillStyle>,
}

/// How a provider is told where its answer begins: to go on with an answer that another one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefillStyle {
    /// By a last message of the assistant: `last_message`.
    LastMessage,
    /// By the same, with `"prefix": true`: `marked_message`.
    MarkedMessage,
    /// By the same, with `"continue_final_message": true` beside the messages: `continue_final_message`.
    ContinueFinalMessage,
}

impl PrefillStyle {
    const ALL: [PrefillStyle; 3] =
        [PrefillStyle::LastMessage, PrefillStyle::MarkedMessage, PrefillStyle::ContinueFinalMessage];

    /// The name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            PrefillStyle::LastMessage => "last_message",
            PrefillStyle::MarkedMessage => "marked_message",
            PrefillStyle::ContinueFinalMessage => "continue_final_message",
        }
    }
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
        let prefill = read_prefill(table);
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
            prefill,
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

fn read_prefill(fields: &Fields<'_, '_>) -> Option<PrefillStyle> {
    let text = fields.text("prefill")?;
    let style = PrefillStyle::ALL.into_iter().find(|style| style.as_str() == text);
    if style.is_none() {
        let names = PrefillStyle::ALL.map(PrefillStyle::as_str);
        fields.refuse("prefill", unknown_name(text, "a way to begin an answer", names));
    }
    style
}
