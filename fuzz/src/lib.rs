//! What must hold for any bytes: one function for each fuzz target, which panics when something does not.
//!
//! A target checks more than that nothing panics: what comes out is compared with a simpler reading of the same bytes,
//! or with what went in. Functions are plain, so that `cargo test -p fuzz` runs them on the corpus without a fuzzer.
//! Nothing here is part of the product.

mod cache_key;
mod cached_answer;
mod chat_request;
mod event_stream;
mod gateway_document;
mod json;
mod settlement;

pub use cache_key::cache_key;
pub use cached_answer::cached_answer;
pub use chat_request::chat_request;
pub use event_stream::event_stream;
pub use gateway_document::gateway_document;
pub use settlement::settlement;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also its folder's in `corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("chat_request", chat_request),
    ("event_stream", event_stream),
    ("gateway_document", gateway_document),
    ("settlement", settlement),
    ("cached_answer", cached_answer),
    ("cache_key", cache_key),
];
