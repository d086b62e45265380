//! Every way a call of this component can fail, and what the caller is told: one exhaustive match.

use contracts::headers;
use contracts::limiter::MAX_BATCH;
use gateway_config::Problems;
use openai_types::ApiError;

/// Why a call is not served.
#[derive(Debug)]
pub enum Cause {
    /// The gateway document has problems in what concerns the cache.
    Configuration(&'static Problems),
    /// A variable could not be read; the platform's words are in the log.
    VariableUnreadable { name: &'static str },
    /// No such path.
    NotFound { path: String },
    /// The path exists, but takes `POST` only.
    MethodNotAllowed,
    /// A header that the caller must set is missing.
    NoHeader(&'static str),
    /// The cache key is not one that a lookup returned.
    BadKey,
    /// The answer to store is neither JSON nor SSE.
    BadContentType,
    /// The batch to store does not add up; nothing of it was stored.
    BadBatch,
    /// The body ended before its end.
    BodyCutShort,
    /// The answer to store is over the cap.
    TooLarge { max_bytes: usize },
    /// The key-value store failed; its own words are in the log.
    StoreFailed,
}

impl Cause {
    /// The error as the caller sees it.
    pub fn to_api_error(&self) -> ApiError {
        let invalid = |message: String| ApiError::new(400, "invalid_request", message);
        match self {
            Cause::Configuration(problems) => ApiError::new(
                500,
                "invalid_configuration",
                format!("The gateway's configuration has problems; its operator must fix them:\n{problems}"),
            ),
            Cause::VariableUnreadable { name } => ApiError::new(
                503,
                "variable_unavailable",
                format!("The variable `{name}` cannot be read now."),
            ),
            Cause::NotFound { path } => {
                ApiError::new(404, "not_found", format!("There is nothing at `{path}`."))
            }
            Cause::MethodNotAllowed => ApiError::new(405, "method_not_allowed", "Only POST is allowed here."),
            Cause::NoHeader(name) => invalid(format!("The header `{name}` is missing.")).with_param(*name),
            Cause::BadKey => invalid(format!(
                "The header `{}` must be a key that a lookup returned: 64 lower-case hexadecimal digits, then perhaps `+bounded`.",
                headers::CACHE_KEY
            ))
            .with_param(headers::CACHE_KEY),
            Cause::BadContentType => {
                invalid("The header `content-type` must be application/json or text/event-stream.".to_owned())
                    .with_param("content-type")
            }
            Cause::BadBatch => invalid(format!(
                "The body must be at most {MAX_BATCH} answers, each after a line of JSON with its key, content_type and \
                 bytes. Nothing was stored."
            )),
            Cause::BodyCutShort => invalid("The body ended before its end.".to_owned()),
            Cause::TooLarge { max_bytes } => {
                ApiError::new(413, "request_too_large", format!("The body is larger than {max_bytes} bytes."))
            }
            Cause::StoreFailed => {
                ApiError::new(503, "store_failed", "The key-value store failed; the answer was not stored.")
            }
        }
    }
}
