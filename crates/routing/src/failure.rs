//! What a failed attempt means: for this request, and for the deployment's breaker.

use crate::breaker::Failing;
use crate::classify::classify;
use crate::retry_after::retry_after_ms;
use gateway_config::{Breaker, ErrorClass, Settings};

/// Why an attempt gave no answer that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind it is; decides on fallbacks.
    pub class: ErrorClass,
    /// The status, where there was one that says so.
    pub status: Option<u16>,
    /// How long the provider asks to be left alone, in ms.
    pub retry_after_ms: Option<u64>,
    /// Whether another attempt in the same pool makes sense.
    pub is_retryable: bool,
    /// Whether the deployment may be asked again by this request: not where it was silent, nor where it will not have us.
    pub(crate) is_final_here: bool,
    how: How,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Answered,
    Silent,
    Broken,
    /// An error where an answer was promised: in a stream, or with a success status.
    ErrorInAnswer,
}

/// Why there was no answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection.
    Unreachable,
    /// The platform does not allow the address: no attempt will do better.
    NotAllowed,
    /// Nothing came in time.
    Silent,
    /// It broke off, or is not an answer of this API.
    Broken,
}

impl Failure {
    /// An answer that is an error, by its status, headers and body.
    pub fn answered<'h>(
        status: u16,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        settings: &Settings,
        now_ms: u64,
    ) -> Self {
        let class = classify(Some(status), body);
        // Whoever asks the same model again gets the same word.
        let is_about_the_prompt = matches!(class, ErrorClass::ContextWindow | ErrorClass::ContentPolicy);
        Failure {
            class,
            status: Some(status),
            retry_after_ms: retry_after_ms(header, now_ms).filter(|_| !is_about_the_prompt),
            is_retryable: settings.retries.statuses.contains(status) && !is_about_the_prompt,
            is_final_here: matches!(class, ErrorClass::Timeout | ErrorClass::Auth),
            how: How::Answered,
        }
    }

    /// An error where an answer was promised, by its body: in a stream before anything was sent on, or with a success status.
    pub fn in_answer(body: &[u8]) -> Self {
        let class = classify(None, body);
        let is_about_the_request = matches!(
            class,
            ErrorClass::ContextWindow | ErrorClass::ContentPolicy | ErrorClass::InvalidRequest
        );
        Failure {
            class,
            status: None,
            retry_after_ms: None,
            is_retryable: !is_about_the_request,
            is_final_here: matches!(class, ErrorClass::Timeout | ErrorClass::Auth),
            how: How::ErrorInAnswer,
        }
    }

    /// No answer.
    pub fn no_answer(why: NoAnswer) -> Self {
        let (class, how) = match why {
            NoAnswer::Silent => (ErrorClass::Timeout, How::Silent),
            NoAnswer::Unreachable | NoAnswer::NotAllowed | NoAnswer::Broken => {
                (ErrorClass::Server, How::Broken)
            }
        };
        Failure {
            class,
            status: None,
            retry_after_ms: None,
            is_retryable: true,
            is_final_here: matches!(why, NoAnswer::Silent | NoAnswer::NotAllowed),
            how,
        }
    }

    /// What the deployment's breaker makes of it.
    pub fn for_breaker(&self, policy: &Breaker) -> Failing {
        let is_about_the_prompt = matches!(self.class, ErrorClass::ContextWindow | ErrorClass::ContentPolicy);
        let counts = !is_about_the_prompt
            && match self.how {
                How::Answered => self.status.is_some_and(|status| policy.statuses.contains(status)),
                How::Silent => policy.timeouts,
                How::Broken => true,
                How::ErrorInAnswer => self.class != ErrorClass::InvalidRequest,
            };
        Failing { counts, retry_after_ms: self.retry_after_ms.filter(|_| counts) }
    }

    /// How much the client learns from it: when everything has failed, the most telling failure is handed on.
    pub(crate) fn tells(&self) -> u8 {
        match (self.class, self.status) {
            // About the request: the client can do something about it.
            (ErrorClass::ContextWindow | ErrorClass::ContentPolicy | ErrorClass::InvalidRequest, Some(_)) => {
                5
            }
            // When to come back.
            (ErrorClass::RateLimit, Some(_)) => 4,
            (ErrorClass::Server | ErrorClass::Timeout, Some(_)) => 3,
            (ErrorClass::Timeout, None) => 2,
            (_, None) => 1,
            // About the gateway's own credential.
            (ErrorClass::Auth, Some(_)) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again_and_what_trips() {
        let settings = Settings::default();
        let too_long = r#"{"error":{"code":"context_length_exceeded"}}"#;
        for (status, body, is_retryable, counts) in [
            (429, "", true, true),
            (500, "", true, true),
            (503, "", true, true),
            (401, "", true, true),
            (402, "", true, true),
            (404, "", true, false),
            (408, "", true, true),
            (409, "", true, false),
            (400, "", false, false),
            (413, "", false, false),
            (422, "", false, false),
            (400, too_long, false, false),
            // Whatever the status: the same model says the same.
            (500, too_long, false, false),
            (429, too_long, false, false),
            (403, r#"{"error":{"message":"your input was flagged"}}"#, false, false),
        ] {
            let failure = Failure::answered(status, |_| None, body.as_bytes(), &settings, 0);
            assert_eq!(failure.is_retryable, is_retryable, "{status} {body}");
            assert_eq!(failure.for_breaker(&settings.breaker).counts, counts, "{status} {body}");
        }
    }

    #[test]
    fn a_wait_is_believed_of_failures_only() {
        let settings = Settings::default();
        let header = |name: &str| (name == "retry-after").then_some("7");
        for (status, expected) in [(429, Some(7_000)), (503, Some(7_000)), (400, None)] {
            let failure = Failure::answered(status, header, b"", &settings, 0);
            assert_eq!(failure.for_breaker(&settings.breaker).retry_after_ms, expected, "{status}");
        }
    }

    #[test]
    fn silence_and_errors_in_answers() {
        let policy = Breaker { timeouts: false, ..Breaker::default() };
        let silent = Failure::no_answer(NoAnswer::Silent);
        assert!(silent.is_retryable && silent.is_final_here && silent.class == ErrorClass::Timeout);
        assert!(!silent.for_breaker(&policy).counts && silent.for_breaker(&Breaker::default()).counts);
        assert!(Failure::no_answer(NoAnswer::Unreachable).for_breaker(&policy).counts);
        let overloaded = Failure::in_answer(br#"{"error":{"type":"overloaded_error"}}"#);
        assert!(overloaded.is_retryable && overloaded.for_breaker(&policy).counts);
        let refused = Failure::in_answer(br#"{"error":{"code":"content_filter"}}"#);
        assert!(!refused.is_retryable && !refused.for_breaker(&policy).counts);
    }
}
