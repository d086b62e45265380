//! JSON that keeps what a key and a replay must not lose: the order of fields and the text of numbers.
//!
//! `serde_json::Value` keeps neither: it turns numbers into `f64`, so that two seeds beyond 2^53 may become one, and
//! lets the last of two equal names win, so that we could read another request than the provider does. Here a number
//! is its text and a name that stands twice is an error. Nothing is copied but texts with escapes.

mod parse;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

pub use parse::{JsonError, MAX_DEPTH, MAX_VALUES};

/// A JSON value that borrows from the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as its text.
    Number(&'a str),
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// The fields of an object, in the order they stand; no name stands twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Json<'a> {
    /// Reads one value and nothing after it.
    ///
    /// # Errors
    /// When it is not JSON (RFC 8259, UTF-8), has a name twice in one object, or exceeds [`MAX_DEPTH`] or
    /// [`MAX_VALUES`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        parse::parse(text)
    }

    /// The object, if it is one.
    pub fn into_object(self) -> Option<Object<'a>> {
        match self {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Json::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        match self {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one that fits.
    pub fn as_u32(&self) -> Option<u32> {
        match self {
            Json::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether it says nothing: null, an empty text or an empty array.
    pub fn is_empty(&self) -> bool {
        match self {
            Json::Null => true,
            Json::Text(text) => text.is_empty(),
            Json::Array(elements) => elements.is_empty(),
            Json::Bool(_) | Json::Number(_) | Json::Object(_) => false,
        }
    }

    /// Appends it as compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(text) => out.extend_from_slice(text.as_bytes()),
            Json::Text(text) => write_text(out, text),
            Json::Array(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    element.write(out);
                }
                out.push(b']');
            }
            Json::Object(object) => {
                let mut fields = Fields::begin(out);
                for (name, value) in object.iter() {
                    fields.value(name, value);
                }
                fields.end();
            }
        }
    }

    /// It as compact JSON.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

impl<'a> Object<'a> {
    /// The value of a field; `None` when it is absent.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// The value of a field, where null means the same as absent.
    pub fn present(&self, name: &str) -> Option<&Json<'a>> {
        self.get(name).filter(|value| !matches!(value, Json::Null))
    }

    /// The fields in the order they stand.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

/// Writes an object, field by field.
#[must_use = "without `end` the object stays open"]
pub struct Fields<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

impl<'o> Fields<'o> {
    /// Opens an object at the end of `out`.
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Fields { out, is_first: true }
    }

    /// Writes a name; the caller writes its value to what is returned.
    pub fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        write_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Writes a field.
    pub fn value(&mut self, name: &str, value: &Json<'_>) {
        value.write(self.name(name));
    }

    /// Writes a field whose value is a text.
    pub fn text(&mut self, name: &str, text: &str) {
        write_text(self.name(name), text);
    }

    /// Writes a field whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name).extend_from_slice(json);
    }

    /// Closes the object.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends a text with its quotes and escapes.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    // A text into a `Vec`: neither serialising nor writing can fail.
    let _infallible = serde_json::to_writer(out, text);
}
