//! What a provider's error means: the class that decides whether it is tried again, and where.
//!
//! Codes and types come first, whatever the status: they are meant for programs; but one that says no more than "server error" comes last. Words of a message decide only where the status leaves room
//! for both readings, and only phrases that were seen in real answers (the tests hold them, with where they are from).

use gateway_config::ErrorClass;
use serde_json::Value;

/// Of a longer body only so much is looked at, in bytes; real errors are far shorter.
const LOOKED_AT_BYTES: usize = 64 << 10;

/// Codes and types that say the prompt is too long.
const CONTEXT_CODES: &[&str] = &[
    "context_length_exceeded",   // OpenAI, Azure, Groq, DeepSeek
    "exceed_context_size_error", // llama.cpp
    "context_exceeded",
    "string_above_max_length", // OpenAI
    "request_too_large",       // Anthropic, with 413
];

/// Codes and types that say a filter refused.
const CONTENT_CODES: &[&str] = &[
    "content_filter", // Azure
    "contentfilter",
    "content_policy_violation", // OpenAI
    "responsibleaipolicyviolation",
    "invalid_prompt",         // OpenAI, reasoning models
    "moderation_blocked",     // OpenAI
    "data_inspection_failed", // Alibaba
    "datainspectionfailed",
];

/// Codes and types that say too much was asked for.
const RATE_CODES: &[&str] = &[
    "rate_limit_exceeded",
    "rate_limit_error",
    "rate_limit_reached",
    "insufficient_quota",
    "quota_exceeded",
    "billing_hard_limit_reached",
    "resource_exhausted",  // Gemini
    "throttlingexception", // Bedrock
    "throttling",
];

/// Codes and types that say the gateway's credential or the deployment's name will not do.
const AUTH_CODES: &[&str] = &[
    "invalid_api_key",
    "authentication_error",
    "permission_error",
    "model_not_found",
    "deploymentnotfound", // Azure
    "api_key_invalid",    // Gemini, with 400
    "unauthenticated",
    "permission_denied",
];

/// Codes and types that say the provider is at fault.
const SERVER_CODES: &[&str] =
    &["overloaded_error", "server_error", "internal_server_error", "api_error", "unavailable"];

/// Codes and types that say it took too long.
const TIMEOUT_CODES: &[&str] = &["timeout_error", "deadline_exceeded"];

/// Pieces of messages, lower case, that say the prompt is too long.
const CONTEXT_WORDS: &[&str] = &[
    "maximum context length",
    "context window",
    "context length",
    "context size",
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "maximum prompt length",
    "exceeds the maximum number of tokens",
    "exceeded model token limit",
    "reduce the length of the",
    "tokens + `max_new_tokens` must be",
    "`inputs` must have less than",
    "too large for model with",
    "range of input length",
    "string too long",
];

/// Pieces of messages, lower case, that say a filter refused.
const CONTENT_WORDS: &[&str] = &[
    "content management policy",
    "content filtering policy",
    "content policy",
    "flagged as potentially violating",
    "safety system",
    "requires moderation",
    "input was flagged",
];

/// The class of an error; `status` is `None` for one that came inside a stream.
pub fn classify(status: Option<u16>, body: &[u8]) -> ErrorClass {
    let said = Said::read(body);
    // A status inside the body speaks where there is no other.
    let status = status.filter(|status| *status >= 400).or(said.status);
    let by_code = said.class_by_code();
    // One that says only that the provider is at fault leaves room: proxies and servers write it for whatever they cannot do.
    if let Some(class) = by_code.filter(|class| *class != ErrorClass::Server) {
        return class;
    }
    let by_words = match status {
        // Where a message can say more than the status.
        Some(400 | 403 | 413 | 422 | 500) | None => said.class_by_words(),
        _ => None,
    };
    by_words.unwrap_or_else(|| match (by_status(status), by_code) {
        (class @ (ErrorClass::Timeout | ErrorClass::RateLimit), _) | (class, None) => class,
        (_, Some(class)) => class,
    })
}

fn by_status(status: Option<u16>) -> ErrorClass {
    match status {
        Some(401 | 403 | 404) => ErrorClass::Auth,
        // An account without money: to the caller the same as a quota.
        Some(402 | 429) => ErrorClass::RateLimit,
        // 524: Cloudflare's.
        Some(408 | 504 | 524) => ErrorClass::Timeout,
        Some(413) => ErrorClass::ContextWindow,
        Some(400..=499) => ErrorClass::InvalidRequest,
        _ => ErrorClass::Server,
    }
}

