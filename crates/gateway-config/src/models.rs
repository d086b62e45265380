//! `[[models]]`: a public name and the deployments that serve it (its pool).

use crate::Backend;
use std::sync::Arc;

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
