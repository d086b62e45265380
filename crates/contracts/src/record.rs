//! The usage record: one per request, whatever became of it.

use serde::{Deserialize, Serialize};

/// `POST` to `usage-logger`: a JSON array of at most [`crate::limiter::MAX_BATCH`] [`UsageRecord`]s; 204.
pub const RECORDS_PATH: &str = "/records";

/// Largest batch that `usage-logger` takes, in bytes: 256 records of 4 KiB, where one is about 500 bytes.
pub const MAX_RECORDS_BYTES: usize = 1 << 20;
/// Most tags, and most observed limits, that are kept of one record.
pub const MAX_NAMES: usize = 64;
/// Most entries that [`UsageRecord::retried_usage`] may have.
pub const MAX_RETRIED: usize = 64;
/// Longest [`UsageRecord::route`] that is kept, in bytes of UTF-8.
pub const MAX_ROUTE_BYTES: usize = 512;
/// Longest [`UsageRecord::user`] that is kept, in bytes of UTF-8.
pub const MAX_USER_BYTES: usize = 128;

/// Who asked for what, who answered, what it took and what it cost.
///
/// Tokens are the provider's own where it gave any; else they are counted by us and `estimated` is true. Money is
/// integer nano-dollars (1 USD = 1,000,000,000).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The record's own id, made by the router and by nobody else: a record that arrives twice is kept once. Not the
    /// request id, which a client may choose, and so could use to hide one request behind another.
    pub record_id: String,
    /// The request id that the client sees.
    pub request_id: String,
    /// When the request arrived: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Consumer id; empty when authentication failed.
    pub consumer: String,
    /// Team of the consumer, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub team: String,
    /// App of the consumer, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub app: String,
    /// Tags of the consumer; at most [`MAX_NAMES`] are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The client's own end user, as the request's `user` names it; or empty. It may name a person: the document can
    /// have it dropped. At most [`MAX_USER_BYTES`] are kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Public model name that the client asked for; empty when the request could not be understood, and when it was refused
    /// because of a name that the document does not have: such a name is the client's invention.
    pub model: String,
    /// Pool that answered, or the last one tried; empty when none was. Its price counts, not that of the name asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// How the pool was decided on, in the router's words; at most [`MAX_ROUTE_BYTES`] are kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// Names of the limits that only observe and would have refused this request; at most [`MAX_NAMES`] are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// Deployment that answered (`backend/upstream-model`), or the last one tried; empty when none was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deployment: String,
    /// Upstream attempts made.
    pub attempts: u32,
    /// Whether the client asked for SSE.
    pub stream: bool,
    /// HTTP status that the client got.
    pub status: u16,
    /// What became of the request.
    pub outcome: Outcome,
    /// Our error code (`error.code` as sent to the client), or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_code: String,
    /// What the cache said.
    pub cache: CacheOutcome,
    /// Tokens in the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens generated, reasoning included.
    pub completion_tokens: u64,
    /// Part of `prompt_tokens` that the provider read from its own prompt cache.
    pub cached_tokens: u64,
    /// Part of `completion_tokens` spent on reasoning.
    pub reasoning_tokens: u64,
    /// What attempts took that generated something and then failed, before the one that `deployment` names; none of it
    /// is in the figures above. At most [`MAX_RETRIED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried_usage: Vec<RetriedUsage>,
    /// True when this is a copy that a route made of a request (`mirror`): nobody got its answer. It has the request id of the
    /// request, whose own record is another.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirror: bool,
    /// True when the limiter could not reach its counters and the document says to go on uncounted: no limit knows of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub uncounted: bool,
    /// True when a provider gave no usage and we counted, for the answer or for an attempt before it.
    pub estimated: bool,
    /// Cost in nano-dollars by the document's prices, failed attempts included, filled in by `usage-logger`; `None` when
    /// a model has no price. Zero is a price.
    pub cost_nano_usd: Option<u64>,
    /// From the request's arrival to the last byte handed on, in milliseconds.
    pub latency_ms: u64,
    /// From the request's arrival to the first content of the answer, in milliseconds; `None` when there was none.
    pub ttft_ms: Option<u64>,
}

/// What one failed attempt took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetriedUsage {
    /// Pool that the deployment was asked in, for the price; empty in records of builds that did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Deployment that was asked, whose price counts (`backend/upstream-model`).
    pub deployment: String,
    /// Tokens in the prompt that it was sent, cached ones included.
    pub prompt_tokens: u64,
    /// Of these, read from the provider's own prompt cache; 0 where nobody said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens that it generated before it failed, reasoning included.
    pub completion_tokens: u64,
    /// Of these, reasoning; 0 where nobody said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client got the whole answer.
    #[default]
    Completed,
    /// We refused it: authentication, limit, bad request.
    Refused,
    /// The provider answered with an error, which was passed on.
    UpstreamError,
    /// No usable answer: connect failure, timeout, truncated or malformed answer.
    UpstreamFailed,
    /// The client left before the end.
    ClientGone,
}

impl Outcome {
    /// The name used on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Refused => "refused",
            Outcome::UpstreamError => "upstream_error",
            Outcome::UpstreamFailed => "upstream_failed",
            Outcome::ClientGone => "client_gone",
        }
    }
}

/// What the cache had to do with an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// Not asked, not allowed, or not reachable.
    #[default]
    Bypass,
    /// Asked, nothing found.
    Miss,
    /// Answered from an identical request.
    Exact,
}

impl CacheOutcome {
    /// Every outcome.
    pub const ALL: [CacheOutcome; 3] = [CacheOutcome::Bypass, CacheOutcome::Miss, CacheOutcome::Exact];

    /// The name used on the wire, in the database and in the client's `x-tollgate-cache` header.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheOutcome::Bypass => "bypass",
            CacheOutcome::Miss => "miss",
            CacheOutcome::Exact => "exact",
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}
