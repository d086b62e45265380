//! Whether a finished completion may be kept, and why not.
//!
//! Invariant: nothing that failed, was cut short, was filtered or refused, or says nothing is ever kept. An answer
//! that ended with `length` is kept where the request set a length itself: that is part of the key, so it is what was
//! asked for. Where it set none, the provider cut the answer, and all who ask would get the cut one.

use crate::json::{Json, Object};
use openai_types::{Answer, Usage};

/// Why an answer is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCacheable {
    /// The configuration says so.
    #[error("the cache is disabled")]
    Disabled,
    /// Not a `chat.completion` object, or not a stream of `chat.completion.chunk`s.
    #[error("{0}")]
    Malformed(&'static str),
    /// It carries an error.
    #[error("the answer carries an error")]
    Error,
    /// The stream has no `[DONE]`.
    #[error("the stream ended without [DONE]")]
    NotDone,
    /// A choice has no finish reason.
    #[error("a choice has no finish_reason")]
    Unfinished,
    /// A choice ended for a reason that does not make a whole answer, such as `content_filter`.
    #[error("a choice ended with another finish_reason than {}", FINISH_REASONS.join(", "))]
    FinishReason,
    /// A choice ended with `length`, and the request set none.
    #[error("a choice was cut at a length that its request did not set")]
    Cut,
    /// A choice is a refusal.
    #[error("a choice is a refusal")]
    Refused,
    /// A choice has neither content nor a call.
    #[error("a choice has neither content nor a call")]
    Empty,
    /// A choice has audio, which the provider keeps under an id that expires.
    #[error("a choice has audio, which expires at the provider")]
    Audio,
    /// The provider gave no usage, so a hit could not report what it saved.
    #[error("the answer has no usage")]
    NoUsage,
    /// A field of the stream that we do not know how to merge.
    #[error("the stream has a field that cannot be merged: {0}")]
    Unmergeable(String),
    /// Larger than the configured cap.
    #[error("the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// `cache.max_entry_bytes`.
        max_bytes: usize,
    },
}

/// Finish reasons of a whole answer.
pub const FINISH_REASONS: [&str; 4] = ["stop", "length", "tool_calls", "function_call"];

impl NotCacheable {
    /// The stable name of the reason, as `/store` answers it.
    pub fn code(&self) -> &'static str {
        match self {
            NotCacheable::Disabled => "disabled",
            NotCacheable::Malformed(_) => "malformed",
            NotCacheable::Error => "error",
            NotCacheable::NotDone => "not_done",
            NotCacheable::Unfinished => "unfinished",
            NotCacheable::FinishReason => "finish_reason",
            NotCacheable::Cut => "cut",
            NotCacheable::Refused => "refused",
            NotCacheable::Empty => "empty",
            NotCacheable::Audio => "audio",
            NotCacheable::NoUsage => "no_usage",
            NotCacheable::Unmergeable(_) => "unmergeable",
            NotCacheable::TooLarge { .. } => "too_large",
        }
    }
}

/// Judges a whole `chat.completion` object and returns the usage that it reports; `is_bounded` says whether its request bounds
/// its completion.
///
/// # Errors
/// Why it must not be kept.
pub fn check(completion: &[u8], is_bounded: bool) -> Result<Usage, NotCacheable> {
    let json = Json::parse(completion).map_err(|_| NotCacheable::Malformed("the answer is not JSON"))?;
    let object = json.as_object().ok_or(NotCacheable::Malformed("the answer is not an object"))?;
    if object.present("error").is_some() {
        return Err(NotCacheable::Error);
    }
    if object.present("object").is_some_and(|kind| kind.as_text() != Some("chat.completion")) {
        return Err(NotCacheable::Malformed("the answer is not a chat.completion"));
    }
    let choices = object.get("choices").and_then(Json::as_array).unwrap_or_default();
    if choices.is_empty() {
        return Err(NotCacheable::Malformed("the answer has no choices"));
    }
    for choice in choices {
        let choice = choice.as_object().ok_or(NotCacheable::Malformed("a choice is not an object"))?;
        check_choice(choice, is_bounded)?;
    }
    let answer =
        Answer::parse(completion).map_err(|_| NotCacheable::Malformed("the answer has a wrong type"))?;
    answer.usage().ok_or(NotCacheable::NoUsage)
}

