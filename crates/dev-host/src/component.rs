//! What one component has: its settings, resolved, and shared by all its instances.

use crate::host::llm::Models;
use crate::kv::Stores;
use crate::logs::LogStream;
use crate::terminal::report;
use spin_app::allowed_hosts::AllowedHosts;
use spin_app::runtime_config::SqliteDatabase;
use spin_app::variables::ComponentVariables;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// A component's settings.
#[derive(Debug)]
pub struct Component {
    /// The id in the manifest.
    pub id: String,
    /// What `spin:variables` returns.
    pub variables: ComponentVariables,
    /// `None` if an entry could not be resolved, which denies everything.
    pub allowed_hosts: Option<AllowedHosts>,
    /// The declared key-value stores.
    pub stores: Stores,
    /// The declared SQLite databases by label.
    pub databases: HashMap<String, SqliteDatabase>,
    /// The declared models.
    pub ai_models: HashSet<String>,
    /// The models of the application.
    pub models: Arc<Models>,
    /// The WASI environment.
    pub environment: BTreeMap<String, String>,
    /// Where standard output goes.
    pub stdout: LogStream,
    /// Where standard error goes.
    pub stderr: LogStream,
}

impl Component {
    /// Whether the component may reach `url`; without a scheme it is taken to have `default_scheme`. Says so when not.
    pub fn is_outbound_allowed(&self, url: &str, default_scheme: &str) -> bool {
        let is_allowed = self.allowed_hosts.as_ref().is_some_and(|hosts| hosts.allows(url, default_scheme));
        if !is_allowed {
            report(format_args!(
                "component {:?} may not reach {url:?}: its allowed_outbound_hosts do not allow it",
                self.id
            ));
        }
        is_allowed
    }

    /// Whether the component may call its own application by a relative URL.
    pub fn is_self_request_allowed(&self) -> bool {
        self.allowed_hosts.as_ref().is_some_and(AllowedHosts::allows_itself)
    }
}
