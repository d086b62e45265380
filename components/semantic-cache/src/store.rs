//! `POST /store`.

use crate::error::Cause;
use crate::host::{self, KeyValue};
use crate::reply::Reply;
use bounded_body::ReadError;
use cache_policy::{AnswerKind, CacheKey, NotCacheable, Terms};
use contracts::headers as names;
use gateway_config::CacheConfig;
use http::header::CONTENT_TYPE;
use raw_http::Call;

/// Stores an answer if it may be stored.
pub async fn store(call: Call, config: &CacheConfig) -> Result<Reply, Cause> {
    let (headers, body) = call.split();
    let header = |name: &str| headers.text(name).unwrap_or_default();
    let key = CacheKey::parse(&header(names::CACHE_KEY)).ok_or(Cause::BadKey)?;
    let kind = AnswerKind::of_content_type(&header(CONTENT_TYPE.as_str())).ok_or(Cause::BadContentType)?;
    if !config.enabled {
        return Ok(Reply::not_stored(&NotCacheable::Disabled));
    }
    let terms = Terms { ttl_s: config.ttl_s, max_entry_bytes: config.max_entry_bytes };
    let body = match bounded_body::read(body.into_frames(), kind.max_body_bytes(&terms)).await {
        Ok(body) => body,
        Err(ReadError::TooLarge { max_bytes }) => return Err(Cause::TooLarge { max_bytes }),
        Err(ReadError::Transport(_)) => return Err(Cause::BodyCutShort),
    };
    match cache_policy::store(&KeyValue, &terms, &key, kind, body, host::now_ms()).await {
        Ok(Ok(())) => Ok(Reply::stored()),
        Ok(Err(reason)) => Ok(Reply::not_stored(&reason)),
        Err(error) => {
            host::log(&format!("an answer was not stored, the key-value store failed: {error}"));
            Err(Cause::StoreFailed)
        }
    }
}
