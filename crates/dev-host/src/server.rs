//! The listening side. Decides what is answered without a component (well-known paths, no route) and what the terminal
//! says at the start. Sets no TCP option on what it accepts unless told to: Spin sets none, so Nagle's algorithm is on,
//! and an answer whose body leaves after its head waits for the client's delayed acknowledgement, some 44 ms.

use crate::app::{App, Body, empty};
use crate::stats;
use anyhow::Context as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use spin_app::inbound_headers::strip_forbidden;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

/// Paths that the host answers itself.
const WELL_KNOWN_PREFIX: &str = "/.well-known/spin/";

/// Listens at `address` and says so.
pub async fn bind(app: &App, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let _ = app.address.set(address);
    println!("\nServing http://{address}");
    println!("Available Routes:");
    for route in app.routes.iter() {
        println!("  {}: http://{address}{route}", route.component);
    }
    Ok(listener)
}

/// Answers requests until accepting fails. `tcp_nodelay` turns Nagle's algorithm off, which Spin cannot.
pub async fn serve(app: Arc<App>, listener: TcpListener, tcp_nodelay: bool) -> anyhow::Result<()> {
    loop {
        let (stream, client) = listener.accept().await?;
        if tcp_nodelay {
            stream.set_nodelay(true)?;
        }
        tokio::spawn(serve_connection(app.clone(), stream, client));
    }
}

async fn serve_connection(app: Arc<App>, stream: TcpStream, client: SocketAddr) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { answer(&app, request, client).await }
    });
    // An error is a connection that ended early or a request that cannot be answered; Spin closes it, too.
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    app: &App,
    mut request: Request<Incoming>,
    client: SocketAddr,
) -> anyhow::Result<Response<Body>> {
    strip_forbidden(request.headers_mut());
    let uri = request.uri().clone();
    let path = uri.path();
    if let Some(well_known) = path.strip_prefix(WELL_KNOWN_PREFIX) {
        return Ok(match well_known {
            "health" => Response::new(full("OK")),
            "info" => info(app)?,
            _ => not_found(),
        });
    }
    if path == stats::PATH
        && let Some(counts) = stats::counts()
    {
        return Ok(json(counts.to_string()));
    }
    match app.routes.find(path) {
        Some(route) => {
            let request = request.map(|body| body.map_err(body_error));
            app.call(request, &route, client).await
        }
        None => Ok(not_found()),
    }
}

fn body_error(error: hyper::Error) -> ErrorCode {
    if error.is_timeout() { ErrorCode::HttpResponseTimeout } else { ErrorCode::HttpProtocolError }
}

fn info(app: &App) -> anyhow::Result<Response<Body>> {
    let mut info = serde_json::Map::new();
    info.insert("name".to_owned(), app.name.clone().into());
    if !app.version.is_empty() {
        info.insert("version".to_owned(), app.version.clone().into());
    }
    Ok(json(serde_json::to_string_pretty(&info)?))
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}