fn check_choice(choice: &Object<'_>, is_bounded: bool) -> Result<(), NotCacheable> {
    if choice.present("error").is_some() {
        return Err(NotCacheable::Error);
    }
    let finish_reason = choice.present("finish_reason").ok_or(NotCacheable::Unfinished)?.as_text();
    if !finish_reason.is_some_and(|reason| FINISH_REASONS.contains(&reason)) {
        return Err(NotCacheable::FinishReason);
    }
    if finish_reason == Some("length") && !is_bounded {
        return Err(NotCacheable::Cut);
    }
    let message = choice.get("message").and_then(Json::as_object);
    let message = message.ok_or(NotCacheable::Malformed("a choice has no message"))?;
    if message.present("refusal").is_some_and(|refusal| !refusal.is_empty()) {
        return Err(NotCacheable::Refused);
    }
    if message.present("audio").is_some() {
        return Err(NotCacheable::Audio);
    }
    let says_something = ["content", "tool_calls", "function_call"]
        .into_iter()
        .filter_map(|name| message.present(name))
        .any(|value| !value.is_empty());
    if says_something { Ok(()) } else { Err(NotCacheable::Empty) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":2}"#;

    fn with_choice(choice: &str) -> String {
        format!(r#"{{"object":"chat.completion","choices":[{choice}],{USAGE}}}"#)
    }

    #[test]
    fn whole_answers_are_kept_with_their_usage() {
        for choice in [
            r#"{"index":0,"message":{"content":"hi","refusal":null},"finish_reason":"stop"}"#,
            r#"{"message":{"content":"hi","refusal":"","audio":null},"finish_reason":"length","error":null}"#,
            r#"{"message":{"content":[{"type":"text","text":"hi"}]},"finish_reason":"stop"}"#,
            r#"{"message":{"content":null,"tool_calls":[{}]},"finish_reason":"tool_calls"}"#,
            r#"{"message":{"function_call":{"name":"f"}},"finish_reason":"function_call"}"#,
        ] {
            let expected = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
            assert_eq!(check(with_choice(choice).as_bytes(), true), Ok(expected), "{choice}");
        }
    }

    #[test]
    fn an_answer_that_the_provider_cut_is_not_kept() {
        let (cut, whole) = (
            r#"{"message":{"content":"hi"},"finish_reason":"length"}"#,
            r#"{"message":{"content":"hi"},"finish_reason":"stop"}"#,
        );
        for (choices, is_bounded, code) in [
            (cut.to_owned(), false, Some("cut")),
            (format!("{whole},{cut}"), false, Some("cut")),
            (format!("{whole},{cut}"), true, None),
            (whole.to_owned(), false, None),
        ] {
            let found = check(with_choice(&choices).as_bytes(), is_bounded).err().map(|why| why.code());
            assert_eq!(found, code, "{choices} {is_bounded}");
        }
    }

    #[test]
    fn what_is_not_a_whole_answer_is_not_kept() {
        let good = r#"{"message":{"content":"hi"},"finish_reason":"stop"}"#;
        for (choices, code) in [
            (r#"{"message":{"content":"hi"}}"#.to_owned(), "unfinished"),
            (r#"{"message":{"content":"hi"},"finish_reason":null}"#.to_owned(), "unfinished"),
            (format!(r#"{good},{{"message":{{"content":"hi"}},"finish_reason":null}}"#), "unfinished"),
            (r#"{"message":{"content":"hi"},"finish_reason":"content_filter"}"#.to_owned(), "finish_reason"),
            (r#"{"message":{"content":"hi"},"finish_reason":1}"#.to_owned(), "finish_reason"),
            (r#"{"message":{"content":"hi"},"finish_reason":"error"}"#.to_owned(), "finish_reason"),
            (r#"{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}"#.to_owned(), "refused"),
            (r#"{"message":{"content":""},"finish_reason":"stop"}"#.to_owned(), "empty"),
            (r#"{"message":{"content":null,"tool_calls":[]},"finish_reason":"stop"}"#.to_owned(), "empty"),
            (r#"{"message":{"content":"hi","audio":{"id":"a"}},"finish_reason":"stop"}"#.to_owned(), "audio"),
            (
                r#"{"message":{"content":"hi"},"finish_reason":"stop","error":{"code":502}}"#.to_owned(),
                "error",
            ),
            (r#"{"message":"hi","finish_reason":"stop"}"#.to_owned(), "malformed"),
            (r#"{"index":"0","message":{"content":"hi"},"finish_reason":"stop"}"#.to_owned(), "malformed"),
            ("7".to_owned(), "malformed"),
            (String::new(), "malformed"),
        ] {
            assert_eq!(
                check(with_choice(&choices).as_bytes(), true).map_err(|e| e.code()),
                Err(code),
                "{choices}"
            );
        }
        for (body, code) in [
            (format!(r#"{{"choices":[{good}]}}"#), "no_usage"),
            (format!(r#"{{"choices":[{good}],"usage":null}}"#), "no_usage"),
            (format!(r#"{{"choices":[{good}],"usage":{{}}}}"#), "no_usage"),
            (format!(r#"{{"error":{{}},"choices":[{good}],{USAGE}}}"#), "error"),
            (format!(r#"{{"object":"list","choices":[{good}],{USAGE}}}"#), "malformed"),
            (r#"{"error":{"message":"overloaded"}}"#.to_owned(), "error"),
            ("[]".to_owned(), "malformed"),
            ("<html>".to_owned(), "malformed"),
            (format!(r#"{{"choices":[{good}],{USAGE}"#), "malformed"),
        ] {
            assert_eq!(check(body.as_bytes(), true).map_err(|e| e.code()), Err(code), "{body}");
        }
    }
}
