//! An answer before it becomes the host's.

use bytes::Bytes;
use contracts::headers;
use gateway_config::LimitHeaders;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quota::{Admission, Alert, Kind, ResetDuration, Standing, Tightest, Unit};

const RESERVATION: HeaderName = HeaderName::from_static(headers::RESERVATION);
const OBSERVED: HeaderName = HeaderName::from_static(headers::OBSERVED);
const FOR_CLIENT: HeaderName = HeaderName::from_static(headers::FOR_CLIENT);

/// Status, headers and the whole body.
#[derive(Debug)]
pub struct Reply<'c> {
    /// The status.
    pub status: StatusCode,
    /// The headers, `content-length` included where there is a body.
    pub headers: HeaderMap,
    /// The body, empty with 204.
    pub body: Bytes,
    /// What the operator should read about it, if anything.
    pub log: Option<String>,
    /// Thresholds whose alert may be due, to be told after the answer.
    pub alerts: Vec<Alert<'c>>,
}

impl<'c> Reply<'c> {
    /// 204, which has no body and so no `content-length` (RFC 9110 §8.6).
    pub fn no_content() -> Self {
        Reply::of(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new())
    }

    /// A JSON body with its length.
    pub fn json(status: u16, body: String) -> Self {
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply::of(status, headers, body.into())
    }

    fn of(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Reply { status, headers, body, log: None, alerts: Vec::new() }
    }

    /// Sets a header; a value that is no header value is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The reservation, how the tightest limits stand, and what was charged.
    pub fn with_admission(
        self,
        names: &LimitHeaders,
        admission: &Admission<'_>,
        charged_tokens: u64,
    ) -> Self {
        let mut reply = self;
        if !admission.reservation.charges.is_empty() {
            reply = reply.with(RESERVATION, &admission.reservation.to_string());
        }
        let mut observed: Vec<&str> = admission.would_refuse.iter().map(|standing| standing.limit).collect();
        observed.dedup();
        if !observed.is_empty() {
            reply = reply.with(OBSERVED, &observed.join(","));
        }
        reply = reply.with_tightest(names, &admission.tightest);
        if admission.tightest.tokens.is_some() {
            reply = reply.with(names.consumed_tokens.clone(), &charged_tokens.to_string());
        }
        reply.for_client(names)
    }

    /// How the tightest limits stand.
    pub fn with_tightest(self, names: &LimitHeaders, tightest: &Tightest<'_>) -> Self {
        let standings = tightest.tokens.iter().chain(&tightest.requests);
        standings.fold(self, |reply, standing| reply.with_standing(names, standing))
    }

    /// OpenAI's three headers about a limit of tokens or requests: its size, what is left, and when it is back to full.
    pub fn with_standing(self, names: &LimitHeaders, standing: &Standing<'_>) -> Self {
        let (remaining, reset) = match standing.kind.unit {
            unit if unit.is_tokens() => (&names.remaining_tokens, &names.reset_tokens),
            Unit::Requests => (&names.remaining_requests, &names.reset_requests),
            _ => return self,
        };
        self.with_limit(names, standing.kind, standing.size)
            .with(remaining.clone(), &standing.remaining().to_string())
            .with(reset.clone(), &ResetDuration(standing.reset_ms).to_string())
    }

    /// The size of a limit of tokens or requests alone, when its use was not looked up.
    pub fn with_limit(self, names: &LimitHeaders, kind: Kind, size: u64) -> Self {
        match kind.unit {
            unit if unit.is_tokens() => self.with(names.limit_tokens.clone(), &size.to_string()),
            Unit::Requests => self.with(names.limit_requests.clone(), &size.to_string()),
            _ => self,
        }
    }

    /// Says which of the headers about limits are for the client: the document may call them anything.
    pub fn for_client(self, names: &LimitHeaders) -> Self {
        let set: Vec<&str> = names
            .names()
            .into_iter()
            .filter(|name| self.headers.contains_key(*name))
            .map(HeaderName::as_str)
            .collect();
        if set.is_empty() { self } else { self.with(FOR_CLIENT, &set.join(",")) }
    }
}
