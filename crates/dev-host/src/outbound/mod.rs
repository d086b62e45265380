//! Requests that guests send. Decides whether a request is allowed, and whether it goes to another component of the
//! application (in process), to the application itself or to the network.

mod body;
mod client;

pub use client::Clients;

use crate::app::{App, Body};
use crate::component::Component;
use crate::stats;
use body::TimedBody;
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use spin_app::chaining::{CHAINED_CLIENT, chaining_target};
use spin_app::routes::RouteMatch;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::format_err;
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{RequestOptions, WasiHttpHooks};

/// What a guest gets that sets no timeouts: Spin's default for each of them.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The host of a request to the application itself, for guests that cannot send a relative URL.
const SELF_HOST: &str = "self.alt";

/// The outbound side of one instance.
pub struct Outbound {
    app: Arc<App>,
    component: Arc<Component>,
}

impl Outbound {
    /// The outbound side of an instance of `component`.
    pub fn new(app: Arc<App>, component: Arc<Component>) -> Self {
        Self { app, component }
    }
}

type IoResult = Box<dyn Future<Output = Result<(), ErrorCode>> + Send>;

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<UnsyncBoxBody<Bytes, ErrorCode>>,
        options: Option<RequestOptions>,
        // How the guest fared with the response; there is nothing to do about it, as in Spin.
        _: IoResult,
    ) -> Box<dyn Future<Output = Result<(Response<Body>, IoResult), TrappableError<ErrorCode>>> + Send> {
        let (app, component) = (self.app.clone(), self.component.clone());
        Box::new(async move {
            let timeouts = Timeouts::new(options.unwrap_or_default());
            let response = send(&app, &component, request, &timeouts).await?;
            let response = response.map(|body| TimedBody::new(body, timeouts.between_bytes).boxed_unsync());
            Ok((response, Box::new(ready(Ok(()))) as IoResult))
        })
    }
}

/// How long a request may take where.
struct Timeouts {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Timeouts {
    fn new(options: RequestOptions) -> Self {
        Self {
            connect: options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT),
            first_byte: options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT),
            between_bytes: options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT),
        }
    }
}

async fn send(
    app: &App,
    component: &Component,
    mut request: Request<Body>,
    timeouts: &Timeouts,
) -> Result<Response<Body>, TrappableError<ErrorCode>> {
    let is_self_request =
        request.uri().authority().is_none_or(|authority| matches!(authority.host(), "" | SELF_HOST));
    let is_allowed = if is_self_request {
        component.is_self_request_allowed()
    } else {
        component.is_outbound_allowed(&request.uri().to_string(), "https")
    };
    if !is_allowed {
        return Err(ErrorCode::HttpRequestDenied.into());
    }
    if is_self_request {
        *request.uri_mut() = own_uri(app, request.uri())?;
    }
    // The client adds the header again where the protocol wants it. A chained component never sees one.
    request.headers_mut().remove(HOST);

    let uri = request.uri().clone();
    match chaining_target(&uri) {
        // What fails here traps the caller, as in Spin: a target that does not exist, foremost.
        Some(target) => app
            .call(request, &RouteMatch::chained(target, uri.path()), CHAINED_CLIENT)
            .await
            .map_err(|error| TrappableError::trap(format_err!("{error:#}"))),
        None => {
            stats::outbound();
            Ok(app.clients.send(request, timeouts.connect, timeouts.first_byte).await?)
        }
    }
}

fn own_uri(app: &App, uri: &Uri) -> Result<Uri, ErrorCode> {
    let invalid = || ErrorCode::HttpRequestUriInvalid;
    let address = app.address.get().ok_or_else(invalid)?;
    let authority: Authority = address.to_string().parse().map_err(|_| invalid())?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).map_err(|_| invalid())
}
