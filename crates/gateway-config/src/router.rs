//! What `router` needs of the documents.

use crate::document::{Document, Report};
use crate::secret::Secrets;
use crate::{Backend, Bounds, Consumers, LimitHeaders, Model, Pricing, Problems, Regions, Route, Strategy};
use crate::{backends, bounds, consumers, limits, models, pricing, regions, routes, settings, usage};
use std::sync::Arc;

/// What the plain variables say (for the shortest start).
#[derive(Clone, Copy, Default)]
pub struct PlainVariables<'a> {
    /// `openai_api_key`; a secret of that name, so that a document can refer to it. Empty = not given.
    pub openai_api_key: &'a str,
}

/// Backends, models, routes, consumers and bounds, with every reference resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// At least one, in document order.
    pub backends: Vec<Arc<Backend>>,
    /// At least one, in document order.
    pub models: Vec<Model>,
    /// At least one.
    pub consumers: Consumers,
    /// In the order of the document; the first that matches decides.
    pub routes: Vec<Route>,
    /// Which regions are near to which.
    pub regions: Regions,
    /// Byte caps.
    pub bounds: Bounds,
    /// Headers of the client's that limits count by, lower case: `token-limiter` gets them.
    pub counted_headers: Vec<String>,
    /// What the limiter's headers for clients are called: the router corrects the tokens consumed, once it knows them.
    pub limit_headers: LimitHeaders,
    /// Whether records name end users.
    pub user_ids: bool,
    /// Prices, where a model is served at the lowest cost; else empty, for money is not on the client's path.
    pub pricing: Pricing,
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
            Some(document) => {
                let secrets = Secrets::read(secrets, plain, document.is_built_in, &report);
                let mut config = read(&document, &secrets, &report);
                if config.needs_prices() {
                    config.take_prices(pricing::read(&document.root(&report)), &report);
                }
                config
            }
            None => {
                Secrets::read(secrets, plain, false, &report); // for what is wrong there as well
                RouterConfig::default()
            }
        };
        report.finish(config)
    }

    /// The model of this name or alias, else the `*` model.
    pub fn model(&self, name: &str) -> Option<&Model> {
        let named = |name: &str| self.models.iter().find(|model| model.name == name);
        let aliased = || self.models.iter().find(|model| model.aliases.iter().any(|alias| alias == name));
        named(name).or_else(aliased).or_else(|| named("*"))
    }

    /// Whether a model is served at the lowest cost.
    pub(crate) fn needs_prices(&self) -> bool {
        self.models.iter().any(|model| model.settings.strategy == Strategy::LowestCost)
    }

    /// Takes the prices, and reports what they leave open.
    pub(crate) fn take_prices(&mut self, pricing: Pricing, report: &Report) {
        for (index, model) in self.models.iter().enumerate() {
            if model.settings.strategy != Strategy::LowestCost {
                continue;
            }
            let path = format!("models[{index}].strategy");
            if model.name == "*" {
                let why = "does not go with \"*\", whose prices are not known before a request";
                report.add(path, format!("is \"lowest_cost\", which {why}"));
                continue;
            }
            let unpriced: Vec<&str> = (model.deployments.iter())
                .filter(|deployment| pricing.price(&model.name, &deployment.label).is_none())
                .map(|deployment| deployment.label.as_str())
                .collect();
            if !unpriced.is_empty() {
                let missing =
                    format!("needs a price for {}; write 0 for what costs nothing", unpriced.join(", "));
                report.add(path, format!("is \"lowest_cost\", which {missing}"));
            }
        }
        self.pricing = pricing;
    }
}

/// Reads the router's sections.
pub(crate) fn read(document: &Document<'_>, secrets: &Secrets, report: &Report) -> RouterConfig {
    let root = document.root(report);
    let backends = backends::read(&root, secrets);
    let defaults = settings::read_defaults(&root);
    let models = models::read(&root, &backends, &defaults);
    let consumers = consumers::read(&root, &models, document.is_built_in);
    let routes = routes::read(&root, &models, &consumers);
    let regions = regions::read(&root);
    let bounds = bounds::read(&root);
    let counted_headers = limits::counted_headers(&root);
    let limit_headers = limits::limit_headers(&root);
    let user_ids = usage::user_ids(&root);
    let pricing = Pricing::default();
    RouterConfig {
        backends: backends.valid,
        models: models.valid,
        consumers,
        routes,
        regions,
        bounds,
        counted_headers,
        limit_headers,
        user_ids,
        pricing,
    }
}
