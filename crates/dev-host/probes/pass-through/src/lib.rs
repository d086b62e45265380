//! The bare pass-through: method, path, query, headers and body go to the origin named by the variable
//! `upstream`, and its response is handed back as it is.
//!
//! It uses raw `wasi:http` on purpose. The body streams are handed on as handles, so no byte of a body
//! enters the guest: what is left is the platform's own cost per hop, the floor of our benchmarks.
//! Nothing is decided here, logged or retried; a failed send is the host's 500.

use std::sync::OnceLock;

use http::Uri;
use spin_sdk::variables;
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Headers, Method, Request, Response, Scheme};
use spin_sdk::wasip3::wit_future;

spin_sdk::wasip3::http::service::export!(PassThrough);

struct PassThrough;

impl Guest for PassThrough {
    async fn handle(incoming: Request) -> Result<Response, ErrorCode> {
        let origin = origin().await?;
        client::send(forwarded(incoming, origin)?).await
    }
}

struct Origin {
    scheme: Scheme,
    authority: String,
}

/// The origin of `upstream`, resolved once per instance.
async fn origin() -> Result<&'static Origin, ErrorCode> {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    if let Some(origin) = ORIGIN.get() {
        return Ok(origin);
    }
    let upstream = variables::get("upstream").await.map_err(internal)?;
    let uri: Uri = upstream.parse().map_err(internal)?;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        other => Scheme::Other(other.unwrap_or_default().to_owned()),
    };
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    Ok(ORIGIN.get_or_init(|| Origin { scheme, authority }))
}

fn forwarded(incoming: Request, origin: &Origin) -> Result<Request, ErrorCode> {
    let method = incoming.get_method();
    let path_and_query = incoming.get_path_with_query();
    let received = incoming.get_headers();
    let has_body = announces_body(&method, &received);
    let headers = end_to_end(received)?;

    // The sender of the request learns nothing about how we consumed it: the default `Ok` is written on drop.
    let (_, consumed) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(incoming, consumed);
    let (outgoing, _sent) = Request::new(headers, has_body.then_some(body), trailers, None);
    outgoing.set_method(&method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    outgoing.set_scheme(Some(&origin.scheme)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    outgoing.set_authority(Some(&origin.authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    outgoing.set_path_with_query(path_and_query.as_deref()).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    Ok(outgoing)
}

/// Without this, a GET would go out with `transfer-encoding: chunked` and an empty body
/// (a request has a body exactly if one of these two headers is present, RFC 9112 §6).
fn announces_body(method: &Method, headers: &Headers) -> bool {
    !matches!(method, Method::Get | Method::Head)
        || headers.has("content-length")
        || headers.has("transfer-encoding")
}

/// Everything but the hop-by-hop fields (RFC 9110 §7.6.1), `host` (the authority carries it), and what the
/// host appended for this component alone.
fn end_to_end(headers: Headers) -> Result<Fields, ErrorCode> {
    let kept: Vec<_> = headers.copy_all().into_iter().filter(|(name, _)| is_end_to_end(name)).collect();
    Fields::from_list(&kept).map_err(internal)
}

fn is_end_to_end(name: &str) -> bool {
    !matches!(
        name,
        "connection"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    ) && !name.starts_with("proxy-")
        && !name.starts_with("spin-")
}

fn internal(error: impl std::fmt::Display) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
