//! Which counter a request is charged to, the names of its keys in the store, and when a key is of no more use.
//!
//! A key is `tl:2:<limit>:<kind>:<value>:<window>:<expires>`: our prefix, because some stores ignore their label and are
//! shared; the layout's version; the limit's name; two letters for what is counted ([`Kind`]); the values that the
//! limit counts by; the window; and the last minute (since the Unix epoch) in which anybody looks at the key, so that a
//! sweeper can decide by the key's text alone. Different values never share a key, but for those that begin with the same
//! kilobyte, and a value cannot reach beyond its place.
//!
//! In a store that runs scripts, a window that rolls from first use is one text under a key that ends in `~`, and expires
//! by the store's own means.

use crate::kind::Kind;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// Every key of the limiter begins with this.
pub const KEY_PREFIX: &str = "tl:";
const CURRENT: &str = "tl:2:";
/// What the version before wrote: `tl:1:<limit>:<value>:<minute>`.
const BEFORE: &str = "tl:1:";
/// In the place of the last minute of a window that rolls from first use in a store of scripts.
const ROLLING: &str = "~";
/// Names the text that says when a window from first use began.
const FROM: &str = "from";

/// Hosts' clocks may differ by this much: a key is kept so much longer.
const SLACK_MINUTES: u64 = 1;
/// How long the version before looked at a key.
const BEFORE_MINUTES: u64 = 2;

/// Longest escaped name or value that is kept readable, in bytes; a longer one is replaced by its hash.
const MAX_READABLE_BYTES: usize = 64;

/// Of a longer value its first so many bytes count. Some are the client's to choose, as long as a body may be, and escaping
/// and hashing all of it for each check would hold up the instance's other requests.
const MAX_VALUE_BYTES: usize = 1_024;

/// 128 bits: a collision among 10⁹ counters has a chance of about 10⁻²¹.
const HASH_BYTES: usize = 16;

/// One check's counter for one combination of values, whatever the window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter {
    limit: String,
    kind: Kind,
    value: String,
}

/// One counter in one window: one key of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The counter.
    pub counter: Counter,
    /// Which window: the index of a minute or of a lease's bucket, the calendar's start in seconds since the Unix epoch;
    /// of one that rolls from first use the slot in which it began, in a store of scripts the millisecond.
    pub window: u64,
    /// The last minute since the Unix epoch in which anybody looks at it; `None` for a window that rolls from first use in
    /// a store of scripts.
    pub expires: Option<u64>,
}

impl Counter {
    /// The counter of the check of `kind` of the limit `limit_name` for `values`, in the order of the limit's
    /// `counter_key`.
    ///
    /// An absent value is the empty string: it has a counter of its own. Of a value that is longer than 1,024 bytes its
    /// beginning counts: those that begin alike share a counter.
    pub fn new<'v>(limit_name: &str, kind: Kind, values: impl IntoIterator<Item = &'v str>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| escaped(beginning(value))).collect();
        Counter { limit: bounded(escaped(limit_name.as_bytes())), kind, value: bounded(values.join("+")) }
    }

    /// The limit's name; escaped or hashed if the configuration would not have allowed it.
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// The values that it counts by, as keys hold them: escaped, joined by `+`, hashed if that is too long.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What is counted.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The key of the window from first use that is in use, in a store of scripts.
    pub fn rolling_key(&self) -> String {
        format!("{CURRENT}{self}:{FROM}:{ROLLING}")
    }

    /// A counter from the parts that it prints as; `None` for what none prints as.
    pub(crate) fn parse(limit: &str, kind: &str, value: &str) -> Option<Self> {
        let is_sound = |text: &str| text.len() <= MAX_READABLE_BYTES && text.bytes().all(is_key_byte);
        let kind = Kind::parse(kind)?;
        (is_sound(limit) && is_sound(value)).then(|| Counter {
            limit: limit.to_owned(),
            kind,
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for Counter {
    /// `<limit>:<kind>:<value>`, ASCII without spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.limit, self.kind, self.value)
    }
}

impl Slot {
    /// The key.
    pub fn key(&self) -> String {
        match self.expires {
            Some(expires) => format!("{CURRENT}{}:{}:{expires}", self.counter, self.window),
            None => format!("{CURRENT}{}:{}:{ROLLING}", self.counter, self.window),
        }
    }

    /// The key that latches one alert of this slot.
    pub(crate) fn alert_key(&self, permille: u64) -> String {
        self.key_beside(format_args!("a{permille}"))
    }

    /// The key of the text that says when this window from first use began: see `rolling`.
    pub(crate) fn start_key(&self) -> String {
        self.key_beside(format_args!("{FROM}"))
    }

    fn key_beside(&self, what: fmt::Arguments<'_>) -> String {
        match self.expires {
            Some(expires) => format!("{CURRENT}{}:{}.{what}:{expires}", self.counter, self.window),
            None => format!("{CURRENT}{}:{}.{what}:{ROLLING}", self.counter, self.window),
        }
    }

    /// When a store that expires keys by itself may drop it, in milliseconds since the Unix epoch; `None` when only its
    /// rule says.
    pub fn expires_at_ms(&self) -> Option<u64> {
        let minutes = self.expires?.saturating_add(SLACK_MINUTES + 1);
        Some(minutes.saturating_mul(60_000))
    }
}

/// Whether nobody will look at `key` again, which its text alone says. Never true of a key that is none of the limiter's.
pub fn is_expired(key: &str, now_ms: u64) -> bool {
    let minute = now_ms / 60_000;
    let is_over = |last: &str, slack: u64| {
        number(last).filter(|_| !last.is_empty()).is_some_and(|last| minute > last.saturating_add(slack))
    };
    if let Some(rest) = key.strip_prefix(BEFORE) {
        return rest.rsplit(':').next().is_some_and(|last| is_over(last, BEFORE_MINUTES));
    }
    let Some(rest) = key.strip_prefix(CURRENT) else { return false };
    match rest.split(':').collect::<Vec<_>>().as_slice() {
        // A counter of an earlier build. What else ends so is Redis's to expire.
        [_, _, _, window, ROLLING] => !window.is_empty() && number(window).is_some(),
        [_, _, _, _, last] => is_over(last, SLACK_MINUTES),
        _ => false,
    }
}

/// Digits only: `u64::from_str` would take a plus sign as well.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'@')
}

/// A plain byte, the escape, the joint between values, or the mark of a hash.
fn is_key_byte(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b'%' | b'+' | b'~')
}

