//! Streams: handed on, gone on with elsewhere, and booked when they have ended, one way or another.

use crate::after;
use crate::attempt::{Given, Stream};
use crate::call::Call;
use crate::error::{Cause, stream_error};
use crate::host::{self, BodyWriter};
use crate::ledger::{Ledger, Spent};
use crate::reply::Reply;
use crate::upstream::{self, Elsewhere};
use contracts::Outcome;
use http::{HeaderMap, HeaderValue, header};
use openai_types::{Characters, ReportedError};
use relay::{End, Failure, Opened, Report, Resume, Resumed, Sink, Spoken};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;

const EVENT_STREAM: &str = "text/event-stream";

/// A stream that has begun to answer.
pub fn begun(
    call: Rc<Call>,
    mut headers: HeaderMap,
    source: Box<Opened<Stream>>,
    elsewhere: Elsewhere,
    ledger: Ledger,
    cache_key: Option<String>,
) -> Reply {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let teller = Teller { call, asked: Rc::new(RefCell::new(Asked::Answering(elsewhere))) };
    Reply::streamed(200, headers, move |writer| {
        fill(writer, std::future::ready(Some(*source)), teller, ledger, cache_key)
    })
}

/// A stream of which nothing is known yet: backends are still being asked, and the client has waited long enough to be
/// told that somebody is there.
pub fn promised(
    call: Rc<Call>,
    asking: Pin<Box<impl Future<Output = upstream::Outcome> + 'static>>,
    mut headers: HeaderMap,
    ledger: Ledger,
    cache_key: Option<String>,
) -> Reply {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let asked = Rc::new(RefCell::new(Asked::Waiting));
    let teller = Teller { call: call.clone(), asked: asked.clone() };
    let first = async move {
        let mut outcome = asking.await;
        let nothing = Given::Nothing(crate::error::UpstreamFailed::NoneLeft { retry_after_s: None });
        match std::mem::replace(&mut outcome.given, nothing) {
            Given::Stream { source, .. } => {
                asked.replace(Asked::Answering(Elsewhere::new(call, outcome)));
                Some(*source)
            }
            given => {
                outcome.given = given;
                asked.replace(Asked::GaveUp(outcome));
                None
            }
        }
    };
    Reply::streamed(200, headers, move |writer| fill(writer, first, teller, ledger, cache_key))
}

/// What has become of the asking.
enum Asked {
    /// It is still under way.
    Waiting,
    /// Somebody answers.
    Answering(Elsewhere),
    /// Nobody does.
    GaveUp(upstream::Outcome),
}

/// Goes on elsewhere, once somebody has begun.
struct Teller {
    call: Rc<Call>,
    asked: Rc<RefCell<Asked>>,
}

impl Resume for Teller {
    type Source = Stream;

    async fn resume(&mut self, failure: &Failure, spoken: &Spoken) -> Option<Resumed<Stream>> {
        // What speaks of the request would be said again.
        if let Failure::Reported(error) = failure
            && (400..500).contains(&error.status)
            && error.status != 429
        {
            return None;
        }
        let Asked::Answering(elsewhere) = self.asked.replace(Asked::Waiting) else { return None };
        let mut lent = Lent { elsewhere: Some(elsewhere), to: &self.asked };
        lent.elsewhere.as_mut()?.resume(failure, spoken).await
    }
}

/// Taken out for a resumption, and put back even if that is dropped halfway: the books need it.
struct Lent<'a> {
    elsewhere: Option<Elsewhere>,
    to: &'a RefCell<Asked>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(elsewhere) = self.elsewhere.take() {
            self.to.replace(Asked::Answering(elsewhere));
        }
    }
}

