//! Everything that keeps a request from its 204, and what the caller is told: one exhaustive match.

use crate::reply::Reply;
use door::NoOperator;
use gateway_config::{Limit, LimitHeaders, Problems};
use http::{HeaderName, header};
use openai_types::ApiError;
use quota::{Alert, Class, Kind, Refusal, Rejected, Span, StoreError, Unapplied, Unit};
use tokens::InvalidRequest;

/// Tells the OpenAI SDKs whether a retry makes sense, whatever the status says.
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Most wrong settlements that an answer names.
const MAX_NAMED: usize = 8;

/// Why there is no 204.
#[derive(Debug)]
pub enum Cause<'c> {
    /// No such path.
    NotFound { path: String },
    /// The path exists, but not with this method.
    MethodNotAllowed { allow: &'static str },
    /// It is an operator's page, and the request no operator's.
    NoOperator(NoOperator),
    /// There is no counter of this name.
    UnknownCounter { name: String },
    /// A counter of the limit is named by as many values as its `counter_key` has parts.
    WrongParts { limit: &'c Limit, given: usize },
    /// The body is over the cap.
    BodyTooLarge { max_bytes: usize },
    /// The body ended before its end.
    BodyCutShort { reason: String },
    /// The gateway document has problems.
    Configuration(&'static Problems),
    /// The platform does not give a variable.
    VariableUnreadable { name: &'static str, reason: String },
    /// The body is no chat request.
    InvalidRequest(InvalidRequest),
    /// A limit is used up for now.
    Refused { refusal: Box<Refusal<'c>>, headers: &'c LimitHeaders },
    /// A limit is smaller than the request.
    NeverFits { limit: &'c str, kind: Kind, size: u64, amount: u64, headers: &'c LimitHeaders },
    /// The counters cannot be reached, and the document says to refuse then.
    StoreFailed(StoreError),
    /// The body is no batch of settlements; nothing was settled.
    InvalidBatch { param: Option<&'static str>, what: String },
    /// Some settlements are no settlements; the others were made, and have reached these thresholds.
    Rejected { rejected: Vec<Rejected>, settlements: usize, alerts: Vec<Alert<'c>> },
    /// Some counters were not corrected.
    Unsettled(Unapplied<'c>),
}

impl<'c> Cause<'c> {
    /// Thresholds whose alert may be due because of it.
    pub fn alerts(&self) -> Vec<Alert<'c>> {
        match self {
            Cause::Refused { refusal, .. } => refusal.alerts.clone(),
            Cause::Rejected { alerts, .. } | Cause::Unsettled(Unapplied { alerts, .. }) => alerts.clone(),
            _ => Vec::new(),
        }
    }
}

impl<'c> From<&Cause<'_>> for Reply<'c> {
    fn from(cause: &Cause<'_>) -> Reply<'c> {
        match cause {
            Cause::NotFound { path } => error(
                404,
                "not_found",
                format!("There is no {path:?} here; there are /reserve, /settle and /admin/limits."),
            ),
            Cause::MethodNotAllowed { allow } => {
                error(405, "method_not_allowed", format!("Use {allow}.")).with(header::ALLOW, allow)
            }
            Cause::NoOperator(why) => {
                let reply = error(why.status(), why.code(), why.message().to_owned());
                if why.status() == 401 { reply.with(header::WWW_AUTHENTICATE, "Bearer") } else { reply }
            }
            Cause::UnknownCounter { name } => {
                let message = format!(
                    "There is no counter {name:?}. It is `<limit>:<value>`; GET /admin/limits lists the limits."
                );
                error(404, "not_found", message)
            }
            Cause::WrongParts { limit, given } => {
                let parts: Vec<String> = limit.counter_key.iter().map(ToString::to_string).collect();
                let name = match parts.len() {
                    0 => format!("`{}`", limit.name),
                    _ => {
                        format!("`{}:<{}>`, each value escaped as in any URL", limit.name, parts.join(">+<"))
                    }
                };
                let message = format!("A counter of this limit is named {name}; {given} values are given.");
                error(400, "invalid_request", message)
            }
            Cause::BodyTooLarge { max_bytes } => {
                error(413, "request_too_large", format!("The body is larger than {max_bytes} bytes."))
            }
            Cause::BodyCutShort { reason } => {
                logged(error(400, "invalid_request", "The body ended early.".to_owned()), reason)
            }
            Cause::Configuration(problems) => {
                let message = format!("The gateway document is invalid:\n{problems}");
                let log = message.replace('\n', "; ");
                logged(error(500, "invalid_configuration", message).with(X_SHOULD_RETRY, "false"), log)
            }
            Cause::VariableUnreadable { name, reason } => {
                logged(unavailable(), format!("the variable `{name}` cannot be read: {reason}"))
            }
            Cause::InvalidRequest(invalid) => api_error(
                ApiError::new(400, "invalid_request", invalid.to_string()),
                invalid.param.as_deref(),
            ),
            Cause::Refused { refusal, headers } => refused(refusal, headers),
            Cause::NeverFits { limit, kind, size, amount, headers } => {
                let message = format!(
                    "This request needs an estimated {}, more than the {} that limit \"{limit}\" allows {}, so a retry \
                     cannot help: shorten the prompt or lower `max_completion_tokens`.",
                    quantity(kind.unit, *amount),
                    figure(kind.unit, *size),
                    window(kind.span),
                );
                error(429, code(kind.class()), message)
                    .with(X_SHOULD_RETRY, "false")
                    .with_limit(headers, *kind, *size)
                    .for_client(headers)
            }
            Cause::StoreFailed(failure) => {
                logged(unavailable(), format!("on_store_error=deny, refused: {failure}"))
            }
            Cause::InvalidBatch { param, what } => {
                let message = match param {
                    Some(param) => format!("`{param}` {what}. Nothing was settled."),
                    None => format!("The body {what}. Nothing was settled."),
                };
                api_error(ApiError::new(400, "invalid_request", message), *param)
            }
            Cause::Rejected { rejected, settlements, .. } => {
                let path = |r: &Rejected| format!("settlements[{}].{}", r.index, r.field);
                let named: Vec<_> =
                    rejected.iter().take(MAX_NAMED).map(|r| format!("`{}` {r}", path(r))).collect();
                let named = named.join("; ");
                let (count, settled) = (rejected.len(), settlements.saturating_sub(rejected.len()));
                let message =
                    format!("{named}. Settlements not made: {count}; the others were made: {settled}.");
                let param = rejected.first().map(path);
                let error = ApiError::new(400, "invalid_request", message.clone());
                logged(api_error(error, param.as_deref()), message)
            }
            Cause::Unsettled(unapplied) => {
                let message = "Some counters could not be corrected. Do not send this batch again: the rest of it was \
                               settled, and would be twice.";
                let reply = error(503, "limiter_unavailable", message.to_owned());
                logged(reply.with(X_SHOULD_RETRY, "false"), unapplied.to_string())
            }
        }
    }
}

/// 429, with what the class of the limit lets the client expect of a retry.
fn refused(refusal: &Refusal<'_>, headers: &LimitHeaders) -> Reply<'static> {
    let Refusal { by, amount, retry_after_s, tightest, .. } = refusal;
    let (limit, unit) = (by.limit, by.kind.unit);
    let (allowed, used, needed) = (quantity(unit, by.size), figure(unit, by.used), figure(unit, *amount));
    let message = match refusal.class() {
        Class::Parallel => format!("Limit \"{limit}\" allows {allowed}; {used} are running."),
        Class::Rate => format!(
            "Limit \"{limit}\" allows {allowed} in 60 seconds; {used} are used and this request needs an estimated \
             {needed}. Retry in {retry_after_s} s."
        ),
        Class::Quota => format!(
            "Limit \"{limit}\" allows {allowed} in its window; {used} are used and this request needs an estimated \
             {needed}. The next window begins in {retry_after_s} s."
        ),
    };
    let reply =
        error(429, code(refusal.class()), message).with(header::RETRY_AFTER, &retry_after_s.to_string());
    let reply = match refusal.class() {
        // Hours or days: an SDK's own retries would only hammer.
        Class::Quota => reply.with(X_SHOULD_RETRY, "false"),
        Class::Rate | Class::Parallel => reply,
    };
    // The limit that refuses in the place of a tighter one that does not.
    reply.with_tightest(headers, tightest).with_standing(headers, by).for_client(headers)
}

fn code(class: Class) -> &'static str {
    match class {
        Class::Rate | Class::Parallel => "rate_limit_exceeded",
        Class::Quota => "insufficient_quota",
    }
}

fn window(span: Span) -> &'static str {
    match span {
        Span::Minute => "in 60 seconds",
        Span::Calendar | Span::Rolling => "in its window",
        Span::Lease => "at the same time",
    }
}

/// A figure with its unit.
fn quantity(unit: Unit, amount: u64) -> String {
    let what = match unit {
        Unit::TotalTokens => "tokens",
        Unit::PromptTokens => "prompt tokens",
        Unit::CompletionTokens => "completion tokens",
        Unit::WeightedTokens => "weighted tokens",
        Unit::Requests => "requests",
        Unit::NanoUsd => "US dollars",
        Unit::Slots => "requests at the same time",
    };
    format!("{} {what}", figure(unit, amount))
}

fn figure(unit: Unit, amount: u64) -> String {
    match unit {
        Unit::NanoUsd => format!("{}.{:09}", amount / 1_000_000_000, amount % 1_000_000_000),
        _ => amount.to_string(),
    }
}

fn unavailable() -> Reply<'static> {
    let message = "The token limiter cannot reach its counters. Retry shortly.".to_owned();
    error(503, "limiter_unavailable", message).with(header::RETRY_AFTER, "1")
}

fn error(status: u16, code: &'static str, message: String) -> Reply<'static> {
    api_error(ApiError::new(status, code, message), None)
}

fn api_error(error: ApiError, param: Option<&str>) -> Reply<'static> {
    let error = match param {
        Some(param) => error.with_param(param),
        None => error,
    };
    Reply::json(error.status, error.to_json())
}

fn logged<'c>(reply: Reply<'c>, why: impl Into<String>) -> Reply<'c> {
    Reply { log: Some(why.into()), ..reply }
}
