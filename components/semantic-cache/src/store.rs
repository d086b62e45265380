//! `POST /store` and `POST /store-batch`.

use crate::error::Cause;
use crate::host::{self, KeyValue};
use crate::reply::Reply;
use bounded_body::ReadError;
use bytes::Bytes;
use cache_policy::{AnswerKind, CacheKey, NotCacheable, Terms};
use contracts::headers as names;
use contracts::limiter::MAX_BATCH;
use contracts::store_batch::{self, MAX_STORE_BATCH_BYTES};
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
    let terms = terms(config);
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

/// Stores those of several answers that may be stored, in one write.
pub async fn store_batch(call: Call, config: &CacheConfig) -> Result<Reply, Cause> {
    let (_, body) = call.split();
    if !config.enabled {
        return Ok(Reply::accepted());
    }
    let body = match bounded_body::read(body.into_frames(), MAX_STORE_BATCH_BYTES).await {
        Ok(body) => body,
        Err(ReadError::TooLarge { max_bytes }) => return Err(Cause::TooLarge { max_bytes }),
        Err(ReadError::Transport(_)) => return Err(Cause::BodyCutShort),
    };
    let answers = store_batch::split(&body).map_err(|_| Cause::BadBatch)?;
    if answers.len() > MAX_BATCH {
        return Err(Cause::BadBatch);
    }
    let (terms, now_ms) = (terms(config), host::now_ms());
    let mut pairs = Vec::with_capacity(answers.len());
    for (head, answer) in answers {
        let key = CacheKey::parse(&head.key).ok_or(Cause::BadKey)?;
        let kind = AnswerKind::of_content_type(&head.content_type).ok_or(Cause::BadContentType)?;
        // Which are left out, and why, concerns nobody: the client had its answer long before.
        let prepared = cache_policy::prepare(&terms, &key, kind, Bytes::copy_from_slice(answer), now_ms);
        pairs.extend(prepared.ok().map(|prepared| (prepared.store_key, prepared.value)));
    }
    KeyValue.set_many(&pairs).map_err(|error| {
        host::log(&format!("{} answers were not stored, the key-value store failed: {error}", pairs.len()));
        Cause::StoreFailed
    })?;
    Ok(Reply::accepted())
}

fn terms(config: &CacheConfig) -> Terms {
    Terms { ttl_s: config.ttl_s, max_entry_bytes: config.max_entry_bytes }
}