/// What an error says of itself, lower case.
#[derive(Default)]
struct Said {
    codes: Vec<String>,
    message: String,
    status: Option<u16>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        let body = body.get(..LOOKED_AT_BYTES).unwrap_or(body);
        let mut said = Said::default();
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => said.take(&value),
            Err(_) => said.message = String::from_utf8_lossy(body).to_lowercase(),
        }
        said
    }

    /// OpenAI and most: `{"error":{…}}`. vLLM of old and Mistral: the fields themselves. Gemini: a list of one. Ollama and TGI: `{"error":"…"}`.
    fn take(&mut self, value: &Value) {
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        if let Some(text) = error.as_str() {
            self.message = text.to_lowercase();
        }
        for object in [error, value, error.get("innererror").unwrap_or(&Value::Null)] {
            for key in ["code", "type", "status", "error_type", "__type"] {
                match object.get(key) {
                    Some(Value::String(code)) => self.codes.push(code.to_lowercase()),
                    Some(Value::Number(number)) if self.status.is_none() => {
                        let status = number.as_u64().and_then(|n| u16::try_from(n).ok());
                        self.status = status.filter(|status| (400..=599).contains(status));
                    }
                    _ => {}
                }
            }
        }
        for reason in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            self.codes.extend(reason.get("reason").and_then(Value::as_str).map(str::to_lowercase));
        }
        for key in ["message", "detail"] {
            if let Some(text) = error.get(key).and_then(Value::as_str) {
                self.message.push_str(&text.to_lowercase());
            }
        }
    }

    fn class_by_code(&self) -> Option<ErrorClass> {
        let says = |known: &[&str]| self.codes.iter().any(|code| known.contains(&code.as_str()));
        // From what says most to what says least: an error can have a type of one and a code of another.
        [
            (CONTEXT_CODES, ErrorClass::ContextWindow),
            (CONTENT_CODES, ErrorClass::ContentPolicy),
            (RATE_CODES, ErrorClass::RateLimit),
            (AUTH_CODES, ErrorClass::Auth),
            (TIMEOUT_CODES, ErrorClass::Timeout),
            (SERVER_CODES, ErrorClass::Server),
        ]
        .into_iter()
        .find_map(|(known, class)| says(known).then_some(class))
    }

    fn class_by_words(&self) -> Option<ErrorClass> {
        let says = |known: &[&str]| known.iter().any(|words| self.message.contains(words));
        if says(CONTEXT_WORDS) {
            return Some(ErrorClass::ContextWindow);
        }
        says(CONTENT_WORDS).then_some(ErrorClass::ContentPolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{Auth, ContentPolicy, ContextWindow, InvalidRequest, RateLimit, Server, Timeout};
    use proptest::prelude::*;

    /// Bodies as providers and servers send them; the source of each is beside it.
    const REAL: &[(u16, &str, ErrorClass)] = &[
        // github.com/mckaywrigley/chatbot-ui/issues/102
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 4097 tokens. However, you requested 4120 tokens (3120 in the messages, 1000 in the completion). Please reduce the length of the messages or completion.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            ContextWindow,
        ),
        // vLLM, github.com/vllm-project/vllm/issues/20409 and 4667: the error without an envelope, no code of its own
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, 10000 in the completion). Please reduce the length of the messages or completion.","type":"BadRequestError","param":null,"code":400}"#,
            ContextWindow,
        ),
        (
            400,
            r#"{"object":"error","message":"max_tokens must be at least 1, got -186.","type":"BadRequestError","param":null,"code":400}"#,
            InvalidRequest,
        ),
        // llama.cpp, github.com/ggml-org/llama.cpp/pull/15780; older ones answer 500
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":14429,"n_ctx":8192}}"#,
            ContextWindow,
        ),
        (
            500,
            r#"{"error":{"code":500,"message":"the request exceeds the available context size, try increasing it","type":"server_error"}}"#,
            ContextWindow,
        ),
        // Anthropic, github.com/getappmap/appmap-js/issues/2091
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 200679 tokens > 199999 maximum"}}"#,
            ContextWindow,
        ),
        (
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
            ContextWindow,
        ),
        // Gemini
        (
            400,
            r#"[{"error":{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
            ContextWindow,
        ),
        // text-generation-inference
        (
            422,
            r#"{"error":"Input validation error: `inputs` must have less than 4096 tokens. Given: 5000","error_type":"validation"}"#,
            ContextWindow,
        ),
        (
            422,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens and 100 `max_new_tokens`","error_type":"validation"}"#,
            ContextWindow,
        ),
        // Bedrock
        (400, r#"{"message":"Input is too long for requested model."}"#, ContextWindow),
        // Azure, dotnetstudioai.com and learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
        (
            400,
            r#"{"error":{"code":"content_filter","message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"medium"}}}}}"#,
            ContentPolicy,
        ),
        (
            400,
            r#"{"error":{"message":"refused","type":null,"param":"prompt","code":null,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            ContentPolicy,
        ),
        // OpenAI's reasoning models, github.com/alan-turing-institute/t0-1/issues/69
        (
            400,
            r#"{"error":{"message":"Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt: https://platform.openai.com/docs/guides/reasoning#advice-on-prompting","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}"#,
            ContentPolicy,
        ),
        (
            400,
            r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#,
            ContentPolicy,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}"#,
            ContentPolicy,
        ),
        // OpenRouter: a refusal that looks like a credential's
        (
            403,
            r#"{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged","metadata":{"reasons":["violence"]}}}"#,
            ContentPolicy,
        ),
        // OpenAI: a request larger than the whole rate is a rate limit, though its words speak of size
        (
            429,
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            RateLimit,
        ),
        // Groq says the same with 413
        (
            413,
            r#"{"error":{"message":"Request too large for model `llama-3.1-8b-instant` on tokens per minute (TPM): Limit 6000, Requested 8000","type":"tokens","code":"rate_limit_exceeded"}}"#,
            RateLimit,
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            RateLimit,
        ),
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"}}"#,
            RateLimit,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            RateLimit,
        ),
        (429, r#"{"message":"Too many tokens, please wait before trying again."}"#, RateLimit),
        // Anthropic, github.com/anthropics/anthropic-sdk-typescript/issues/616
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Server),
        (
            500,
            r#"{"error":{"message":"The server had an error while processing your request","type":"server_error","param":null,"code":null}}"#,
            Server,
        ),
        (503, "<html><body>503 Service Temporarily Unavailable</body></html>", Server),
        (502, "", Server),
        (504, "upstream request timeout", Timeout),
        (
            504,
            r#"{"error":{"message":"The server is overloaded or not ready yet.","type":"server_error","code":null}}"#,
            Timeout,
        ),
        (408, r#"{"error":{"message":"Request timed out","type":"timeout_error"}}"#, Timeout),
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-x.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            Auth,
        ),
        (
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
            Auth,
        ),
        (
            404,
            r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            Auth,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            Auth,
        ),
        (
            403,
            r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
            Auth,
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
            InvalidRequest,
        ),
        (422, r#"{"detail":[{"loc":["body","messages"],"msg":"field required"}]}"#, InvalidRequest),
        (409, "", InvalidRequest),
        (418, "", InvalidRequest),
    ];

    #[test]
    fn real_errors_are_understood() {
        for (status, body, expected) in REAL {
            assert_eq!(classify(Some(*status), body.as_bytes()), *expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_in_a_stream_speaks_for_itself() {
        for (body, expected) in [
            (
                r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#,
                RateLimit,
            ),
            (r#"{"error":{"message":"upstream","code":429}}"#, RateLimit),
            (r#"{"error":{"message":"Provider returned error","code":502}}"#, Server),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Server),
            (r#"{"error":"maximum context length is 4096"}"#, ContextWindow),
            ("not json", Server),
            ("", Server),
        ] {
            assert_eq!(classify(None, body.as_bytes()), expected, "{body}");
            assert_eq!(classify(Some(200), body.as_bytes()), expected, "with a success status: {body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_has_a_class(status in 0..700_u16, body in prop::collection::vec(any::<u8>(), 0..200)) {
            classify(Some(status), &body);
        }

        #[test]
        fn any_json_has_a_class(body in "[\\[{]{1,3}\"(error|code|type|message)\":[\\[{\"0-9a-z\\]}:]{0,40}") {
            classify(None, body.as_bytes());
        }
    }
}
