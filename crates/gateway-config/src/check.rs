//! The whole document at once: every component's view and what must fit between them.

use crate::document::{Document, Report};
use crate::fields::path_of;
use crate::names::{did_you_mean, is_model_name};
use crate::router::{PlainVariables, RouterConfig};
use crate::secret::Secrets;
use crate::{CounterStore, LimiterConfig, cache, limits, router, usage};
use crate::{Problems, UsageConfig};
use http::uri::Scheme;

/// Plain-http origins that an app can be allowed to call: its manifest lists any https host, and one variable for
/// each of these.
pub const PLAIN_HTTP_ORIGINS_MAX: usize = 4;

/// What a valid document amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether the document says nothing, so that the built-in one applies.
    pub is_built_in: bool,
    /// Backend ids and origins (`https://host:port`), in document order.
    pub backends: Vec<(String, String)>,
    /// Distinct plain-http origins (`http://host:port`), in document order; at most [`PLAIN_HTTP_ORIGINS_MAX`].
    pub plain_http_origins: Vec<String>,
    /// Public model names and the labels of their deployments.
    pub models: Vec<(String, Vec<String>)>,
    /// Consumer ids.
    pub consumers: Vec<String>,
    /// Limit names.
    pub limits: Vec<String>,
    /// Names that have a price, sorted.
    pub prices: Vec<String>,
    /// Whether the limits' counters are in a Redis of their own, which a variable names.
    pub is_limiter_on_redis: bool,
    /// Whether the cache is on.
    pub is_cache_enabled: bool,
    /// What is allowed but perhaps not meant, one sentence each.
    pub notes: Vec<String>,
}

/// Checks everything at once.
///
/// # Errors
/// Everything that is wrong, each thing once. Whether two sections fit each other is not said of one that is wrong in
/// itself.
pub fn check(gateway: &str, secrets: &str, plain: PlainVariables<'_>) -> Result<Summary, Problems> {
    let report = Report::default();
    let Some(document) = Document::gateway(gateway, &report) else {
        Secrets::read(secrets, plain, false, &report);
        return report.finish(Summary::default());
    };
    let root = document.root(&report);
    let secrets = Secrets::read(secrets, plain, document.is_built_in, &report);
    let mut router = router::read(&document, &secrets, &report);
    let is_router_sound = report.len() == 0;
    let limiter = limits::read(&root);
    let is_limiter_sound = report.len() == 0;
    let cache = cache::read(&root);
    let before_usage = report.len();
    let usage = usage::read(&root);
    if is_router_sound {
        refuse_prices_without_use(&usage, &router, &report);
        if router.needs_prices() {
            router.take_prices(usage.pricing.clone(), &report);
        }
    }
    if is_limiter_sound {
        let pricing = (report.len() == before_usage).then_some(&usage.pricing);
        limits::refuse_what_does_not_fit(&limiter, &router, pricing, &report);
    }
    let plain_http_origins = plain_http_origins(&router);
    if plain_http_origins.len() > PLAIN_HTTP_ORIGINS_MAX {
        report.add(
            "backends",
            format!(
                "have {} different plain-http origins ({}); an app can call {PLAIN_HTTP_ORIGINS_MAX}, and any https",
                plain_http_origins.len(),
                plain_http_origins.join(", ")
            ),
        );
    }
    let notes = notes(&router, &limiter, &usage);
    let summary = Summary {
        is_built_in: document.is_built_in,
        backends: router.backends.iter().map(|b| (b.id.clone(), b.base_url.origin())).collect(),
        plain_http_origins,
        models: router
            .models
            .iter()
            .map(|m| (m.name.clone(), m.deployments.iter().map(|d| d.label.clone()).collect()))
            .collect(),
        consumers: router.consumers.iter().map(|consumer| consumer.id.clone()).collect(),
        limits: limiter.limits.iter().map(|limit| limit.name.clone()).collect(),
        prices: usage.pricing.names().into_iter().map(str::to_owned).collect(),
        is_limiter_on_redis: limiter.store == CounterStore::Redis,
        is_cache_enabled: cache.enabled,
        notes,
    };
    report.finish(summary)
}

/// A price for a name that no request can have is a typing error, and what it was meant for would cost nothing.
fn refuse_prices_without_use(usage: &UsageConfig, router: &RouterConfig, report: &Report) {
    let deployments = || router.models.iter().flat_map(|model| &model.deployments);
    let mut used: Vec<&str> = router.models.iter().map(|model| model.name.as_str()).collect();
    used.extend(deployments().map(|deployment| deployment.label.as_str()));
    used.extend(deployments().filter_map(|deployment| deployment.model.as_deref()));
    used.retain(|name| *name != "*");
    used.sort_unstable();
    used.dedup();
    let is_any_model_served = router.model("*").is_some();
    for name in usage.pricing.names() {
        let could_apply = used.contains(&name) || is_any_model_served && is_model_name(name);
        if !could_apply {
            let hint = did_you_mean(name, used.iter().copied());
            let message = "is the name of no model, upstream model or deployment (backend/upstream-model)";
            report.add(path_of("pricing", name), format!("{message}, so it would never apply{hint}"));
        }
    }
}

fn plain_http_origins(router: &RouterConfig) -> Vec<String> {
    let mut origins: Vec<String> = Vec::new();
    for backend in router.backends.iter().filter(|backend| *backend.base_url.scheme() == Scheme::HTTP) {
        let origin = backend.base_url.origin();
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}

fn notes(router: &RouterConfig, limiter: &LimiterConfig, usage: &UsageConfig) -> Vec<String> {
    let mut notes = Vec::new();
    if limiter.store == CounterStore::Redis {
        let message = "the limits' counters are in a Redis of their own: set the variable limiter_redis to \
                       redis://host:port, and limiter_redis_password if it has a password";
        notes.push(message.to_owned());
    }
    for backend in &router.backends {
        let is_used = |backend_id: &str| {
            router
                .models
                .iter()
                .flat_map(|m| &m.deployments)
                .any(|d| d.backend.id == backend_id && d.weight > 0)
        };
        if !is_used(&backend.id) {
            notes.push(format!("backend {:?} is called by no deployment with a weight above 0", backend.id));
        }
        let host = backend.base_url.authority().host();
        let is_loopback = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        if backend.api_key.is_some() && *backend.base_url.scheme() == Scheme::HTTP && !is_loopback {
            notes.push(format!("backend {:?} gets its key over plain http, readable on the way", backend.id));
        }
    }
    for model in router.models.iter().filter(|model| model.name != "*") {
        for deployment in &model.deployments {
            if !usage.pricing.is_empty() && usage.pricing.price(&model.name, &deployment.label).is_none() {
                notes.push(format!(
                    "deployment {:?} has no price, so its records have no cost",
                    deployment.label
                ));
            }
        }
    }
    notes
}
