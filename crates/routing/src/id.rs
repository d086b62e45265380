//! What a deployment is called wherever its state is kept.

use crate::hash::stable_hash;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// A deployment, or one upstream model of a deployment that passes every name on. The same in every pool, instance and
/// replica: what is learned about it in one is known in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId(u64);

impl DeploymentId {
    /// Of a deployment's label; `asked` is the name that is passed on where the label ends in `*`: what happens at one
    /// upstream model, a rate limit say, is no word about another.
    pub fn new(label: &str, asked: Option<&str>) -> Self {
        DeploymentId(stable_hash([label.as_bytes()].into_iter().chain(asked.map(str::as_bytes))))
    }

    /// Of a hash that stands for a deployment.
    pub fn from_hash(hash: u64) -> Self {
        DeploymentId(hash)
    }

    /// The hash.
    pub fn as_hash(self) -> u64 {
        self.0
    }

    /// Of the text that it prints as.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_sound = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_sound).map(DeploymentId)
    }
}

impl fmt::Display for DeploymentId {
    /// 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// State by deployment. An id is a hash already.
pub(crate) type ById<T> = HashMap<DeploymentId, T, BuildHasherDefault<AsItIs>>;

/// Takes a hash for a hash.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never called: the only field of an id is a u64.
        self.0 = stable_hash([bytes]);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