fn beginning(value: &str) -> &[u8] {
    value.as_bytes().get(..MAX_VALUE_BYTES).unwrap_or(value.as_bytes())
}

fn escaped(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text {
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
    use crate::kind::{Span, Unit};
    use proptest::prelude::*;

    const KIND: Kind = Kind { span: Span::Minute, unit: Unit::TotalTokens };

    fn slot(counter: Counter) -> Slot {
        Slot { counter, window: 7, expires: Some(9) }
    }

    #[test]
    fn keys_are_readable_where_they_can_be() {
        for (limit, values, key) in [
            ("per-team", vec!["acme"], "tl:2:per-team:mt:acme:7:9"),
            ("pair", vec!["a+b:c", "openai/gpt-4o"], "tl:2:pair:mt:a%2Bb%3Ac+openai/gpt-4o:7:9"),
            ("all", vec![], "tl:2:all:mt::7:9"),
            ("absent", vec!["", "x"], "tl:2:absent:mt:+x:7:9"),
            ("é;\n", vec!["~"], "tl:2:%C3%A9%3B%0A:mt:%7E:7:9"),
        ] {
            assert_eq!(slot(Counter::new(limit, KIND, values)).key(), key);
        }
        let rolling = Slot { expires: None, ..slot(Counter::new("l", KIND, ["a"])) };
        assert_eq!(rolling.key(), "tl:2:l:mt:a:7:~");
        assert_eq!(rolling.alert_key(500), "tl:2:l:mt:a:7.a500:~");
        assert_eq!(rolling.counter.rolling_key(), "tl:2:l:mt:a:from:~");
        assert_eq!(slot(rolling.counter).start_key(), "tl:2:l:mt:a:7.from:9");
    }

    #[test]
    fn a_long_value_is_hashed_and_stays_its_own() {
        let long = |last: &str| Counter::new("l", KIND, [format!("{}{last}", "x".repeat(100)).as_str()]);
        assert!(slot(long("a")).key().len() < 60);
        assert_ne!(long("a"), long("b"));
    }

    #[test]
    fn what_a_client_sends_by_the_megabyte_counts_by_its_beginning() {
        let of = |length: usize| Counter::new("l", KIND, ["ü".repeat(length).as_str(), "x"]);
        assert_ne!(of(511), of(512));
        assert_eq!(of(512), of(8 << 20));
    }

    #[test]
    fn a_key_is_swept_when_nobody_looks_at_it_any_more() {
        let minute = |minute: u64| minute * 60_000;
        for (key, now_ms, expired) in [
            ("tl:2:l:mt:a:7:9", minute(9), false),
            ("tl:2:l:mt:a:7:9", minute(11) - 1, false),
            ("tl:2:l:mt:a:7:9", minute(11), true),
            ("tl:2:l:mt:a:7.a500:9", minute(11), true),
            ("tl:2:l:rt:a:7.from:9", minute(11) - 1, false),
            ("tl:2:l:rt:a:7.from:9", minute(11), true),
            ("tl:2:l:rt:a:7:~", 0, true),
            ("tl:2:l:rt:a:7.a500:~", u64::MAX, false),
            ("tl:2:l:rt:a:from:~", u64::MAX, false),
            ("tl:2:l:rt:a::~", u64::MAX, false),
            ("tl:2:l:mt:a:7:", u64::MAX, false),
            ("tl:1:l:a:7", minute(10) - 1, false),
            ("tl:1:l:a:7", minute(10), true),
            ("tl:3:l:a:7", u64::MAX, false),
            ("tl:2:l:7", u64::MAX, false),
            ("sessions:7", u64::MAX, false),
            ("tl:2:l:mt:a:7:9x", u64::MAX, false),
            ("", 0, false),
        ] {
            assert_eq!(is_expired(key, now_ms), expired, "{key} {now_ms}");
        }
    }

    proptest! {
        #[test]
        fn different_values_never_share_a_key(
            (a, b) in ("[a-c+:%~]{0,3}", "[a-c+:%~]{0,3}"), (c, d) in ("[a-c+:%~]{0,3}", "[a-c+:%~]{0,3}"),
        ) {
            let (left, right) = (Counter::new("l", KIND, [&*a, &*b]), Counter::new("l", KIND, [&*c, &*d]));
            prop_assert_eq!(left == right, (a, b) == (c, d));
        }

        #[test]
        fn what_a_counter_prints_as_is_a_counter(limit in any::<String>(), values in prop::collection::vec(any::<String>(), 0..4)) {
            let counter = Counter::new(&limit, KIND, values.iter().map(String::as_str));
            let text = counter.to_string();
            let parts: Vec<_> = text.split(':').collect();
            prop_assert_eq!(Counter::parse(parts[0], parts[1], parts[2]), Some(counter));
        }
    }
}
