//! `[[consumers]]`: who may call, and how a key finds its consumer.

use crate::fields::{Fields, Taken, unknown_name};
use crate::models::Models;
use crate::names::{NAME_RULE, is_name, shown};
use std::fmt;
use subtle::ConstantTimeEq;

/// Keys of `[[consumers]]`.
pub(crate) const KEYS: &[&str] = &["id", "team", "app", "tags", "keys_sha256", "models"];

const TAGS_MAX: usize = 16;
/// SHA-256 of nothing: what hashing an empty variable gives.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// SHA-256 of `tollgate-local`, the key of the built-in consumer.
const BUILT_IN_SHA256: &str = "323e1f5c5b1e83ab043b551bba6e5a78b2cfd1efcd501767f13b7bba39461a8a";

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
    /// Names of the models that it may ask for, aliases resolved; `None` = all.
    pub models: Option<Vec<String>>,
    /// Accepted only from a loopback client address. True for the built-in consumer alone.
    pub local_only: bool,
}

impl Consumer {
    /// Whether it may ask for the model of this name; no alias.
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
    /// Index of its consumer.
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

/// Reads `[[consumers]]`. The built-in document's are local only.
pub(crate) fn read(root: &Fields<'_, '_>, models: &Models<'_>, is_built_in: bool) -> Consumers {
    let tables = root.tables("consumers", KEYS);
    if tables.is_empty() {
        let what = if root.has("consumers") { "empty" } else { "missing" };
        root.refuse("consumers", format!("is {what}; without [[consumers]] every request would be refused"));
    }
    let mut taken = Taken::new();
    let mut all = Consumers::default();
    let mut keys = Vec::with_capacity(tables.len());
    for (consumer, fields) in tables.iter().enumerate() {
        let id = fields.unique_name("id", &mut taken);
        for (path, sha256) in read_keys(fields, is_built_in) {
            keys.push((sha256, path, consumer));
        }
        all.consumers.push(Consumer {
            id: id.unwrap_or_default(),
            team: fields.name("team"),
            app: fields.name("app"),
            tags: read_tags(fields),
            models: read_models(fields, models),
            local_only: is_built_in,
        });
    }
    keys.sort_by_key(|(sha256, _, consumer)| (*sha256, *consumer));
    for (one, other) in keys.iter().zip(keys.iter().skip(1)) {
        if one.0 == other.0 {
            root.report()
                .add(&other.1, format!("is the same key as {}; a key belongs to one consumer, once", one.1));
        }
    }
    all.keys = keys.into_iter().map(|(sha256, _, consumer)| Key { sha256, consumer }).collect();
    all
}

fn read_keys(fields: &Fields<'_, '_>, is_built_in: bool) -> Vec<(String, [u8; 32])> {
    let Some(texts) = fields.texts("keys_sha256") else {
        if !fields.has("keys_sha256") {
            fields.refuse("keys_sha256", "is missing; without a key no request could be this consumer's");
        }
        return Vec::new();
    };
    if texts.is_empty() {
        fields.refuse("keys_sha256", "is empty; without a key no request could be this consumer's");
    }
    let mut keys = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        let report = fields.report();
        // The text is never shown: who writes something else here writes the key itself.
        let Some(sha256) = digest(text) else {
            let length = text.chars().count();
            report.add(
                path,
                format!("is {length} characters; must be the key's SHA-256, 64 hexadecimal digits"),
            );
            continue;
        };
        if digest(EMPTY_SHA256) == Some(sha256) {
            report.add(path, "is the SHA-256 of an empty key");
        } else if !is_built_in && digest(BUILT_IN_SHA256) == Some(sha256) {
            report
                .add(path, "is the key of the built-in document, which everyone knows; make one of your own");
        } else {
            keys.push((path, sha256));
        }
    }
    keys
}

/// 64 hexadecimal digits as 32 bytes.
fn digest(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn read_tags(fields: &Fields<'_, '_>) -> Vec<String> {
    let texts = fields.texts("tags").unwrap_or_default();
    if texts.len() > TAGS_MAX {
        fields.refuse("tags", format!("has {} entries, must have at most {TAGS_MAX}", texts.len()));
    }
    let mut tags: Vec<String> = Vec::with_capacity(texts.len());
    for (path, tag) in texts {
        if !is_name(tag) {
            fields.report().add(path, format!("is {}, {NAME_RULE}", shown(tag)));
        } else if tags.iter().any(|other| other == tag) {
            fields.report().add(path, format!("is {}, which is in the list already", shown(tag)));
        } else {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn read_models(fields: &Fields<'_, '_>, models: &Models<'_>) -> Option<Vec<String>> {
    let texts = fields.texts("models")?;
    if texts.is_empty() {
        fields.refuse("models", "is empty, so that nothing is allowed; leave it out to allow every model");
    }
    let mut names = Vec::with_capacity(texts.len());
    for (path, name) in texts {
        if name == "*" {
            fields.report().add(path, "is \"*\"; leave models out to allow every model");
            continue;
        }
        match models.canonical(name).map(str::to_owned) {
            Some(name) if names.contains(&name) => {}
            Some(name) => names.push(name),
            None => fields.report().add(path, unknown_name(name, "the name of a model", models.known())),
        }
    }
    Some(names)
}
