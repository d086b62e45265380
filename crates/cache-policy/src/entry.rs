//! An entry as it lies in the key-value store: one line of JSON about it, then the completion as it is.
//!
//! The completion is not wrapped in JSON, so that a hit hands on a slice of what was read, without parsing it.

use bytes::Bytes;
use openai_types::Usage;
use serde::{Deserialize, Serialize};

/// A kept completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was stored: milliseconds since the Unix epoch.
    pub stored_at_ms: u64,
    /// From when on it is no longer served: milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// What the completion took when it was made.
    pub usage: Usage,
    /// The `chat.completion` object.
    pub body: Bytes,
}

/// Version of this encoding.
const VERSION: u32 = 1;

/// The first line is at most this long: seven numbers of 20 digits and their names fit.
const MAX_LINE_BYTES: usize = 400;

#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    stored_at_ms: u64,
    expires_at_ms: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
    reasoning_tokens: u64,
}

impl Entry {
    /// The value for the store.
    pub fn encode(&self) -> Vec<u8> {
        let line = Line {
            v: VERSION,
            stored_at_ms: self.stored_at_ms,
            expires_at_ms: self.expires_at_ms,
            prompt_tokens: self.usage.prompt_tokens,
            completion_tokens: self.usage.completion_tokens,
            cached_tokens: self.usage.cached_tokens,
            reasoning_tokens: self.usage.reasoning_tokens,
        };
        // Numbers only: serialising cannot fail, and an empty line would be read as no entry.
        let mut value = serde_json::to_vec(&line).unwrap_or_default();
        value.reserve_exact(self.body.len().saturating_add(1));
        value.push(b'\n');
        value.extend_from_slice(&self.body);
        value
    }

    /// Reads a value from the store; `None` when it is not an entry of this version.
    pub fn decode(value: Vec<u8>) -> Option<Self> {
        let value = Bytes::from(value);
        let line_end = value.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n')?;
        let line: Line = serde_json::from_slice(value.get(..line_end)?).ok()?;
        let usage = Usage {
            prompt_tokens: line.prompt_tokens,
            completion_tokens: line.completion_tokens,
            cached_tokens: line.cached_tokens,
            reasoning_tokens: line.reasoning_tokens,
        };
        (line.v == VERSION).then(|| Entry {
            stored_at_ms: line.stored_at_ms,
            expires_at_ms: line.expires_at_ms,
            usage,
            body: value.slice(line_end + 1..),
        })
    }

    /// Whether it may no longer be served.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_at_ms
    }

    /// How old it is, in whole seconds; 0 when the clock was set back.
    pub fn age_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.stored_at_ms) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(body: &[u8]) -> Entry {
        let usage = Usage { prompt_tokens: 1, completion_tokens: 2, cached_tokens: 0, reasoning_tokens: 1 };
        Entry { stored_at_ms: 1_000, expires_at_ms: 61_000, usage, body: Bytes::copy_from_slice(body) }
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(
            body in prop::collection::vec(any::<u8>(), 0..64), numbers in any::<[u64; 6]>(),
        ) {
            let [stored_at_ms, expires_at_ms, prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens] = numbers;
            let usage = Usage { prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens };
            let entry = Entry { stored_at_ms, expires_at_ms, usage, body: body.into() };
            prop_assert_eq!(Entry::decode(entry.encode()), Some(entry));
        }

        #[test]
        fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..64), cut in 0usize..200) {
            Entry::decode(value);
            let mut cut_short = entry(b"body").encode();
            cut_short.truncate(cut);
            Entry::decode(cut_short);
        }
    }

    #[test]
    fn what_is_not_an_entry_of_this_version_is_none() {
        let good = String::from_utf8(entry(b"{}").encode()).unwrap();
        assert!(Entry::decode(good.clone().into()).is_some());
        for bad in [
            String::new(),
            "\n{}".to_owned(),
            "{}\n{}".to_owned(),
            good.replace("\"v\":1", "\"v\":2"),
            good.replace("1000", "-1"),
            good.replace('\n', ""),
            format!("{}{good}", " ".repeat(MAX_LINE_BYTES)),
        ] {
            assert_eq!(Entry::decode(bad.clone().into()), None, "{bad:?}");
        }
    }

    #[test]
    fn it_is_served_until_its_expiry_and_not_at_it() {
        let entry = entry(b"");
        for (now_ms, expired, age_s) in
            [(0, false, 0), (1_999, false, 0), (2_000, false, 1), (60_999, false, 59), (61_000, true, 60)]
        {
            assert_eq!((entry.is_expired(now_ms), entry.age_s(now_ms)), (expired, age_s), "{now_ms}");
        }
    }
}
