//! Which counter a request is charged to, and the name of its key in the store.
//!
//! A key is `tl:1:<limit>:<value>:<window>`: our prefix, because some stores ignore their label and are shared; the
//! layout's version; the limit's name; the values that the limit counts by; the window's index. Different values
//! never share a key, and a value cannot reach beyond its place in the key.

use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

const PREFIX: &str = "tl:1:";

/// Longest escaped name or value that is kept readable, in bytes; a longer one is replaced by its hash.
const MAX_READABLE_BYTES: usize = 64;

/// 128 bits: a collision among 10⁹ counters has a chance of about 10⁻²¹.
const HASH_BYTES: usize = 16;

/// One limit's counter for one combination of values, whatever the window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(String);

impl Counter {
    /// The counter of the limit `limit_name` for `values`, in the order of the limit's `counter_key`.
    ///
    /// An absent value is the empty string: it has a counter of its own.
    pub fn new<'v>(limit_name: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let values: Vec<String> = values.into_iter().map(escaped).collect();
        Counter(format!("{}:{}", bounded(escaped(limit_name)), bounded(values.join("+"))))
    }

    /// The counter's key for one window.
    pub fn key(&self, window: u64) -> String {
        format!("{PREFIX}{self}:{window}")
    }

    /// A counter from the text that it prints as; `None` for what none prints as.
    pub(crate) fn parse(limit: &str, value: &str) -> Option<Self> {
        let is_sound = |text: &str, max: usize| text.len() <= max && text.bytes().all(is_key_byte);
        (is_sound(limit, MAX_READABLE_BYTES) && is_sound(value, MAX_READABLE_BYTES))
            .then(|| Counter(format!("{limit}:{value}")))
    }
}

impl fmt::Display for Counter {
    /// `<limit>:<value>`, ASCII without spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'@')
}

/// A plain byte, the escape, the joint between values, or the mark of a hash.
fn is_key_byte(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b'%' | b'+' | b'~')
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ok = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn bounded(escaped: String) -> String {
    if escaped.len() <= MAX_READABLE_BYTES {
        return escaped;
    }
    let digest = Sha256::digest(escaped.as_bytes());
    format!("~{}", hex::encode(digest.get(..HASH_BYTES).unwrap_or(&digest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_readable_where_they_can_be() {
        for (limit, values, key) in [
            ("per-team", vec!["acme"], "tl:1:per-team:acme:7"),
            ("pair", vec!["a+b:c", "openai/gpt-4o"], "tl:1:pair:a%2Bb%3Ac+openai/gpt-4o:7"),
            ("all", vec![], "tl:1:all::7"),
            ("absent", vec!["", "x"], "tl:1:absent:+x:7"),
            ("é;\n", vec!["~"], "tl:1:%C3%A9%3B%0A:%7E:7"),
        ] {
            assert_eq!(Counter::new(limit, values).key(7), key);
        }
    }

    #[test]
    fn a_long_value_is_hashed_and_stays_its_own() {
        let long = |last: &str| Counter::new("l", [format!("{}{last}", "x".repeat(100)).as_str()]);
        assert!(long("a").key(0).len() < 60);
        assert_ne!(long("a"), long("b"));
    }

    proptest! {
        #[test]
        fn different_values_never_share_a_key(
            (a, b) in ("[a-c+:%~]{0,3}", "[a-c+:%~]{0,3}"), (c, d) in ("[a-c+:%~]{0,3}", "[a-c+:%~]{0,3}"),
        ) {
            let (left, right) = (Counter::new("l", [&*a, &*b]), Counter::new("l", [&*c, &*d]));
            prop_assert_eq!(left == right, (a, b) == (c, d));
        }

        #[test]
        fn what_a_counter_prints_as_is_a_counter(limit in any::<String>(), values in prop::collection::vec(any::<String>(), 0..4)) {
            let counter = Counter::new(&limit, values.iter().map(String::as_str));
            let text = counter.to_string();
            let (limit, value) = text.split_once(':').unwrap();
            prop_assert_eq!(Counter::parse(limit, value), Some(counter));
        }
    }
}