async fn fill(
    mut writer: BodyWriter,
    first: impl Future<Output = Option<Opened<Stream>>>,
    mut teller: Teller,
    mut ledger: Ledger,
    cache_key: Option<String>,
) {
    let call = teller.call.clone();
    let options = relay::Options {
        keep_bytes: if cache_key.is_some() { call.options.keep_bytes } else { 0 },
        ..call.options
    };
    let report = relay::relay(first, &mut teller, &mut writer, &options, &call.clock).await;
    let asked = teller.asked.replace(Asked::Waiting);
    let (outcome, code) = match &report.end {
        End::Complete => (Outcome::Completed, String::new()),
        End::ClientGone => (Outcome::ClientGone, String::new()),
        End::Failed(failure) => {
            let (event, outcome, code) = match &asked {
                Asked::GaveUp(outcome) => given_up(&outcome.given),
                Asked::Waiting | Asked::Answering(_) => broken_off(failure),
            };
            // If the client has left as well, there is nobody to tell.
            let _told = host::within(host::client_within(), writer.send(event)).await;
            (outcome, code)
        }
    };
    // A body that nobody reads is dropped, not ended.
    if report.end != End::ClientGone {
        let _ended = host::within(host::client_within(), writer.end()).await;
    }
    let asked_after_ms = call.arrival.clock.ms_until(&call.clock);
    ledger.first_content_at(report.first_content_at_ms.map(|ms| ms.saturating_add(asked_after_ms)));
    let mut spent = spent(&report);
    let attempts = call.story.so_far();
    // All parts but the last broke off.
    for (part, took) in attempts.answered.iter().zip(&report.spent).rev().skip(1).rev() {
        ledger.also_spent(part, &Spent::from(*took));
    }
    let cache_key = match asked {
        Asked::Answering(mut elsewhere) => {
            // Who was asked to go on and is not waited for any more has got the prompt; what it made of it, nobody hears.
            if let (Some(asked), End::ClientGone) = (&attempts.under_way, &report.end) {
                ledger.also_spent(asked, &Spent::Generated(Characters::default()));
            }
            let failure = match &report.end {
                End::Failed(failure) => Some(failure),
                End::Complete | End::ClientGone => None,
            };
            elsewhere.end(ledger.tokens(&spent), failure).await;
            ledger.answered_by(&call, elsewhere.outcome());
            cache_key.filter(|_| elsewhere.outcome().model == call.model)
        }
        Asked::GaveUp(outcome) => {
            ledger.answered_by(&call, &outcome);
            None
        }
        Asked::Waiting => {
            spent = ledger.left_asking(&call, report.end == End::ClientGone);
            None
        }
    };
    ledger.close(200, outcome, &code, spent);
    if let (Some(key), Some(kept)) = (cache_key, report.kept) {
        after::keep(&key, EVENT_STREAM, &kept);
    }
}

/// What the last upstream took.
fn spent(report: &Report) -> Spent {
    match (report.spent.last(), &report.end) {
        (None, _) => Spent::Nothing,
        // A provider bills no answer that it failed to begin.
        (Some(last), End::Failed(_)) if !last.is_something() => Spent::Nothing,
        (Some(last), _) => Spent::from(*last),
    }
}

/// The event for an answer that broke off.
fn broken_off(failure: &Failure) -> (Vec<u8>, Outcome, String) {
    if let Failure::Reported(error) = failure
        && let Some(event) = error.to_sse_event()
    {
        return (event, Outcome::UpstreamError, String::new());
    }
    let ours = stream_error(failure);
    (ours.to_sse_event().into_bytes(), Outcome::UpstreamFailed, ours.code.to_owned())
}

/// The event for an answer that nobody began, once a stream has been promised.
fn given_up(given: &Given) -> (Vec<u8>, Outcome, String) {
    match given {
        Given::Error { body, .. } => {
            let event = ReportedError::parse(body).and_then(|error| error.to_sse_event());
            match event {
                Some(event) => (event, Outcome::UpstreamError, String::new()),
                None => broken_off(&Failure::NotOpened),
            }
        }
        Given::Nothing(failed) => {
            let error = Cause::NoAnswer(failed.clone()).to_api_error();
            (error.to_sse_event().into_bytes(), Outcome::UpstreamFailed, error.code.to_owned())
        }
        Given::Stream { .. } | Given::Whole { .. } => broken_off(&Failure::NotOpened),
    }
}
