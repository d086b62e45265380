//! What `router` needs of the documents.

use crate::document::{Document, Report};
use crate::secret::Secrets;
use crate::{Backend, Bounds, Consumers, Model, Problems};
use crate::{backends, bounds, consumers, models};
use std::sync::Arc;

/// What the plain variables say (for the shortest start).
#[derive(Clone, Copy, Default)]
pub struct PlainVariables<'a> {
    /// `openai_api_key`; a secret of that name, so that a document can refer to it. Empty = not given.
    pub openai_api_key: &'a str,
}

/// Backends, models, consumers and bounds, with every reference resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// At least one, in document order.
    pub backends: Vec<Arc<Backend>>,
    /// At least one, in document order.
    pub models: Vec<Model>,
    /// At least one.
    pub consumers: Consumers,
    /// Byte caps.
    pub bounds: Bounds,
}

impl RouterConfig {
    /// Reads the router's sections of the `gateway` document, and the secrets that they refer to.
    ///
    /// An empty `gateway` is the built-in document, [`crate::BUILT_IN`].
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(gateway: &str, secrets: &str, plain: PlainVariables<'_>) -> Result<Self, Problems> {
        let report = Report::default();
        let config = match Document::gateway(gateway, &report) {
            Some(document) => read(&document, secrets, plain, &report),
            None => {
                Secrets::read(secrets, plain, false, &report); // for what is wrong there as well
                RouterConfig::default()
            }
        };
        report.finish(config)
    }

    /// The model of this name, else the `*` model.
    pub fn model(&self, name: &str) -> Option<&Model> {
        let named = |name: &str| self.models.iter().find(|model| model.name == name);
        named(name).or_else(|| named("*"))
    }
}

/// Reads the router's sections.
pub(crate) fn read(
    document: &Document<'_>,
    secrets: &str,
    plain: PlainVariables<'_>,
    report: &Report,
) -> RouterConfig {
    let root = document.root(report);
    let secrets = Secrets::read(secrets, plain, document.is_built_in, report);
    let backends = backends::read(&root, &secrets);
    let models = models::read(&root, &backends);
    let consumers = consumers::read(&root, &models, document.is_built_in);
    let bounds = bounds::read(&root);
    RouterConfig { backends: backends.valid, models: models.valid, consumers, bounds }
}
