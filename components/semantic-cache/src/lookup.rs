//! `POST /lookup`.

use crate::error::Cause;
use crate::host::{self, KeyValue};
use crate::reply::Reply;
use bounded_body::ReadError;
use cache_policy::{CacheControl, Found, MAX_REQUEST_BYTES, Question, Tenant, lookup};
use contracts::headers;
use gateway_config::CacheConfig;
use http::{HeaderMap, HeaderName, header};
use raw_http::Call;

/// The headers that are read always; the others stay with the host.
const HEADERS: [HeaderName; 5] = [
    header::CACHE_CONTROL,
    HeaderName::from_static(headers::TEAM),
    HeaderName::from_static(headers::CONSUMER),
    HeaderName::from_static(headers::MODEL),
    HeaderName::from_static(headers::SERVED_MODEL),
];

/// Answers a lookup.
pub async fn look_up(call: Call, config: &CacheConfig) -> Result<Reply, Cause> {
    let headers = call.headers.named(&HEADERS);
    let cache_control = cache_control(&headers);
    if !config.enabled || cache_control.no_store {
        return Ok(Reply::bypass(None)); // and the body stays unread
    }
    let (team, consumer) = (text(&headers, headers::TEAM), text(&headers, headers::CONSUMER));
    let tenant = Tenant::of(team, consumer).ok_or(Cause::NoHeader(headers::CONSUMER))?;
    // By the model that answers: where routes decide, the same name asked for can be one or another.
    let mut models = [headers::SERVED_MODEL, headers::MODEL].into_iter().map(|name| text(&headers, name));
    let model = models.find(|model| !model.is_empty()).ok_or(Cause::NoHeader(headers::MODEL))?;
    let (all_headers, body) = call.split();
    let body = match bounded_body::read(body.into_frames(), MAX_REQUEST_BYTES).await {
        Ok(body) => body,
        Err(ReadError::TooLarge { .. }) => return Ok(Reply::bypass(None)),
        Err(ReadError::Transport(_)) => return Err(Cause::BodyCutShort),
    };
    let question = Question { tenant, model, cache_control, body: &body };
    Ok(match lookup(&KeyValue, &question, host::now_ms()).await {
        Found::Hit(hit) => Reply::hit(hit),
        Found::Miss { key, is_expired } => {
            if is_expired {
                host::spawn(delete(key.store_key()));
            }
            Reply::miss(&key)
        }
        Found::Bypass { reason: _, key } => Reply::bypass(key.as_ref()),
        Found::Failed(error) => {
            let request_id = all_headers.text(headers::REQUEST_ID).unwrap_or_default();
            host::log(&format!(
                "request_id={request_id} lookup passed by, the key-value store failed: {error}"
            ));
            Reply::bypass(None)
        }
    })
}

/// After the answer, so that nobody waits for it. An answer stored in between is lost to the cache, no more.
async fn delete(store_key: String) {
    if let Err(error) = KeyValue.delete(&store_key).await {
        host::log(&format!("an expired entry was not deleted, the key-value store failed: {error}"));
    }
}

fn cache_control(headers: &HeaderMap) -> CacheControl {
    CacheControl::parse(headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()))
}

/// The value of a header of the router's; empty when it is absent.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
