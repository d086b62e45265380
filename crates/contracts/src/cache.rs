//! `semantic-cache`: look up before the call, store after it.

/// `POST`: the body is the client's own request; consumer, team and model travel as headers.
///
/// 200 with the finished answer (JSON, or SSE if the request asked to stream) and [`crate::headers::CACHED_USAGE`]
/// on a hit; otherwise 204 with [`crate::headers::CACHE`] = `miss` and [`crate::headers::CACHE_KEY`], or = `bypass`,
/// with the key if the fresh answer may be stored all the same.
pub const LOOKUP_PATH: &str = "/lookup";

/// `POST`: the body is the provider's answer as it was received, JSON or SSE by its `content-type`, whole;
/// [`crate::headers::CACHE_KEY`] as returned by the lookup. 201 when stored, 200 with a reason when the answer is not
/// cacheable.
pub const STORE_PATH: &str = "/store";

/// `POST`: a [`crate::store_batch`]; 204 when all of it that may be stored is. An answer that is not cacheable is left out.
pub const STORE_BATCH_PATH: &str = "/store-batch";
