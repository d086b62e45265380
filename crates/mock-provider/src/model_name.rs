//! The mini-language of model names: `mock[-label]` followed by `+word` or `+word=value`.
//!
//! Decides what each word sets and which words exclude each other. A name that does not start with `mock` asks
//! for nothing. Invariant: parsing never panics, and nothing is guessed: a word that is unknown, repeated,
//! contradictory or out of range is an error that names it.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use thiserror::Error;

use crate::behaviour::{Alphabet, Behaviour, Delivery, EarlyEnd, EarlyEndKind, Refusal};
use crate::header_text::HeaderText;
use crate::text::TOKEN_BYTES;

/// The longest answer one can ask for: enough to test a bound on answers, too little to exhaust the machine.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;
/// Size of `text=long`: more than a socket buffer's worth of stream, since each token costs some 200 bytes there.
const LONG_TEXT_BYTES: usize = 64 * 1024;
/// The longest delay one can ask for.
const MAX_DELAY: Duration = Duration::from_secs(3600);

/// Why a model name is refused; the message goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelNameError {
    /// A word the language does not have.
    #[error("unknown word `{0}` in the model name")]
    UnknownWord(String),
    /// A value that the word cannot take.
    #[error("`{word}` in the model name: expected {expected}")]
    BadValue {
        /// The word with its value, as given.
        word: String,
        /// What it takes.
        expected: String,
    },
    /// The same word twice.
    #[error("`{0}` stands twice in the model name")]
    Repeated(String),
    /// Two words of which only one can happen.
    #[error("`{0}` contradicts another word of the model name")]
    Contradiction(String),
}

/// What a model name asks for.
///
/// # Errors
/// For a name starting with `mock`, the first word that cannot be honoured.
pub fn parse(model: &str) -> Result<Behaviour, ModelNameError> {
    let mut behaviour = Behaviour::default();
    let mut words = model.split('+');
    if !words.next().is_some_and(|label| label.starts_with("mock")) {
        return Ok(behaviour);
    }
    let mut seen = Vec::new();
    for text in words {
        let word = Word::new(text);
        if seen.contains(&word.key) && word.key != "header" {
            return Err(ModelNameError::Repeated(word.key.to_owned()));
        }
        seen.push(word.key);
        apply(&mut behaviour, &word)?;
    }
    Ok(behaviour)
}

fn apply(behaviour: &mut Behaviour, word: &Word<'_>) -> Result<(), ModelNameError> {
    let Behaviour { answer, stream, .. } = behaviour;
    match word.key {
        "status" => {
            let code = word.number(400..=599)?;
            let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
            word.set_once(&mut behaviour.refusal, status.map(Refusal::Status))?;
        }
        "reset" => word.set_flag_once(&mut behaviour.refusal, Refusal::Reset)?,
        "silence" => word.set_flag_once(&mut behaviour.refusal, Refusal::Silence)?,
        "error-200" => word.set_flag_once(&mut behaviour.refusal, Refusal::ErrorWith200)?,
        "not-json" => word.set_flag_once(&mut behaviour.refusal, Refusal::NotJson)?,
        "code" => behaviour.error_code = Some(word.text("an error code")?.to_owned()),
        "retry-after" | "retry-after-ms" => behaviour.retry_headers.push(word.header(word.key, word.value)?),
        "header" => {
            let (name, value) = word.value.and_then(|header| header.split_once(':')).unzip();
            behaviour.headers.push(word.header(name.unwrap_or_default(), value)?);
        }
        "flaky" => behaviour.flaky_requests = Some(word.count()?),
        "slow" => behaviour.slow = word.duration()?,

        "text" => match word.value {
            Some("emoji") => answer.alphabet = Alphabet::Emoji,
            Some("multibyte") => answer.alphabet = Alphabet::Multibyte,
            Some("long") => word.set_once(&mut answer.text_bytes, Some(LONG_TEXT_BYTES))?,
            _ => word.set_once(&mut answer.text_bytes, Some(word.size(MAX_TEXT_BYTES)?))?,
        },
        "tokens" => {
            let tokens = word.size(MAX_TEXT_BYTES / TOKEN_BYTES)?;
            word.set_once(&mut answer.text_bytes, Some(tokens * TOKEN_BYTES))?;
        }
        "tool" if word.value.is_none() => answer.tool_calls = 1,
        "tool" => answer.tool_calls = u8::try_from(word.number(1..=16)?).unwrap_or(u8::MAX),
        "differs" => answer.differs_from = Some(word.count()?),
        "prefill" if word.value == Some("echo") => answer.says_prefix_again = true,
        "prefill" => answer.continues_any_prefix = word.flag()?,
        "content-filter" => answer.content_filter = word.flag()?,
        "reasoning" => answer.reasoning_tokens = word.count()?.into(),
        "cached" => answer.cached_tokens = word.count()?.into(),
        "no-usage" => answer.no_usage = word.flag()?,

        "ttft" => stream.ttft = word.duration()?,
        "gap" => stream.gap = word.duration()?,
        "cut" => word.end_early(&mut stream.early_end, EarlyEndKind::Cut)?,
        "clean-cut" => word.end_early(&mut stream.early_end, EarlyEndKind::CleanCut)?,
        "stall" => word.end_early(&mut stream.early_end, EarlyEndKind::Stall)?,
        "error-in-stream" => word.end_early(&mut stream.early_end, EarlyEndKind::ErrorEvent)?,
        "event-error" => word.end_early(&mut stream.early_end, EarlyEndKind::NamedErrorEvent)?,
        "malformed" => stream.malformed_chunk = Some(word.number(1..=u64::from(u32::MAX))?),
        "no-done" => stream.no_done = word.flag()?,
        "linger" => stream.lingers = word.flag()?,
        "crlf" => stream.crlf = word.flag()?,
        "comments" => stream.comments = word.flag()?,
        "multi-line" => stream.multi_line = word.flag()?,
        "bom" => stream.bom = word.flag()?,
        "runaway" => stream.runaway = word.flag()?,

        "chunked" => word.deliver(&mut behaviour.delivery, Delivery::Chunked)?,
        "truncated-json" => word.deliver(&mut behaviour.delivery, Delivery::Truncated)?,
        "gzip" => behaviour.gzip = word.flag()?,
        "split" => behaviour.split_bytes = NonZeroUsize::new(word.size(1 << 20)?),
        _ => return Err(ModelNameError::UnknownWord(word.key.to_owned())),
    }
    Ok(())
}

