//! Keeps an answer: at most one `set`, and only of what may be kept.

use crate::cacheable::check;
use crate::entries::{Entries, StoreError};
use crate::{CacheKey, Entry, NotCacheable, assemble};
use bytes::Bytes;

/// Largest stream that is taken in, in bytes. A chunk of a few letters is some 250 bytes on the wire, so this is some
/// 32,000 tokens.
pub const MAX_STREAM_BYTES: usize = 8 << 20;

/// On which terms answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long one is served, in seconds.
    pub ttl_s: u64,
    /// Largest `chat.completion` that is kept, in bytes.
    pub max_entry_bytes: usize,
}

/// The form of a provider's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// One `chat.completion` object.
    Json,
    /// A whole stream of `chat.completion.chunk`s.
    Stream,
}

impl AnswerKind {
    /// The form that a `content-type` names; parameters do not matter.
    pub fn of_content_type(value: &str) -> Option<Self> {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        match media_type {
            t if t.eq_ignore_ascii_case("application/json") => Some(AnswerKind::Json),
            t if t.eq_ignore_ascii_case("text/event-stream") => Some(AnswerKind::Stream),
            _ => None,
        }
    }

    /// Largest body of this form that is worth reading, in bytes.
    pub fn max_body_bytes(self, terms: &Terms) -> usize {
        match self {
            AnswerKind::Json => terms.max_entry_bytes,
            AnswerKind::Stream => MAX_STREAM_BYTES,
        }
    }
}

/// What an answer becomes in the key-value store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The key.
    pub store_key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// Prepares a provider's answer for the store.
///
/// # Errors
/// When it may not be kept.
pub fn prepare(
    terms: &Terms,
    key: &CacheKey,
    kind: AnswerKind,
    body: Bytes,
    now_ms: u64,
) -> Result<Prepared, NotCacheable> {
    let entry = entry(terms, key, kind, body, now_ms)?;
    Ok(Prepared { store_key: key.store_key(), value: entry.encode() })
}

/// Keeps a provider's answer under `key` if it may be kept.
///
/// # Errors
/// When it may be, but the store failed.
pub async fn store(
    entries: &impl Entries,
    terms: &Terms,
    key: &CacheKey,
    kind: AnswerKind,
    body: Bytes,
    now_ms: u64,
) -> Result<Result<(), NotCacheable>, StoreError> {
    match prepare(terms, key, kind, body, now_ms) {
        Ok(Prepared { store_key, value }) => entries.set(&store_key, &value).await.map(Ok),
        Err(reason) => Ok(Err(reason)),
    }
}

fn entry(
    terms: &Terms,
    key: &CacheKey,
    kind: AnswerKind,
    body: Bytes,
    now_ms: u64,
) -> Result<Entry, NotCacheable> {
    let body = match kind {
        AnswerKind::Json => body,
        AnswerKind::Stream => Bytes::from(assemble(&body)?),
    };
    if body.len() > terms.max_entry_bytes {
        return Err(NotCacheable::TooLarge { max_bytes: terms.max_entry_bytes });
    }
    let usage = check(&body, key.is_bounded)?;
    let ttl_ms = terms.ttl_s.saturating_mul(1_000);
    Ok(Entry { stored_at_ms: now_ms, expires_at_ms: now_ms.saturating_add(ttl_ms), usage, body })
}
