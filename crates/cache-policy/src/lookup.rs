//! Looks for an answer: at most one `get`, and never an error that would cost the client more than the cache.

use crate::entries::{Entries, StoreError};
use crate::{Bypass, CacheControl, CacheKey, Entry, Request, Tenant, replay};
use bytes::Bytes;
use openai_types::Usage;

/// What is asked, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who shares the answer.
    pub tenant: Tenant<'a>,
    /// Public model name, after alias resolution.
    pub model: &'a str,
    /// What the client allows.
    pub cache_control: CacheControl,
    /// The client's own request body.
    pub body: &'a [u8],
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// An answer.
    Hit(Hit),
    /// Nothing, or nothing that can be given back in the form that was asked for.
    Miss {
        /// Where the answer can be stored.
        key: CacheKey,
        /// Whether an entry lies there that is past its time.
        is_expired: bool,
    },
    /// The cache was passed by.
    Bypass {
        /// Why.
        reason: Bypass,
        /// Where the fresh answer can be stored, if it may be.
        key: Option<CacheKey>,
    },
    /// The store failed: for the client the same as a bypass.
    Failed(StoreError),
}

/// A finished answer for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit {
    /// The `chat.completion` as it was stored, or its replay as SSE.
    pub body: Bytes,
    /// Whether `body` is SSE.
    pub is_stream: bool,
    /// Whole seconds since it was stored.
    pub age_s: u64,
    /// What it took when it was made.
    pub usage: Usage,
}

/// Looks for the answer to `question`.
pub async fn lookup(entries: &impl Entries, question: &Question<'_>, now_ms: u64) -> Found {
    if question.cache_control.no_store {
        return Found::Bypass { reason: Bypass::NoStore, key: None };
    }
    let request = match Request::parse(question.body) {
        Ok(request) => request,
        Err(reason) => return Found::Bypass { reason, key: None },
    };
    let key = CacheKey::of(question.tenant, question.model, &request.fields);
    if question.cache_control.no_cache {
        return Found::Bypass { reason: Bypass::NoCache, key: Some(key) };
    }
    let value = match entries.get(&key.store_key()).await {
        Ok(value) => value,
        Err(error) => return Found::Failed(error),
    };
    match value.and_then(Entry::decode) {
        None => Found::Miss { key, is_expired: false },
        Some(entry) if entry.is_expired(now_ms) => Found::Miss { key, is_expired: true },
        Some(entry) => {
            answer(entry, &request, now_ms).map_or(Found::Miss { key, is_expired: false }, Found::Hit)
        }
    }
}

/// The entry in the form that was asked for; `None` when it has something that cannot be said in a stream.
fn answer(entry: Entry, request: &Request<'_>, now_ms: u64) -> Option<Hit> {
    let age_s = entry.age_s(now_ms);
    let body = if request.stream {
        Bytes::from(replay(&entry.body, request.include_usage).ok()?)
    } else {
        entry.body
    };
    Some(Hit { body, is_stream: request.stream, age_s, usage: entry.usage })
}
