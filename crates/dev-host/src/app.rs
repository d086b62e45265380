//! A loaded application. Decides how its parts are put together from the manifest, the runtime config and the options,
//! and how a request gets to a component, from outside or from another component.

use crate::component::Component;
use crate::engine::Runtime;
use crate::handler::InstanceFactory;
use crate::host::llm::Models;
use crate::kv::Backends;
use crate::logs::Logs;
use crate::outbound::Clients;
use crate::stats;
use crate::terminal::report;
use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use spin_app::allowed_hosts::AllowedHosts;
use spin_app::blocked_networks::BlockedNetworks;
use spin_app::inbound_headers::append_spin_headers;
use spin_app::manifest::{self, Manifest};
use spin_app::routes::{RouteMatch, Routes};
use spin_app::runtime_config::{RuntimeConfig, SqliteDatabase};
use spin_app::variables::{ApplicationVariables, Provider};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wasmtime_wasi_http::handler::{self, ProxyHandler};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

/// The body of every request and response that passes through the host.
pub type Body = UnsyncBoxBody<Bytes, ErrorCode>;

/// The file of the database `default`, in the state directory.
const DEFAULT_DATABASE_FILE: &str = "sqlite_db.db";

/// Where an application's state goes by default, beside its manifest.
const DEFAULT_STATE_DIRECTORY: &str = ".spin";

