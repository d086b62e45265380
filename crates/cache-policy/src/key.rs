//! The key of an exact entry: a hash over who asks, for which model, and everything they ask.
//!
//! Every field of the request separates entries, also the ones we do not know: a field that is new tomorrow must not
//! make two different questions one. Only [`IGNORED_FIELDS`] are left out. The order of fields and the whitespace
//! between them do not matter; the order of arrays and the text of numbers do (`1` and `1.0` are different keys: a
//! needless miss, never a wrong hit).
//!
//! Invariant: what is hashed is an injective encoding, each part with its kind and its length, so two inputs have
//! the same key only if they are the same or SHA-256 collides.

use crate::json::{Json, Object};
use sha2::{Digest, Sha256};
use std::fmt;

/// Fields of the request's top level that choose how the answer is delivered, not what it says.
pub const IGNORED_FIELDS: [&str; 2] = ["stream", "stream_options"];

/// Separates these hashes from all others, and from those of a later encoding.
const DOMAIN: &[u8] = b"tollgate semantic-cache exact 1";

/// Prefix of exact entries in the store; the number changes with the entry's encoding.
pub(crate) const STORE_PREFIX: &str = "sc:1:";

/// Who shares entries. Nothing that one tenant stored is ever served to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenant<'a> {
    /// The consumers of a team share their entries.
    Team(&'a str),
    /// A consumer without a team has its own.
    Consumer(&'a str),
}

impl<'a> Tenant<'a> {
    /// The tenant of a request; `None` when neither is known, and then nothing may be shared with anyone.
    pub fn of(team: &'a str, consumer: &'a str) -> Option<Self> {
        match (team, consumer) {
            ("", "") => None,
            ("", consumer) => Some(Tenant::Consumer(consumer)),
            (team, _) => Some(Tenant::Team(team)),
        }
    }
}

/// Identifies one exact entry, and says of its request what decides whether an answer may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    hash: [u8; 32],
    /// Whether the request itself bounds its completion: only then is an answer that was cut at a length what was asked for.
    pub is_bounded: bool,
}

/// Follows the digits of a key whose request bounds its completion.
const BOUNDED: &str = "+bounded";
/// Fields by which a request bounds its completion.
const BOUNDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

impl CacheKey {
    /// The key of `request` when `tenant` sends it for the public model `model`.
    pub fn of(tenant: Tenant<'_>, model: &str, request: &Object<'_>) -> Self {
        let mut hash = Encoder(Sha256::new());
        hash.bytes(b'd', DOMAIN);
        match tenant {
            Tenant::Team(id) => hash.bytes(b'T', id.as_bytes()),
            Tenant::Consumer(id) => hash.bytes(b'C', id.as_bytes()),
        }
        hash.bytes(b'm', model.as_bytes());
        hash.fields(request.iter().filter(|(name, _)| !IGNORED_FIELDS.contains(name)));
        let is_bounded = BOUNDS.iter().any(|name| matches!(request.get(name), Some(Json::Number(_))));
        CacheKey { hash: hash.0.finalize().into(), is_bounded }
    }

    /// Reads a key as [`fmt::Display`] writes it: 64 lower-case hexadecimal digits, and `+bounded` if its request is.
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        let (hex, is_bounded) = match text.strip_suffix(BOUNDED) {
            Some(hex) => (hex, true),
            None => (text, false),
        };
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().as_chunks::<2>().0) {
            let [high, low] = pair.map(digit);
            *byte = high? << 4 | low?;
        }
        Some(CacheKey { hash, is_bounded })
    }

    /// The entry's key in the key-value store. Labels are ignored by some stores, so it carries its own prefix.
    pub fn store_key(&self) -> String {
        format!("{STORE_PREFIX}{}", Hex(&self.hash))
    }
}

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Hex(&self.hash), if self.is_bounded { BOUNDED } else { "" })
    }
}

fn digit(hex: u8) -> Option<u8> {
    match hex {
        b'0'..=b'9' => Some(hex - b'0'),
        b'a'..=b'f' => Some(hex - b'a' + 10),
        _ => None,
    }
}

/// Feeds values to the hash: a byte for the kind, the length, the content.
struct Encoder(Sha256);

impl Encoder {
    fn head(&mut self, kind: u8, length: usize) {
        let mut head = [kind, 0, 0, 0, 0, 0, 0, 0, 0];
        if let Some((_, tail)) = head.split_first_mut() {
            tail.copy_from_slice(&(length as u64).to_le_bytes());
        }
        self.0.update(head);
    }

    fn bytes(&mut self, kind: u8, bytes: &[u8]) {
        self.head(kind, bytes.len());
        self.0.update(bytes);
    }

    fn value(&mut self, value: &Json<'_>) {
        match value {
            Json::Null => self.head(b'0', 0),
            Json::Bool(is_true) => self.head(b'b', usize::from(*is_true)),
            Json::Number(text) => self.bytes(b'n', text.as_bytes()),
            Json::Text(text) => self.bytes(b's', text.as_bytes()),
            Json::Array(elements) => {
                self.head(b'a', elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
            Json::Object(object) => self.fields(object.iter()),
        }
    }

    fn fields<'v, 'a: 'v>(&mut self, fields: impl Iterator<Item = (&'v str, &'v Json<'a>)>) {
        let mut fields: Vec<_> = fields.collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        self.head(b'o', fields.len());
        for (name, value) in fields {
            self.bytes(b's', name.as_bytes());
            self.value(value);
        }
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
