//! Every error body the mock sends, worded and shaped as OpenAI's: named constructors, one rendering.
//!
//! No message repeats a key.

use http::{Method, StatusCode};
use serde::Serialize;

use crate::model_name::ModelNameError;
use crate::request::OutOfRange;

/// An error of the API: its status and the four fields of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Status of the response.
    pub status: StatusCode,
    body: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ErrorBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorBody,
}

const INVALID_REQUEST: &str = "invalid_request_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: Option<&str>, message: impl Into<String>) -> Self {
        let body = ErrorBody { message: message.into(), kind, param: None, code: code.map(str::to_owned) };
        Self { status, body }
    }

    fn invalid(code: Option<&str>, param: Option<&'static str>, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, INVALID_REQUEST, code, message);
        error.body.param = param;
        error
    }

    /// The body as JSON.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        crate::json::put_value(&mut out, &Envelope { error: &self.body });
        out
    }

    /// The same error with another `code`, and with the words that OpenAI and Azure have for it if it is a known one.
    #[must_use]
    pub fn with_code(mut self, code: Option<String>) -> Self {
        let Some(code) = code else { return self };
        let (kind, param, message) = match code.as_str() {
            "context_length_exceeded" => (
                INVALID_REQUEST,
                Some("messages"),
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. \
                 Please reduce the length of the messages.",
            ),
            "content_filter" => (
                INVALID_REQUEST,
                Some("prompt"),
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. \
                 Please modify your prompt and retry.",
            ),
            "content_policy_violation" => {
                (INVALID_REQUEST, None, "Your request was rejected as a result of our safety system.")
            }
            "insufficient_quota" => (
                "insufficient_quota",
                None,
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            _ => {
                self.body.code = Some(code);
                return self;
            }
        };
        self.body = ErrorBody { message: message.to_owned(), kind, param, code: Some(code) };
        self
    }

    /// A body that is not JSON.
    pub fn unparsable_body() -> Self {
        Self::invalid(
            None,
            None,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
             library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you \
             have trouble figuring out how to fix this, please contact us through our help center at \
             help.openai.com.)",
        )
    }

    /// JSON of the wrong shape.
    pub fn invalid_type(error: &serde_json::Error) -> Self {
        Self::invalid(Some("invalid_type"), None, format!("Invalid type in the request body: {error}."))
    }

    /// No `model`.
    pub fn missing_model() -> Self {
        Self::invalid(None, None, "you must provide a model parameter")
    }

    /// No `messages`.
    pub fn missing_messages() -> Self {
        let message = "Missing required parameter: 'messages'.";
        Self::invalid(Some("missing_required_parameter"), Some("messages"), message)
    }

    /// A number outside its range.
    pub fn out_of_range(range: OutOfRange) -> Self {
        let message = format!("Invalid '{}': expected {}.", range.parameter, range.expected);
        Self::invalid(Some("invalid_value"), Some(range.parameter), message)
    }

    /// A model name that the mini-language does not understand.
    pub fn bad_model_name(error: &ModelNameError) -> Self {
        Self::invalid(Some("invalid_model_name"), Some("model"), format!("mock-provider: {error}."))
    }

    /// A model that does not exist.
    pub fn model_not_found(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, Some("model_not_found"), message)
    }

    /// No bearer key.
    pub fn missing_key() -> Self {
        let message = "You didn't provide an API key. You need to provide your API key in an Authorization header \
                       using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
        Self::new(StatusCode::UNAUTHORIZED, INVALID_REQUEST, None, message)
    }

    /// Another bearer key than the expected one.
    pub fn wrong_key() -> Self {
        let message = "Incorrect API key provided. You can find your API key at \
                       https://platform.openai.com/account/api-keys.";
        Self::new(StatusCode::UNAUTHORIZED, INVALID_REQUEST, Some("invalid_api_key"), message)
    }

    /// A path that does not exist.
    pub fn unknown_path(method: &Method, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self::new(StatusCode::NOT_FOUND, INVALID_REQUEST, None, message)
    }

    /// A path that exists, with another method.
    pub fn wrong_method(method: &Method, path: &str) -> Self {
        let message = format!(
            "Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
        );
        Self::new(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST, None, message)
    }

    /// A body beyond the bound.
    pub fn body_too_large() -> Self {
        let message = "Maximum content size limit exceeded.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, None, message)
    }

    /// The error that OpenAI sends within a stream it has begun.
    pub fn in_stream() -> Self {
        let message = "The server had an error processing your request. Sorry about that!";
        Self::new(StatusCode::OK, "server_error", Some("server_error"), message)
    }

    /// The error OpenAI sends with `status`.
    pub fn with_status(status: StatusCode, model: &str) -> Self {
        let (kind, code, message) = match status.as_u16() {
            401 => return Self::wrong_key(),
            403 => (
                INVALID_REQUEST,
                Some("unsupported_country_region_territory"),
                "Country, region, or territory not supported",
            ),
            404 => return Self::model_not_found(model),
            408 => ("timeout", None, "Request timed out."),
            409 => ("conflict", None, "The request conflicts with another one. Try again."),
            413 => return Self::body_too_large(),
            429 => {
                let message = format!(
                    "Rate limit reached for {model} on requests per min (RPM). Please try again later."
                );
                return Self::new(status, "requests", Some("rate_limit_exceeded"), message);
            }
            503 => (
                "server_error",
                Some("overloaded"),
                "That model is currently overloaded with other requests.",
            ),
            500.. => (
                "server_error",
                None,
                "The server had an error while processing your request. Sorry about that!",
            ),
            _ => (INVALID_REQUEST, None, "Invalid request."),
        };
        Self::new(status, kind, code, message)
    }
}
