//! A recorded request: what the upstream received and how it ended.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use serde::{Serialize, Serializer};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The answer was sent as meant.
    Completed,
    /// The client left before the end of the answer.
    ClientGone,
    /// The mock itself broke the connection, because the model name asked for it.
    CutByMock,
}

/// A received request and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct LoggedRequest {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by lower-case name; the values of a repeated header are joined with `, `.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON as it stands, anything else as a string, `null` if empty.
    #[serde(serialize_with = "serialize_body")]
    pub body: Bytes,
    /// When the request was complete, in Unix milliseconds.
    pub received_at_ms: u64,
    /// When it ended (for `client_gone`: when the client was seen to close), in Unix milliseconds; `None` while it is
    /// under way.
    pub ended_at_ms: Option<u64>,
    /// Status of the answer; `None` while there is none.
    pub status: Option<u16>,
    /// How it ended; `None` while it is under way.
    pub ended: Option<Ending>,
    /// Content chunks of a stream handed to the connection.
    pub chunks: u64,
    /// Body bytes handed to the connection.
    pub bytes: u64,
}

impl LoggedRequest {
    /// A request that has just been read.
    pub(crate) fn received(request: &Parts, body: Bytes) -> Self {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|values| {
                    values.push_str(", ");
                    values.push_str(&value);
                })
                .or_insert_with(|| value.into_owned());
        }
        Self {
            method: request.method.to_string(),
            path: request.uri.to_string(),
            headers,
            body,
            received_at_ms: now_ms(),
            ended_at_ms: None,
            status: None,
            ended: None,
            chunks: 0,
            bytes: 0,
        }
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn serialize_body<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    if body.is_empty() {
        return serializer.serialize_none();
    }
    match serde_json::from_slice::<&serde_json::value::RawValue>(body) {
        Ok(json) => json.serialize(serializer),
        Err(_) => String::from_utf8_lossy(body).serialize(serializer),
    }
}
