//! What each model has, and `[defaults]`, which says it for all of them.
//!
//! A key that a model does not write is `[defaults]`'; what that does not write either is the built-in value. This holds
//! for each key of `timeouts`, `retries`, `breaker` and `health_check` by itself.

use crate::breaker::Breaker;
use crate::fields::{Fields, unknown_name};
use crate::health_check::HealthCheck;
use crate::retries::Retries;
use crate::strategy::Strategy;
use crate::timeouts::Timeouts;
use crate::{bounds, breaker, health_check, retries, strategy, timeouts};

/// Keys of `[defaults]`, each also one of `[[models]]`.
pub(crate) const KEYS: &[&str] = &[
    "strategy",
    "session_key",
    "timeouts",
    "retries",
    "breaker",
    "health_check",
    "mid_stream",
    "buffer",
    "cancel_whole",
    "keepalive_ms",
    "promise_ms",
    "response_bytes",
];

/// Longest time for which a client may be left without a byte, in ms.
const SILENCE_MAX_MS: u64 = 60_000;

/// How a model's pool is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How a deployment is picked inside a tier; default `weighted`.
    pub strategy: Strategy,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When another attempt is made.
    pub retries: Retries,
    /// When a deployment is left alone.
    pub breaker: Breaker,
    /// How one that is left alone is asked whether it is well again.
    pub health_check: HealthCheck,
    /// What becomes of a stream that fails after it began.
    pub mid_stream: MidStream,
    /// Whether streams are held until they are complete, so that any failure can be retried; default false.
    pub buffer: bool,
    /// Whether the upstream of a whole answer is let go when the client leaves, for which it is asked for a stream; default
    /// false.
    pub cancel_whole: bool,
    /// How long a stream may be silent before the client gets a comment, in ms; 0 to 60,000, default 15,000, 0 = never.
    pub keepalive_ms: u64,
    /// How long a stream's head waits for the answer to begin, in ms; 0 to 60,000, 0 = as long as it takes. By default
    /// `keepalive_ms`.
    pub promise_ms: Option<u64>,
    /// Largest answer, streamed or not, in bytes; by default `[bounds] response_bytes`.
    pub response_bytes: Option<usize>,
}

/// What becomes of a stream that fails after it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MidStream {
    /// It ends with an error: `error`.
    #[default]
    Error,
    /// Another deployment goes on with it: `continue`.
    Continue,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            strategy: Strategy::default(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            breaker: Breaker::default(),
            health_check: HealthCheck::default(),
            mid_stream: MidStream::default(),
            buffer: false,
            cancel_whole: false,
            keepalive_ms: 15_000,
            promise_ms: None,
            response_bytes: None,
        }
    }
}

/// Reads `[defaults]`.
pub(crate) fn read_defaults(root: &Fields<'_, '_>) -> Settings {
    let built_in = Settings::default();
    root.table("defaults", KEYS).map_or_else(|| built_in.clone(), |table| read(&table, &built_in))
}

/// Reads the settings that stand in a table; `base` is what applies where nothing is written.
pub(crate) fn read(fields: &Fields<'_, '_>, base: &Settings) -> Settings {
    let response_bytes =
        fields.integer("response_bytes", bounds::BYTES).and_then(|n| usize::try_from(n).ok());
    Settings {
        strategy: strategy::read(fields, &base.strategy),
        timeouts: timeouts::read(fields, base.timeouts),
        retries: retries::read(fields, &base.retries),
        breaker: breaker::read(fields, &base.breaker),
        health_check: health_check::read(fields, &base.health_check),
        mid_stream: read_mid_stream(fields).unwrap_or(base.mid_stream),
        buffer: fields.flag("buffer").unwrap_or(base.buffer),
        cancel_whole: fields.flag("cancel_whole").unwrap_or(base.cancel_whole),
        keepalive_ms: fields.integer("keepalive_ms", 0..=SILENCE_MAX_MS).unwrap_or(base.keepalive_ms),
        promise_ms: fields.integer("promise_ms", 0..=SILENCE_MAX_MS).or(base.promise_ms),
        response_bytes: response_bytes.or(base.response_bytes),
    }
}

fn read_mid_stream(fields: &Fields<'_, '_>) -> Option<MidStream> {
    match fields.text("mid_stream")? {
        "error" => Some(MidStream::Error),
        "continue" => Some(MidStream::Continue),
        other => {
            fields.refuse("mid_stream", unknown_name(other, "a way to go on", ["error", "continue"]));
            None
        }
    }
}
