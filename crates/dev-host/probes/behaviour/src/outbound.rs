//! Outbound HTTP, over the network or to another component, with the timeouts a caller may set.

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use serde_json::json;
use spin_sdk::http::{self, BoxBody, EmptyBody, HeaderMap, Request, Response};
use spin_sdk::wasip3::http::types::{ErrorCode, RequestOptions};
use spin_sdk::wasip3::http_compat::RequestOptionsExtension;

use crate::answer;

/// Sends a GET to the URL in `x-url` and answers with the outcome as JSON: `status`, `headers` and `body`,
/// or `error` (no response) or `status` and `body_error` (the response broke off).
///
/// Each `x-fetch-header: name: value` becomes a header of that request. `x-connect-timeout-ms`,
/// `x-first-byte-timeout-ms` and `x-between-bytes-timeout-ms` set its timeouts.
pub async fn fetch(request: Request) -> Result<Response<BoxBody>> {
    let outcome = match http::send(outgoing(request.headers())?).await {
        Err(error) => json!({ "error": short(&error) }),
        Ok(response) => {
            let status = response.status().as_u16();
            let headers: Vec<_> = response
                .headers()
                .iter()
                .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
                .collect();
            match response.into_body().collect().await {
                Ok(body) => {
                    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                    json!({ "status": status, "headers": headers, "body": body })
                }
                Err(error) => json!({ "status": status, "headers": headers, "body_error": short(&error) }),
            }
        }
    };
    answer::json(&outcome)
}

fn outgoing(asked: &HeaderMap) -> Result<http::Request<EmptyBody>> {
    let url = asked.get("x-url").context("x-url is missing")?.to_str()?;
    let mut outgoing = http::Request::new(EmptyBody::new());
    *outgoing.uri_mut() = url.parse()?;
    for line in asked.get_all("x-fetch-header") {
        let (name, value) = line.to_str()?.split_once(": ").context("x-fetch-header: name: value")?;
        outgoing.headers_mut().append(name.parse::<http::HeaderName>()?, value.parse()?);
    }
    outgoing.extensions_mut().insert(RequestOptionsExtension(timeouts(asked)?));
    Ok(outgoing)
}

fn timeouts(asked: &HeaderMap) -> Result<RequestOptions> {
    let options = RequestOptions::new();
    let nanos = |name| -> Result<Option<u64>> {
        let Some(value) = asked.get(name) else { return Ok(None) };
        Ok(Some(value.to_str()?.parse::<u64>()? * 1_000_000))
    };
    for set in [
        options.set_connect_timeout(nanos("x-connect-timeout-ms")?),
        options.set_first_byte_timeout(nanos("x-first-byte-timeout-ms")?),
        options.set_between_bytes_timeout(nanos("x-between-bytes-timeout-ms")?),
    ] {
        set.map_err(|error| anyhow::anyhow!("timeout refused: {error:?}"))?;
    }
    Ok(options)
}

/// `ErrorCode::ConnectionTimeout` → `ConnectionTimeout`.
fn short(error: &ErrorCode) -> String {
    format!("{error:?}").replace("ErrorCode::", "")
}
