//! What it comes to that an attempt gave no answer: for the client, and for what `routing` makes of it.

use super::Given;
use crate::error::UpstreamFailed;
use gateway_config::Settings;
use http::{HeaderMap, HeaderValue, header};
use openai_types::ReportedError;
use relay::{Late, SourceFailed, Spent};
use routing::{Failure, NoAnswer};

/// An attempt that gave no answer.
pub struct Failed {
    /// What it means for the request and the deployment.
    pub failure: Failure,
    /// What the client can be told.
    pub given: Given,
    /// What it cost all the same.
    pub spent: Spent,
}

/// A provider's error with a success status: with the status that it means.
pub(super) fn reported(error: ReportedError, settings: &Settings, mut headers: HeaderMap) -> Box<Failed> {
    let failure = Failure::in_answer(error.status, &error.body, settings);
    let given = if error.status == 401 {
        Given::Nothing(UpstreamFailed::CredentialRefused)
    } else if error.to_sse_event().is_none() {
        Given::Nothing(UpstreamFailed::BadReply("an error with a success status"))
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Given::Error { status: error.status, headers, body: error.body }
    };
    Box::new(Failed { failure, given, spent: Spent::default() })
}

/// A stream that failed before any of it was sent.
pub(super) fn not_opened(failure: relay::Failure, settings: &Settings, headers: HeaderMap) -> Box<Failed> {
    match failure {
        relay::Failure::Reported(error) => reported(*error, settings, headers),
        relay::Failure::Late(Late::Total) => no_answer(NoAnswer::TooLong, UpstreamFailed::Timeout),
        relay::Failure::TooLarge { max_bytes } => nothing(UpstreamFailed::TooLarge { max_bytes }),
        relay::Failure::Source(SourceFailed::Idle) | relay::Failure::Late(Late::FirstToken | Late::Idle) => {
            nothing(UpstreamFailed::Timeout)
        }
        relay::Failure::Truncated | relay::Failure::Empty => nothing(UpstreamFailed::Truncated),
        relay::Failure::Malformed => bad("a malformed event"),
        failure => nothing(UpstreamFailed::BrokeOff(failure.to_string())),
    }
}

/// What it means for the request and the deployment that a stream broke off; `None` where it says nothing about either: a bound of ours
/// was reached, or another one had begun what this one did not go on with.
pub fn broke_off(failure: &relay::Failure, settings: &Settings) -> Option<Failure> {
    match failure {
        relay::Failure::Reported(error) => Some(Failure::in_answer(error.status, &error.body, settings)),
        relay::Failure::Source(SourceFailed::Idle) | relay::Failure::Late(Late::FirstToken | Late::Idle) => {
            Some(Failure::no_answer(NoAnswer::Silent))
        }
        relay::Failure::Truncated
        | relay::Failure::Empty
        | relay::Failure::Malformed
        | relay::Failure::Source(SourceFailed::Broken(_) | SourceFailed::Undecodable(_)) => {
            Some(Failure::no_answer(NoAnswer::Broken))
        }
        relay::Failure::Late(Late::Total)
        | relay::Failure::TooLarge { .. }
        | relay::Failure::Disagrees
        | relay::Failure::NotOpened => None,
    }
}

pub(super) fn bad(what: &'static str) -> Box<Failed> {
    nothing(UpstreamFailed::BadReply(what))
}

pub(super) fn in_another_form(what: &'static str) -> Box<Failed> {
    no_answer(NoAnswer::OtherForm, UpstreamFailed::BadReply(what))
}

/// No answer at all.
pub(super) fn nothing(failed: UpstreamFailed) -> Box<Failed> {
    let why = match &failed {
        UpstreamFailed::Timeout => NoAnswer::Silent,
        UpstreamFailed::NotAllowed => NoAnswer::NotAllowed,
        UpstreamFailed::Connect(_) => NoAnswer::Unreachable,
        UpstreamFailed::TooLarge { .. } => NoAnswer::TooLarge,
        UpstreamFailed::NoneLeft { .. }
        | UpstreamFailed::CredentialRefused
        | UpstreamFailed::BrokeOff(_)
        | UpstreamFailed::Truncated
        | UpstreamFailed::BadReply(_) => NoAnswer::Broken,
    };
    no_answer(why, failed)
}

pub(super) fn no_answer(why: NoAnswer, failed: UpstreamFailed) -> Box<Failed> {
    let (failure, given) = (Failure::no_answer(why), Given::Nothing(failed));
    Box::new(Failed { failure, given, spent: Spent::default() })
}