/// One `key` or `key=value`, and how its value may be read.
struct Word<'a> {
    whole: &'a str,
    key: &'a str,
    value: Option<&'a str>,
}

impl<'a> Word<'a> {
    fn new(whole: &'a str) -> Self {
        match whole.split_once('=') {
            Some((key, value)) => Self { whole, key, value: Some(value) },
            None => Self { whole, key: whole, value: None },
        }
    }

    fn bad(&self, expected: impl Into<String>) -> ModelNameError {
        ModelNameError::BadValue { word: self.whole.to_owned(), expected: expected.into() }
    }

    fn flag(&self) -> Result<bool, ModelNameError> {
        if self.value.is_some() { Err(self.bad("no value")) } else { Ok(true) }
    }

    fn text(&self, expected: &str) -> Result<&'a str, ModelNameError> {
        self.value.filter(|value| !value.is_empty()).ok_or_else(|| self.bad(expected))
    }

    fn number(&self, range: RangeInclusive<u64>) -> Result<u64, ModelNameError> {
        let number = self.value.and_then(|value| value.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.bad(format!("a whole number from {} to {}", range.start(), range.end())))
    }

    fn count(&self) -> Result<u32, ModelNameError> {
        let number = self.number(0..=u64::from(u32::MAX))?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn size(&self, most: usize) -> Result<usize, ModelNameError> {
        let number = self.number(1..=most as u64)?;
        Ok(usize::try_from(number).unwrap_or(most))
    }

    /// `250us`, `50ms`, `2s`, or a bare number of milliseconds.
    fn duration(&self) -> Result<Duration, ModelNameError> {
        let value = self.value.unwrap_or_default();
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = value.strip_prefix(digits).unwrap_or_default();
        let parsed = digits.parse().ok().and_then(|number: u64| match unit {
            "us" => Some(Duration::from_micros(number)),
            "" | "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            _ => None,
        });
        parsed
            .filter(|delay| *delay <= MAX_DELAY)
            .ok_or_else(|| self.bad("a time of at most an hour, such as 250us, 50ms or 2s"))
    }

    fn header(&self, name: &str, value: Option<&str>) -> Result<(HeaderName, HeaderText), ModelNameError> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = value.and_then(HeaderText::parse);
        name.zip(value).ok_or_else(|| self.bad("a header value (for `header`, name:value)"))
    }

    fn set_once<T>(&self, slot: &mut Option<T>, value: Option<T>) -> Result<(), ModelNameError> {
        if slot.is_some() {
            return Err(ModelNameError::Contradiction(self.whole.to_owned()));
        }
        *slot = value;
        Ok(())
    }

    fn set_flag_once<T>(&self, slot: &mut Option<T>, value: T) -> Result<(), ModelNameError> {
        self.flag()?;
        self.set_once(slot, Some(value))
    }

    fn end_early(&self, slot: &mut Option<EarlyEnd>, kind: EarlyEndKind) -> Result<(), ModelNameError> {
        let after_chunks = self.count()?.into();
        self.set_once(slot, Some(EarlyEnd { after_chunks, kind }))
    }

    fn deliver(&self, slot: &mut Delivery, delivery: Delivery) -> Result<(), ModelNameError> {
        self.flag()?;
        if *slot != Delivery::Whole {
            return Err(ModelNameError::Contradiction(self.whole.to_owned()));
        }
        *slot = delivery;
        Ok(())
    }
}

#[cfg(test)]
#[path = "model_name_tests.rs"]
mod tests;
