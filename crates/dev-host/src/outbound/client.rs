//! The HTTP client behind the guests' requests: one pool for the application. Decides protocols (plain HTTP/1.1; over
//! TLS what ALPN settles), timeouts and which error a guest gets. Sets no TCP option, as Spin sets none.

use crate::app::Body;
use crate::terminal::report;
use anyhow::Context as _;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use spin_app::blocked_networks::BlockedNetworks;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::p3::bindings::http::types::{DnsErrorPayload, ErrorCode};

/// Further root certificates, in PEM: where OpenSSL and its like look for them too.
const EXTRA_ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// The clients of the application.
pub struct Clients {
    plain: Client<PlainConnector, Body>,
    tls: Client<TlsConnectorService, Body>,
}

tokio::task_local! {
    /// How long a new connection may take. The pooling client has no other way to hand it to its connector.
    static CONNECT_TIMEOUT: Duration;
}

impl Clients {
    /// Clients that keep idle connections if `is_pooling_on`, avoid the `blocked` addresses, and connect to the address in
    /// `resolved`, by `host:port`, without asking the resolver.
    pub fn new(
        is_pooling_on: bool,
        blocked: Arc<BlockedNetworks>,
        resolved: HashMap<String, SocketAddr>,
    ) -> anyhow::Result<Self> {
        let mut builder = Client::builder(TokioExecutor::new());
        if !is_pooling_on {
            builder.pool_max_idle_per_host(0);
        }
        let plain = PlainConnector { blocked, resolved: Arc::new(resolved) };
        let tls = TlsConnectorService {
            plain: plain.clone(),
            connector: TlsConnector::from(Arc::new(tls_config()?)),
        };
        Ok(Self { plain: builder.build(plain), tls: builder.build(tls) })
    }

    /// Sends `request` and waits for the head of the response.
    pub async fn send(
        &self,
        request: Request<Body>,
        connect_timeout: Duration,
        first_byte_timeout: Duration,
    ) -> Result<Response<Body>, ErrorCode> {
        let is_tls = request.uri().scheme() == Some(&http::uri::Scheme::HTTPS);
        let response = if is_tls { self.tls.request(request) } else { self.plain.request(request) };
        let response = timeout(first_byte_timeout, CONNECT_TIMEOUT.scope(connect_timeout, response))
            .await
            .map_err(|_| ErrorCode::ConnectionReadTimeout)?
            .map_err(|error| error_code(&error))?;
        Ok(response.map(|body| body.map_err(|error| error_code(&error)).boxed_unsync()))
    }
}

/// The connector's own error if it was one, else the catch-all that Spin uses.
fn error_code(error: &(dyn std::error::Error + 'static)) -> ErrorCode {
    match error.source().and_then(|cause| cause.downcast_ref::<ErrorCode>()) {
        Some(code) => code.clone(),
        None => {
            report(format_args!("outbound HTTP: {}", Chain(error)));
            ErrorCode::HttpProtocolError
        }
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

fn tls_config() -> anyhow::Result<ClientConfig> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    if let Some(path) = std::env::var_os(EXTRA_ROOTS_VARIABLE) {
        let certificates = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read {EXTRA_ROOTS_VARIABLE} {}", path.display()))?;
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn dns_error(rcode: &str) -> ErrorCode {
    ErrorCode::DnsError(DnsErrorPayload { rcode: Some(rcode.to_owned()), info_code: Some(0) })
}

#[derive(Clone)]
struct PlainConnector {
    blocked: Arc<BlockedNetworks>,
    resolved: Arc<HashMap<String, SocketAddr>>,
}

impl PlainConnector {
    async fn connect(&self, uri: &Uri, default_port: u16) -> Result<TcpStream, ErrorCode> {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(super::DEFAULT_TIMEOUT);
        let authority = uri.authority().ok_or(ErrorCode::HttpRequestUriInvalid)?;
        let host_and_port = match authority.port() {
            Some(_) => authority.as_str().to_owned(),
            None => format!("{authority}:{default_port}"),
        };
        let mut addresses: Vec<_> = match self.resolved.get(&host_and_port) {
            Some(address) => vec![*address],
            None => tokio::net::lookup_host(&host_and_port)
                .await
                .map_err(|_| dns_error("address not available"))?
                .collect(),
        };
        let found = addresses.len();
        addresses.retain(|address| !self.blocked.contains(address.ip()));
        if addresses.is_empty() && found > 0 {
            return Err(ErrorCode::DestinationIpProhibited);
        }
        timeout(limit, TcpStream::connect(&*addresses))
            .await
            .map_err(|_| ErrorCode::ConnectionTimeout)?
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrNotAvailable => dns_error("address not available"),
                _ => ErrorCode::ConnectionRefused,
            })
    }
}

type Connecting<S> = Pin<Box<dyn Future<Output = Result<TokioIo<S>, ErrorCode>> + Send>>;

impl tower_service::Service<Uri> for PlainConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ErrorCode;
    type Future = Connecting<TcpStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ErrorCode>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(TokioIo::new(connector.connect(&uri, 80).await?)) })
    }
}

#[derive(Clone)]
struct TlsConnectorService {
    plain: PlainConnector,
    connector: TlsConnector,
}

impl tower_service::Service<Uri> for TlsConnectorService {
    type Response = TokioIo<Tls>;
    type Error = ErrorCode;
    type Future = Connecting<Tls>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ErrorCode>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let stream = this.plain.connect(&uri, 443).await?;
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host).map_err(|_| dns_error("invalid dns name"))?.to_owned();
            let stream = this.connector.connect(name, stream).await.map_err(|error| {
                report(format_args!("outbound HTTP: TLS with {host}: {error}"));
                ErrorCode::TlsProtocolError
            })?;
            Ok(TokioIo::new(Tls(stream)))
        })
    }
}

/// A TLS stream that tells the pool which protocol was settled.
struct Tls(TlsStream<TcpStream>);

impl Connection for Tls {
    fn connected(&self) -> Connected {
        let (stream, session) = self.0.get_ref();
        let connected = stream.connected();
        if session.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
