//! JSON compared by meaning: the order of fields does not count, the text of numbers does.

use cache_policy::json::{Json, Object};
use std::collections::BTreeMap;

/// A value whose equality is that of its meaning.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    Leaf(String),
    Array(Vec<Meaning>),
    Object(BTreeMap<String, Meaning>),
}

pub(crate) fn meaning(json: &Json<'_>) -> Meaning {
    match json {
        Json::Array(elements) => Meaning::Array(elements.iter().map(meaning).collect()),
        Json::Object(object) => Meaning::Object(fields(object)),
        leaf => Meaning::Leaf(String::from_utf8(leaf.to_vec()).expect("written JSON is UTF-8")),
    }
}

pub(crate) fn fields(object: &Object<'_>) -> BTreeMap<String, Meaning> {
    object.iter().map(|(name, value)| (name.to_owned(), meaning(value))).collect()
}
