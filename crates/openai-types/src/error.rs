//! The error object: `{"error":{"message","type","param","code"}}`, always with all four fields.
//!
//! Shape and meaning: <https://platform.openai.com/docs/guides/error-codes>. The SDKs choose their exception class
//! by the HTTP status and read all four fields.

use serde::Serialize;
use std::borrow::Cow;

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`, what a program decides by.
    pub code: &'static str,
    /// `error.message`, what a person reads: what is wrong and what to do. Never holds a key or a prompt.
    pub message: Cow<'static, str>,
    /// `error.param`: the request field that is wrong, if one is.
    pub param: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl ApiError {
    /// An error whose `type` follows from its status, as OpenAI's do.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        ApiError { status, kind: kind_of(status), code, message: message.into(), param: None }
    }

    /// Names the request field that is wrong.
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Overrides `type`, where OpenAI's differs from the status' usual one.
    pub fn with_kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// The JSON body.
    pub fn to_json(&self) -> String {
        let body = Body {
            error: Fields {
                message: &self.message,
                r#type: self.kind,
                param: self.param.as_deref(),
                code: self.code,
            },
        };
        // Strings and one Option: serialising cannot fail; an empty object would still be valid JSON.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The error as the last event of a stream: the SDKs raise on it, and no `[DONE]` follows.
    pub fn to_sse_event(&self) -> String {
        format!("data: {}\n\n", self.to_json())
    }
}

fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_always_has_all_four_fields() {
        let error = ApiError::new(404, "model_not_found", "no \"such\" model");
        let json: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"error": {"message": "no \"such\" model", "type": "invalid_request_error",
                "param": null, "code": "model_not_found"}})
        );
        let json: serde_json::Value = serde_json::from_str(&error.with_param("model").to_json()).unwrap();
        assert_eq!(json["error"]["param"], "model");
    }

    #[test]
    fn an_error_in_a_stream_is_one_event() {
        let event = ApiError::new(502, "upstream_failed", "line one\nline two").to_sse_event();
        assert!(event.starts_with("data: {") && event.ends_with("}\n\n"));
        assert_eq!(event.trim_end().lines().count(), 1, "a raw line break would split the event: {event}");
    }
}
