//! `[[consumers]]`: who may call, and how a key finds its consumer.

use std::fmt;
use subtle::ConstantTimeEq;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Unique name; `[A-Za-z0-9._-]`, 1 to 64.
    pub id: String,
    /// Team, same characters as `id`.
    pub team: Option<String>,
    /// App, same characters as `id`.
    pub app: Option<String>,
    /// Free labels, same characters as `id`; at most 16.
    pub tags: Vec<String>,
    /// Public model names that it may ask for; `None` = all.
    pub models: Option<Vec<String>>,
    /// Accepted only from a loopback client address. True for the built-in consumer alone.
    pub local_only: bool,
}

impl Consumer {
    /// Whether it may ask for this public model name.
    pub fn may_use(&self, public_model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|model| model == public_model))
    }
}

/// All consumers, found by the SHA-256 of their keys.
///
/// Invariant: no digest belongs to two consumers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Consumers {
    consumers: Vec<Consumer>,
    /// Sorted by [`prefix`].
    keys: Vec<Key>,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    sha256: [u8; 32],
    consumer: usize,
}

impl Consumers {
    /// The consumer whose key has this SHA-256.
    ///
    /// The first 8 bytes find the candidates (of thousands of keys usually one), the whole digest is compared in
    /// constant time. How long the search takes tells something about a prefix of a hash at most, and no one can
    /// choose a key by the hash it shall have.
    pub fn by_key_digest(&self, sha256: &[u8; 32]) -> Option<&Consumer> {
        let wanted = prefix(sha256);
        let start = self.keys.partition_point(|key| prefix(&key.sha256) < wanted);
        let candidates = self.keys.get(start..)?.iter().take_while(|key| prefix(&key.sha256) == wanted);
        let mut found = None;
        for key in candidates {
            if bool::from(key.sha256.ct_eq(sha256)) {
                found = Some(key.consumer);
            }
        }
        self.consumers.get(found?)
    }

    /// All consumers in document order.
    pub fn iter(&self) -> std::slice::Iter<'_, Consumer> {
        self.consumers.iter()
    }

    /// How many consumers there are.
    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    /// Whether there is none; never true for a parsed document.
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty()
    }
}

impl fmt::Debug for Consumers {
    /// Without the digests: that of a weak key gives the key away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.consumers).finish()
    }
}

fn prefix(sha256: &[u8; 32]) -> u64 {
    sha256.first_chunk().map_or(0, |first: &[u8; 8]| u64::from_be_bytes(*first))
}