/// What the command line says about an application.
#[derive(Debug)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// `--runtime-config-file`.
    pub runtime_config: Option<PathBuf>,
    /// `--variable`.
    pub variables: Vec<String>,
    /// `--state-dir`; an empty string unsets it.
    pub state_dir: Option<String>,
    /// `--log-dir`; an empty string unsets it.
    pub log_dir: Option<String>,
    /// `--truncate-logs`.
    pub truncate_logs: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--disable-cache`.
    pub disable_cache: bool,
    /// `--resolve`: addresses by `host:port`.
    pub resolved: HashMap<String, SocketAddr>,
    /// `--max-instance-concurrent-reuse-count`; at least 1.
    pub max_concurrent_requests: usize,
}

/// An application that can answer requests.
pub struct App {
    /// `application.name`.
    pub name: String,
    /// `application.version`.
    pub version: String,
    /// The public routes.
    pub routes: Routes,
    /// The outbound clients.
    pub clients: Clients,
    /// Addresses that guests may not reach.
    pub blocked: Arc<BlockedNetworks>,
    /// Where the application listens, once it does.
    pub address: OnceLock<SocketAddr>,
    /// Those with a trigger; the others cannot be reached.
    components: HashMap<String, ProxyHandler<InstanceFactory>>,
}

impl App {
    /// Loads the application; compiles its components unless they are in the cache.
    pub fn load(options: &Options) -> anyhow::Result<Arc<Self>> {
        let manifest = Manifest::load(&options.manifest)?;
        let config = RuntimeConfig::load(options.runtime_config.as_deref())?;
        let assembly = Assembly::new(&manifest, config, options)?;
        let (routes, warnings) = Routes::build(&manifest.triggers)?;
        for warning in warnings {
            eprintln!("Warning: {warning}");
        }
        let runtime = Runtime::new(!options.disable_cache)?;
        let mut components = HashMap::new();
        for trigger in &manifest.triggers {
            let id = trigger.component.as_str();
            if let Some(declared) = manifest.components.get(id)
                && !components.contains_key(id)
            {
                let pre = runtime.load(id, &declared.source)?;
                let component = Arc::new(assembly.component(id, declared)?);
                let at_once = options.max_concurrent_requests;
                let factory = InstanceFactory::new(runtime.engine.clone(), pre, component, at_once);
                components.insert(id.to_owned(), ProxyHandler::new(factory));
            }
        }
        let app = Arc::new(Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            routes,
            clients: Clients::new(
                assembly.config.is_connection_pooling_on,
                assembly.blocked.clone(),
                options.resolved.clone(),
            )?,
            blocked: assembly.blocked,
            address: OnceLock::new(),
            components,
        });
        for component in app.components.values() {
            component.state().attach(Arc::downgrade(&app));
        }
        Ok(app)
    }

    /// Has a component answer `request`. A component that fails answers 500 with an empty body; an error means that
    /// there is no such component or that the request cannot be given to any.
    pub async fn call<B>(
        &self,
        mut request: Request<B>,
        route: &RouteMatch<'_>,
        client: SocketAddr,
    ) -> anyhow::Result<Response<Body>>
    where
        B: http_body::Body<Data = Bytes, Error = ErrorCode> + Send + 'static,
    {
        stats::call(route.component, request.uri().path());
        let uri = absolute_uri(&request)?;
        *request.uri_mut() = uri;
        let component = self
            .components
            .get(route.component)
            .ok_or_else(|| anyhow!("unknown routing destination '{}'", route.component))?;
        match answer(component, request, route, client).await {
            Ok(response) => Ok(response),
            Err(error) => {
                report(format_args!("Error processing request in {:?}: {error:?}", route.component));
                let mut response = Response::new(empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(response)
            }
        }
    }
}

async fn answer<B>(
    component: &ProxyHandler<InstanceFactory>,
    mut request: Request<B>,
    route: &RouteMatch<'_>,
    client: SocketAddr,
) -> anyhow::Result<Response<Body>>
where
    B: http_body::Body<Data = Bytes, Error = ErrorCode> + Send + 'static,
{
    let uri = request.uri().clone();
    append_spin_headers(request.headers_mut(), &uri, route, client)?;
    let request = request.map(|body| body.map_err(handler::ErrorCode::from).boxed_unsync());
    let response = component.handle((), request).await?;
    Ok(response.map(|body| {
        body.map_err(|error| match error.downcast::<ErrorCode>() {
            Ok(code) => code,
            Err(error) => ErrorCode::InternalError(Some(error.to_string())),
        })
        .boxed_unsync()
    }))
}

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The request's URI with scheme and authority, the latter from the `host` header or the URI; both must agree.
fn absolute_uri<B>(request: &Request<B>) -> anyhow::Result<Uri> {
    let in_header = match request.headers().get(HOST) {
        Some(host) => {
            let host = host.to_str().context("'Host' header is not valid UTF-8")?;
            let host: Authority = host.parse().context("'Host' header contains an invalid authority")?;
            Some(host)
        }
        None => None,
    };
    let mut parts = request.uri().clone().into_parts();
    let authority = match (in_header, parts.authority) {
        (None, None) => bail!("no 'Host' header present in request"),
        (Some(header), Some(uri)) if header != uri => {
            bail!("authority in 'Host' header does not match authority in URI")
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
    };
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    Ok(Uri::from_parts(parts)?)
}

/// What the components are put together from.
struct Assembly<'a> {
    manifest: &'a Manifest,
    config: RuntimeConfig,
    variables: ApplicationVariables,
    stores: Backends,
    databases: HashMap<String, SqliteDatabase>,
    models: Arc<Models>,
    logs: Logs,
    blocked: Arc<BlockedNetworks>,
}

impl<'a> Assembly<'a> {
    fn new(manifest: &'a Manifest, mut config: RuntimeConfig, options: &Options) -> anyhow::Result<Self> {
        let beside_manifest = options.manifest.parent().unwrap_or_else(|| Path::new("."));
        let state_dir = directory(&options.state_dir, &config.state_dir)?
            .unwrap_or_else(|| Some(beside_manifest.join(DEFAULT_STATE_DIRECTORY)));
        let log_dir = directory(&options.log_dir, &config.log_dir)?
            .unwrap_or_else(|| state_dir.as_ref().map(|state| state.join("logs")));
        let logs = Logs { directory: log_dir, is_followed: !options.quiet };
        logs.prepare(options.truncate_logs)?;

        let mut providers = vec![spin_app::variables::from_arguments(&options.variables)?];
        providers.append(&mut config.variable_providers);
        providers.push(Provider::environment(None, Some(Path::new(".env")))?);

        let models_in = match &state_dir {
            Some(state) => state.clone(),
            None => std::env::current_dir()?,
        };
        Ok(Self {
            manifest,
            variables: ApplicationVariables::resolve(manifest, &providers)?,
            stores: Backends::new(&config.key_value_stores, state_dir.as_deref())?,
            databases: databases(&config, state_dir.as_deref())?,
            models: Arc::new(Models::new(models_in.join("ai-models"))),
            logs,
            blocked: Arc::new(std::mem::take(&mut config.blocked_networks)),
            config,
        })
    }

    fn component(&self, id: &str, declared: &manifest::Component) -> anyhow::Result<Component> {
        let context = || format!("component {id:?}");
        let databases = declared
            .sqlite_databases
            .iter()
            .map(|label| match self.databases.get(label) {
                Some(database) => Ok((label.clone(), database.clone())),
                None => bail!(
                    "component {id:?}: unknown sqlite_databases label {label:?}: the runtime config has no \
                     [sqlite_database.{label}]"
                ),
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Component {
            id: id.to_owned(),
            variables: self.variables.component(id, &declared.variables)?,
            allowed_hosts: self.allowed_hosts(id, &declared.allowed_outbound_hosts)?,
            stores: self.stores.for_component(&declared.key_value_stores).with_context(context)?,
            databases,
            ai_models: declared.ai_models.iter().cloned().collect(),
            models: self.models.clone(),
            environment: declared.environment.clone(),
            stdout: self.logs.stream(id, "stdout")?,
            stderr: self.logs.stream(id, "stderr")?,
        })
    }

    fn allowed_hosts(&self, id: &str, entries: &[String]) -> anyhow::Result<Option<AllowedHosts>> {
        let default_of = |name: &str| self.manifest.variables.get(name)?.default.as_deref();
        AllowedHosts::validate(entries, default_of)
            .with_context(|| format!("component {id:?}: allowed_outbound_hosts"))?;
        let ids = self.manifest.components.keys().map(String::as_str);
        match AllowedHosts::resolve(entries, &self.variables, ids) {
            Ok(hosts) => Ok(Some(hosts)),
            // Not fatal in Spin either: there it shows as every call being denied.
            Err(error) => {
                eprintln!(
                    "Warning: component {id:?}: every outbound request will be denied, because of \
                     allowed_outbound_hosts: {error:#}"
                );
                Ok(None)
            }
        }
    }
}

/// The directory that the command line or else the runtime config names; `Some(None)` if it is unset by an empty name.
fn directory(
    argument: &Option<String>,
    configured: &Option<String>,
) -> anyhow::Result<Option<Option<PathBuf>>> {
    match argument.as_deref().or(configured.as_deref()) {
        None => Ok(None),
        Some("") => Ok(Some(None)),
        Some(path) => Ok(Some(Some(std::path::absolute(path)?))),
    }
}

fn databases(
    config: &RuntimeConfig,
    state_dir: Option<&Path>,
) -> anyhow::Result<HashMap<String, SqliteDatabase>> {
    let mut databases: HashMap<_, _> =
        config.sqlite_databases.iter().map(|(label, database)| (label.clone(), database.clone())).collect();
    databases.entry("default".to_owned()).or_insert_with(|| SqliteDatabase {
        path: state_dir.map(|state| state.join(DEFAULT_DATABASE_FILE)),
        is_attach_allowed: false,
    });
    for database in databases.values() {
        if let Some(directory) = database.path.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
    }
    Ok(databases)
}
