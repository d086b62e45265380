//! A provider's error inside an answer that began as a success: in a stream, or as JSON with status 200.
//!
//! Reads what the providers write, and guesses the status they would have given it. What the error means for the
//! request (whether another deployment may do better) is not decided here.

use serde::Deserialize;

/// A provider's error, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedError {
    /// The status it would have had, 400 to 599: the error's own figure, else by its words, else 500.
    pub status: u16,
    /// `error.code`, if it is a word.
    pub code: Option<String>,
    /// `error.type`.
    pub kind: Option<String>,
    /// The JSON (or whatever else it was) as the provider wrote it: may quote the prompt, so it is for the client and for
    /// no log.
    pub body: Vec<u8>,
}

#[derive(Deserialize)]
struct Envelope {
    error: Option<Body>,
    // vLLM and Mistral put the fields at the top: {"object":"error","message","type","code"}.
    object: Option<String>,
    r#type: Option<Word>,
    code: Option<Word>,
    status: Option<Word>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Fields { r#type: Option<Word>, code: Option<Word>, status: Option<Word> },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Figure(u64),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Word {
    fn text(&self) -> Option<&str> {
        match self {
            Word::Text(text) => Some(text),
            Word::Figure(_) | Word::Other(_) => None,
        }
    }

    fn status(&self) -> Option<u16> {
        let figure = match self {
            Word::Figure(figure) => *figure,
            Word::Text(text) => text.parse().ok()?,
            Word::Other(_) => return None,
        };
        u16::try_from(figure).ok().filter(|status| (400..=599).contains(status))
    }
}

/// Words of `code`, `type` and `status`, and the status that their providers send with them. OpenAI:
/// <https://platform.openai.com/docs/guides/error-codes>; Anthropic: <https://docs.anthropic.com/en/api/errors>; Gemini
/// (upper case): <https://ai.google.dev/gemini-api/docs/troubleshooting>; Azure OpenAI: `content_filter`, `429`.
const STATUS_OF_WORD: &[(&str, u16)] = &[
    ("context_length_exceeded", 400),
    ("content_filter", 400),
    ("content_policy_violation", 400),
    ("invalid_request_error", 400),
    ("invalid_argument", 400),
    ("failed_precondition", 400),
    ("authentication_error", 401),
    ("invalid_api_key", 401),
    ("unauthenticated", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("permission_denied", 403),
    ("not_found_error", 404),
    ("model_not_found", 404),
    ("not_found", 404),
    ("request_too_large", 413),
    ("rate_limit_exceeded", 429),
    ("rate_limit_error", 429),
    ("insufficient_quota", 429),
    ("resource_exhausted", 429),
    ("requests", 429),
    ("tokens", 429),
    ("server_error", 500),
    ("api_error", 500),
    ("internal", 500),
    ("internal_server_error", 500),
    ("engine_overloaded", 503),
    ("overloaded", 503),
    ("overloaded_error", 529),
    ("service_unavailable", 503),
    ("unavailable", 503),
    ("timeout", 504),
    ("timeout_error", 504),
    ("deadline_exceeded", 504),
];

/// What an error counts as that says nothing about itself.
const UNKNOWN_STATUS: u16 = 500;

impl ReportedError {
    /// Reads an error object; `None` when the JSON is none.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let envelope: Envelope = serde_json::from_slice(json).ok()?;
        let (kind, code, status) = match envelope.error {
            Some(Body::Fields { r#type, code, status }) => (r#type, code, status),
            Some(Body::Other(_)) => (None, None, None),
            None if envelope.object.as_deref() == Some("error") => {
                (envelope.r#type, envelope.code, envelope.status)
            }
            None => return None,
        };
        let words = [&code, &kind, &status];
        let figure = words.iter().find_map(|word| word.as_ref()?.status());
        let guess = || words.iter().find_map(|word| status_of_word(word.as_ref()?.text()?));
        let text = |word: &Option<Word>| word.as_ref().and_then(Word::text).map(str::to_owned);
        Some(ReportedError {
            status: figure.or_else(guess).unwrap_or(UNKNOWN_STATUS),
            code: text(&code),
            kind: text(&kind),
            body: json.to_vec(),
        })
    }

    /// An error that is no JSON, such as the data of an `event: error`.
    pub fn unreadable(body: &[u8]) -> Self {
        ReportedError { status: UNKNOWN_STATUS, code: None, kind: None, body: body.to_vec() }
    }

    /// The event that tells an OpenAI client; `None` when the provider's words are no `{"error":…}`, which is what the
    /// SDKs look for.
    pub fn to_sse_event(&self) -> Option<Vec<u8>> {
        let envelope: Envelope = serde_json::from_slice(&self.body).ok()?;
        envelope.error?;
        // A line end in JSON can only stand between its tokens; in an event it would end the data.
        let data = self.body.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
        Some(b"data: ".iter().copied().chain(data).chain(*b"\n\n").collect())
    }
}

fn status_of_word(text: &str) -> Option<u16> {
    STATUS_OF_WORD.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|&(_, status)| status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_providers_error_is_read_and_its_status_guessed() {
        for (json, status, code) in [
            (r#"{"error":{"message":"x","type":"server_error","param":null,"code":null}}"#, 500, None),
            (
                r#"{"error":{"message":"x","type":"requests","code":"rate_limit_exceeded"}}"#,
                429,
                Some("rate_limit_exceeded"),
            ),
            (
                r#"{"error":{"type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                400,
                Some("context_length_exceeded"),
            ),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, 529, None),
            (r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#, 503, None),
            (r#"{"error":{"message":"x","status":"RESOURCE_EXHAUSTED"}}"#, 429, None),
            (r#"{"error":{"code":"429","message":"x"}}"#, 429, Some("429")),
            (r#"{"error":{"code":200,"message":"x"}}"#, 500, None),
            (r#"{"error":{"code":{"a":1},"type":["b"]}}"#, 500, None),
            (r#"{"error":"boom"}"#, 500, None),
            (r#"{"error":true}"#, 500, None),
            (r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#, 400, None),
        ] {
            let error = ReportedError::parse(json.as_bytes()).expect(json);
            assert_eq!((error.status, error.code.as_deref()), (status, code), "{json}");
            assert_eq!(error.body, json.as_bytes());
        }
        for json in
            ["", "null", "[]", "{}", r#"{"error":null}"#, r#"{"choices":[]}"#, r#"{"object":"x"}"#, "boom"]
        {
            assert_eq!(ReportedError::parse(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn an_openai_client_is_told_in_the_providers_words_if_it_can_read_them() {
        let told = |body: &str| ReportedError::unreadable(body.as_bytes()).to_sse_event();
        assert_eq!(told("{\"error\":\n{}}"), Some(b"data: {\"error\": {}}\n\n".to_vec()));
        for body in ["overloaded", "{}", r#"{"object":"error"}"#, r#"{"error":null}"#] {
            assert_eq!(told(body), None, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_the_status_is_one(body in "[{}\\[\\]\":a-z0-9,errorcodetypestatus]{0,60}") {
            if let Some(error) = ReportedError::parse(body.as_bytes()) {
                proptest::prop_assert!((400..=599).contains(&error.status));
            }
        }
    }
}
