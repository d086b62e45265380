//! Every way a request can fail in the router, and what the client is told: one exhaustive match.

use gateway_config::Problems;
use openai_types::ApiError;
use relay::{Failure, Late, SourceFailed};

/// Why a request is not answered.
#[derive(Debug)]
pub enum Cause {
    /// The gateway or secrets document has problems; nothing can be served.
    Configuration(&'static Problems),
    /// The platform does not give a variable; its words are in the log.
    VariableUnreadable { name: &'static str },
    /// No key was sent.
    NoKey,
    /// A key header that holds no key, or several that disagree.
    UnreadableKey,
    /// A key that belongs to nobody.
    UnknownKey,
    /// The built-in local key, used from another machine or through a proxy.
    LocalKeyFromAfar,
    /// No such path.
    NotFound { path: String },
    /// The path exists, but not with this method.
    MethodNotAllowed { allow: &'static str },
    /// The request body is over the cap.
    RequestTooLarge { max_bytes: usize },
    /// The client's body ended before its end.
    RequestCutShort,
    /// The client's body did not come in time.
    RequestTimeout,
    /// The body is not a request of this API.
    Invalid(ApiError),
    /// No model of this name.
    UnknownModel { model: String },
    /// The consumer may not use this model.
    ModelNotAllowed { model: String },
    /// The token limiter did not answer.
    LimiterUnavailable,
    /// No deployment gave an answer.
    NoAnswer(UpstreamFailed),
}

/// Why an upstream attempt gave no answer at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamFailed {
    /// Every deployment of the model is out of service: its breaker is open, it is at capacity, or drained.
    NoneLeft {
        /// Seconds until one may be back, if that can be said.
        retry_after_s: Option<u64>,
    },
    /// No connection.
    Connect(String),
    /// The backend refuses the gateway's own credential. Its answer stays here: the client would take it for a word
    /// about the client's key, and it may quote ours in part.
    CredentialRefused,
    /// The app's manifest does not allow this address.
    NotAllowed,
    /// Nothing came in time.
    Timeout,
    /// The answer broke off.
    BrokeOff(String),
    /// The stream ended before its first event.
    Truncated,
    /// The answer is not one of this API.
    BadReply(&'static str),
    /// The answer, or an event of it, is over the cap.
    TooLarge { max_bytes: usize },
}

impl Cause {
    /// The error as the client sees it.
    pub fn to_api_error(&self) -> ApiError {
        match self {
            Cause::Configuration(problems) => ApiError::new(
                500,
                "invalid_configuration",
                format!("The gateway's configuration has problems; its operator must fix them:\n{problems}"),
            ),
            Cause::VariableUnreadable { name } => ApiError::new(
                503,
                "variable_unavailable",
                format!("The gateway cannot read its variable `{name}` now. Try again shortly."),
            ),
            Cause::NoKey => ApiError::new(
                401,
                "invalid_api_key",
                "No API key was sent. Send yours as `Authorization: Bearer <key>`, `api-key` or `x-api-key`.",
            ),
            Cause::UnreadableKey => ApiError::new(
                401,
                "invalid_api_key",
                "The API key could not be read: send one key, as `Authorization: Bearer <key>`, `api-key` or `x-api-key`.",
            ),
            Cause::UnknownKey => ApiError::new(
                401,
                "invalid_api_key",
                "This API key is not known here. Ask the gateway's operator for a key of this gateway; a provider's own key is not accepted.",
            ),
            Cause::LocalKeyFromAfar => ApiError::new(
                401,
                "invalid_api_key",
                "The built-in key `tollgate-local` works from the gateway's own machine only, and not through a proxy. Add a [[consumers]] entry to the gateway document.",
            ),
            Cause::NotFound { path } => ApiError::new(
                404,
                "not_found",
                format!("There is no {path} here; try /v1/chat/completions or /v1/models."),
            ),
            Cause::MethodNotAllowed { allow } => {
                ApiError::new(405, "method_not_allowed", format!("This path takes {allow} only."))
            }
            Cause::RequestTooLarge { max_bytes } => ApiError::new(
                413,
                "request_too_large",
                format!("The request body is larger than {max_bytes} bytes, the most this gateway takes."),
            ),
            Cause::RequestCutShort => ApiError::new(400, "invalid_request", "The request body ended early."),
            Cause::RequestTimeout => {
                ApiError::new(408, "request_timeout", "The request body did not come in time.")
            }
            Cause::Invalid(error) => error.clone(),
            Cause::UnknownModel { model } => ApiError::new(
                404,
                "model_not_found",
                format!("The model `{model}` does not exist here; GET /v1/models lists yours."),
            )
            .with_param("model"),
            Cause::ModelNotAllowed { model } => ApiError::new(
                403,
                "model_not_allowed",
                format!("Your key may not use the model `{model}`; GET /v1/models lists yours."),
            )
            .with_param("model"),
            Cause::LimiterUnavailable => ApiError::new(
                503,
                "limiter_unavailable",
                "The token limiter did not answer, and this gateway admits nothing uncounted. Try again shortly.",
            ),
            Cause::NoAnswer(failed) => failed.to_api_error(),
        }
    }
}

impl UpstreamFailed {
    fn to_api_error(&self) -> ApiError {
        match self {
            UpstreamFailed::NoneLeft { retry_after_s: Some(seconds) } => ApiError::new(
                503,
                "no_available_backend",
                format!("No deployment of this model is in service. Try again in {seconds} s."),
            ),
            UpstreamFailed::NoneLeft { retry_after_s: None } => {
                ApiError::new(503, "no_available_backend", "No deployment of this model is in service.")
            }
            UpstreamFailed::Connect(_) => {
                ApiError::new(502, "upstream_unreachable", "No backend of this model could be reached.")
            }
            UpstreamFailed::CredentialRefused => ApiError::new(
                502,
                "upstream_credential_refused",
                "The backend of this model refuses the gateway's credential; the gateway's operator must renew it.",
            ),
            UpstreamFailed::NotAllowed => ApiError::new(
                502,
                "upstream_not_allowed",
                "The app's manifest does not allow the backend's address (allowed_outbound_hosts); its operator must add it.",
            ),
            UpstreamFailed::Timeout => {
                ApiError::new(504, "upstream_timeout", "The backend of this model did not answer in time.")
            }
            UpstreamFailed::BrokeOff(_) => {
                ApiError::new(502, "upstream_failed", "The backend's answer broke off before its end.")
            }
            UpstreamFailed::Truncated => ApiError::new(
                502,
                "upstream_truncated",
                "The backend ended the stream before it had begun to answer.",
            ),
            UpstreamFailed::BadReply(what) => {
                ApiError::new(502, "upstream_bad_reply", format!("The backend's answer is unusable: {what}."))
            }
            UpstreamFailed::TooLarge { max_bytes } => ApiError::new(
                502,
                "upstream_bad_reply",
                format!(
                    "The backend's answer, or an event of it, is larger than {max_bytes} bytes, the most this gateway takes."
                ),
            ),
        }
    }
}

/// The error that ends a stream that failed, where the provider gave none that a client can read.
pub fn stream_error(failure: &Failure) -> ApiError {
    match failure {
        Failure::Reported(_) => ApiError::new(
            502,
            "upstream_failed",
            "The answer is incomplete: the backend reported an error in the middle of the stream.",
        ),
        Failure::NotOpened => {
            ApiError::new(502, "upstream_failed", "No backend of this model gave an answer.")
        }
        Failure::Empty => {
            ApiError::new(502, "upstream_truncated", "The backend ended the stream without an answer.")
        }
        Failure::Disagrees => ApiError::new(
            502,
            "upstream_failed",
            "The answer is incomplete: it broke off, and another backend would have gone on differently.",
        ),
        Failure::Late(Late::Total) => ApiError::new(
            504,
            "upstream_timeout",
            "The answer is incomplete: it took longer than this gateway allows.",
        ),
        Failure::Late(Late::FirstToken) => {
            ApiError::new(504, "upstream_timeout", "The backend did not begin to answer in time.")
        }
        Failure::Truncated => ApiError::new(
            502,
            "upstream_truncated",
            "The answer is incomplete: the backend ended the stream before its end.",
        ),
        Failure::Source(SourceFailed::Idle) | Failure::Late(Late::Idle) => ApiError::new(
            504,
            "upstream_timeout",
            "The answer is incomplete: the backend went silent in the middle of the stream.",
        ),
        Failure::Source(SourceFailed::Broken(_) | SourceFailed::Undecodable(_)) => ApiError::new(
            502,
            "upstream_failed",
            "The answer is incomplete: the connection to the backend broke in the middle of the stream.",
        ),
        Failure::Malformed => ApiError::new(
            502,
            "upstream_bad_reply",
            "The answer is incomplete: the backend sent a malformed event.",
        ),
        Failure::TooLarge { .. } => ApiError::new(
            502,
            "upstream_bad_reply",
            "The answer is incomplete: the backend sent more than this gateway takes.",
        ),
    }
}
