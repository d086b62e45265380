//! What a failed attempt means: for this request, and for the deployment's breaker.

use crate::breaker::Failing;
use crate::classify::classify;
use crate::retry_after::retry_after_ms;
use gateway_config::{Breaker, ErrorClass, Settings};

/// The least that a failure is taken to have cost, in ms: somebody else has to be asked.
const FAILED_MS: u64 = 1_000;

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
    /// It is the gateway that cut it off.
    CutOff,
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
    /// It is an answer, but not in the form that was asked for: the same deployment would give no other.
    OtherForm,
    /// It is larger than this gateway takes: of the same model it would be no smaller.
    TooLarge,
    /// It took longer in all than the request may.
    TooLong,
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
            retry_after_ms: retry_after_ms(status, header, now_ms).filter(|_| !is_about_the_prompt),
            is_retryable: settings.retries.statuses.contains(status) && !is_about_the_prompt,
            is_final_here: matches!(class, ErrorClass::Timeout | ErrorClass::Auth),
            how: How::Answered,
        }
    }

    /// An error where an answer was promised, by its body and the status that it means: in a stream, or with a success status.
    pub fn in_answer(status: u16, body: &[u8], settings: &Settings) -> Self {
        let class = classify(None, body);
        let is_about_the_request = matches!(
            class,
            ErrorClass::ContextWindow | ErrorClass::ContentPolicy | ErrorClass::InvalidRequest
        );
        Failure {
            class,
            status: Some(status),
            retry_after_ms: None,
            is_retryable: settings.retries.statuses.contains(status) && !is_about_the_request,
            is_final_here: matches!(class, ErrorClass::Timeout | ErrorClass::Auth),
            how: How::ErrorInAnswer,
        }
    }

    /// No answer.
    pub fn no_answer(why: NoAnswer) -> Self {
        let (class, how) = match why {
            NoAnswer::Silent => (ErrorClass::Timeout, How::Silent),
            NoAnswer::TooLong => (ErrorClass::Timeout, How::CutOff),
            NoAnswer::TooLarge => (ErrorClass::Server, How::CutOff),
            NoAnswer::Unreachable | NoAnswer::NotAllowed | NoAnswer::Broken | NoAnswer::OtherForm => {
                (ErrorClass::Server, How::Broken)
            }
        };
        Failure {
            class,
            status: None,
            retry_after_ms: None,
            is_retryable: how != How::CutOff,
            is_final_here: matches!(why, NoAnswer::Silent | NoAnswer::NotAllowed | NoAnswer::OtherForm),
            how,
        }
    }

    /// What the deployment's breaker makes of it, by the settings alone.
    pub(crate) fn for_breaker(&self, policy: &Breaker) -> Failing {
        let is_of_the_statuses = self.status.is_some_and(|status| policy.statuses.contains(status));
        let is_about_the_prompt = matches!(self.class, ErrorClass::ContextWindow | ErrorClass::ContentPolicy);
        let counts = !is_about_the_prompt
            && match self.how {
                How::Answered => is_of_the_statuses,
                How::Silent => policy.timeouts,
                How::Broken => true,
                How::CutOff => false,
                How::ErrorInAnswer => is_of_the_statuses && self.class != ErrorClass::InvalidRequest,
            };
        Failing {
            counts,
            // At once, or a moment that has passed, is no time to leave it alone.
            retry_after_ms: self.retry_after_ms.filter(|ms| counts && *ms > 0),
            is_rate_limit: counts && self.class == ErrorClass::RateLimit,
            had_begun: false,
        }
    }

    /// How soon the deployment is to be taken to answer after this: nothing where it says nothing about that, so that what fails at once does
    /// not pass for quick.
    pub(crate) fn latency_ms(&self, took_ms: u64, average_ms: u64) -> Option<u64> {
        match (self.how, self.class) {
            (How::Silent, _) => Some(took_ms),
            (How::CutOff, _)
            | (_, ErrorClass::ContextWindow | ErrorClass::ContentPolicy | ErrorClass::InvalidRequest) => None,
            _ => Some(took_ms.max(average_ms).max(FAILED_MS)),
        }
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
    use gateway_config::{PlainVariables, RouterConfig};

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
    fn a_wait_that_is_over_is_none() {
        let settings = Settings::default();
        for said in ["0", "0.0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            let header = |name: &str| (name == "retry-after").then_some(said);
            for status in [429, 503] {
                let failing = Failure::answered(status, header, b"", &settings, 1_800_000_000_000);
                let failing = failing.for_breaker(&settings.breaker);
                assert_eq!((failing.counts, failing.retry_after_ms), (true, None), "{status} {said}");
            }
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
        let settings = Settings::default();
        let refused = Failure::in_answer(400, br#"{"error":{"code":"content_filter"}}"#, &settings);
        assert!(!refused.is_retryable && !refused.for_breaker(&policy).counts);
    }

    #[test]
    fn who_gives_another_form_than_was_asked_for_is_asked_once_and_others_after_it() {
        let failure = Failure::no_answer(NoAnswer::OtherForm);
        assert!(failure.is_retryable && failure.is_final_here);
    }

    #[test]
    fn an_error_in_an_answer_goes_by_its_status_as_any_other() {
        let settings = |document: &str| {
            let document = format!(
                "[[backends]]\nid = \"b\"\nbase_url = \"https://b\"\n[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"{}\"]\n[[models]]\nname = \"m\"\ndeployments = [{{ backend = \"b\" }}]\n{document}",
                "ab".repeat(32)
            );
            let config = RouterConfig::parse(&document, "", PlainVariables::default());
            config.unwrap_or_else(|p| panic!("{p}")).models.remove(0).settings
        };
        let overloaded = br#"{"error":{"type":"overloaded_error"}}"#;
        for (document, is_retryable, counts) in [
            ("", true, true),
            ("retries = { statuses = [\"503\"] }", false, true),
            ("breaker = { statuses = [\"503\"] }", true, false),
        ] {
            let settings = settings(document);
            let failure = Failure::in_answer(529, overloaded, &settings);
            assert_eq!(failure.is_retryable, is_retryable, "{document}");
            assert_eq!(failure.for_breaker(&settings.breaker).counts, counts, "{document}");
        }
    }

    #[test]
    fn what_the_gateway_cuts_off_is_not_tried_again_and_no_fault_of_the_deployments() {
        for why in [NoAnswer::TooLarge, NoAnswer::TooLong] {
            let failure = Failure::no_answer(why);
            assert!(!failure.is_retryable && !failure.for_breaker(&Breaker::default()).counts, "{why:?}");
        }
    }

    #[test]
    fn a_rate_limit_is_one_without_a_hint_too() {
        let settings = Settings::default();
        let no_429 = Breaker { statuses: settings.retries.statuses.clone(), ..Breaker::default() };
        for (status, expected) in [(429, true), (402, true), (500, false), (400, false)] {
            let failure = Failure::answered(status, |_| None, b"", &settings, 0);
            assert_eq!(failure.for_breaker(&no_429).is_rate_limit, expected, "{status}");
        }
    }
}
