//! Whole answers: at hand, or promised as soon as they have begun, so that a client that leaves is seen.

use crate::after;
use crate::attempt::Given;
use crate::call::Call;
use crate::error::{Cause, UpstreamFailed};
use crate::host::{self, BodyWriter};
use crate::ledger::{Ledger, Spent};
use crate::pools::Flight;
use crate::reply::Reply;
use crate::upstream;
use contracts::Outcome;
use http::{HeaderMap, HeaderValue, header};
use relay::{ClientGone, End};
use std::pin::Pin;
use std::rc::Rc;

/// Largest answer that is offered to the cache, in bytes; the cache may have a smaller cap of its own.
pub const KEEP_BYTES: usize = 1024 * 1024;
const JSON: &str = "application/json";

/// Sends an answer that is here, and closes the books when the client has it.
pub fn at_hand(
    ledger: Ledger,
    flight: Option<Flight>,
    cache_key: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
    spent: Spent,
) -> Reply {
    let books = Books::open(ledger, flight, cache_key, &body, spent);
    Reply::whole(200, headers, body).and_then(|taken| async move { books.close(taken) })
}

/// An answer that somebody has begun to give: the client gets its head now, and the rest in one piece when it is whole.
///
/// What fails meanwhile is tried again unseen, for nothing of the answer has been sent. When nobody can answer, the body is
/// dropped without its end: the client sees a transfer that broke off, and neither a part of an answer nor an error that
/// looks like one.
pub fn promised(
    call: Rc<Call>,
    asking: Pin<Box<impl Future<Output = upstream::Outcome> + 'static>>,
    mut headers: HeaderMap,
    ledger: Ledger,
    cache_key: Option<String>,
) -> Reply {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    Reply::streamed(200, headers, move |writer| fill(writer, call, asking, ledger, cache_key))
}

async fn fill(
    mut writer: BodyWriter,
    call: Rc<Call>,
    asking: Pin<Box<impl Future<Output = upstream::Outcome> + 'static>>,
    mut ledger: Ledger,
    cache_key: Option<String>,
) {
    let outcome = match relay::attended(asking, &mut writer, &call.options, &call.clock).await {
        Ok(outcome) => outcome,
        Err(end) => {
            drop(writer);
            let spent = ledger.left_asking(&call, end == End::ClientGone);
            return match end {
                End::ClientGone => ledger.close(200, Outcome::ClientGone, "", spent),
                _ => failed(ledger, UpstreamFailed::Timeout, spent),
            };
        }
    };
    ledger.answered_by(&call, &outcome);
    match outcome.given {
        Given::Whole { body, .. } => {
            let cache_key = cache_key.filter(|_| outcome.model == call.model);
            let spent = Spent::on_whole(&body);
            let books = Books::open(ledger, outcome.flight, cache_key, &body, spent);
            let taken = writer.write_whole(body, host::client_within()).await;
            books.close(taken);
        }
        Given::Error { .. } => ledger.close(200, Outcome::UpstreamError, "", Spent::Nothing),
        Given::Nothing(why) => failed(ledger, why, Spent::Nothing),
        Given::Stream { .. } => failed(ledger, UpstreamFailed::Truncated, Spent::Nothing),
    }
}

fn failed(ledger: Ledger, why: UpstreamFailed, spent: Spent) {
    let code = Cause::NoAnswer(why).to_api_error().code;
    ledger.close(200, Outcome::UpstreamFailed, code, spent);
}

/// What follows a whole answer.
struct Books {
    ledger: Ledger,
    spent: Spent,
    kept: Option<(String, Vec<u8>)>,
}

impl Books {
    fn open(
        mut ledger: Ledger,
        flight: Option<Flight>,
        cache_key: Option<String>,
        body: &[u8],
        spent: Spent,
    ) -> Self {
        ledger.first_content_at(Some(ledger.elapsed_ms()));
        // The deployment has done its part, whatever the client does now.
        if let (Some(mut flight), Spent::Counted(usage)) = (flight, &spent) {
            flight.used(usage.total());
        }
        let kept = cache_key.filter(|_| body.len() <= KEEP_BYTES).map(|key| (key, body.to_vec()));
        Books { ledger, spent, kept }
    }

    fn close(self, taken: Result<(), ClientGone>) {
        self.ledger.close(200, outcome_of(taken), "", self.spent);
        if let Some((key, body)) = self.kept {
            after::keep(&key, JSON, &body);
        }
    }
}

/// What a request comes to whose answer the client took, or did not.
pub fn outcome_of(taken: Result<(), ClientGone>) -> Outcome {
    match taken {
        Ok(()) => Outcome::Completed,
        Err(ClientGone) => Outcome::ClientGone,
    }
}
