//! The parser: RFC 8259 in one pass, bounded in depth and in the number of values.

use super::{Json, Object};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Deepest nesting of arrays and objects. `serde_json` stops at 128; chat requests with a tool's JSON schema reach
/// some 15.
pub const MAX_DEPTH: usize = 64;

/// Most values in one text, so that a body of a few megabytes of `[0,0,…]` cannot take fifty times its size in
/// memory. A conversation of 1,000 messages has some 10,000.
pub const MAX_VALUES: usize = 100_000;

/// Objects with at most this many fields are checked for a name that stands twice by comparing all pairs.
const FEW_FIELDS: usize = 16;

/// Why a text could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("it is not JSON at byte {at}")]
    Syntax {
        /// Offset of the first byte that cannot be.
        at: usize,
    },
    /// A name stands twice in one object, so which value holds depends on the reader.
    #[error("a name stands twice in the object that ends at byte {at}")]
    DuplicateName {
        /// Offset behind the object.
        at: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("it is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More values than [`MAX_VALUES`].
    #[error("it has more than {MAX_VALUES} values")]
    TooManyValues,
}

pub(super) fn parse(text: &[u8]) -> Result<Json<'_>, JsonError> {
    let text = std::str::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
    let mut parser = Parser { text, at: 0, values: 0 };
    parser.skip_whitespace();
    let value = parser.value(0)?;
    parser.skip_whitespace();
    if parser.at < text.len() { Err(parser.syntax()) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    /// Offset of the next byte; always at a char boundary between two tokens.
    at: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
        }
        is_next
    }

    fn skip_while(&mut self, skip: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let skipped = rest.iter().position(|&byte| !skip(byte)).unwrap_or(rest.len());
        self.at += skipped;
        skipped
    }

    fn skip_whitespace(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn slice_from(&self, start: usize) -> Result<&'a str, JsonError> {
        self.text.get(start..self.at).ok_or_else(|| self.syntax())
    }

    /// The value that starts here; `depth` arrays and objects are open around it.
    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(JsonError::TooManyValues);
        }
        match self.peek() {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(JsonError::TooDeep),
            Some(b'{') => self.object(depth + 1).map(Json::Object),
            Some(b'[') => self.array(depth + 1).map(Json::Array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.literal("true", Json::Bool(true)),
            Some(b'f') => self.literal("false", Json::Bool(false)),
            Some(b'n') => self.literal("null", Json::Null),
            _ => Err(self.syntax()),
        }
    }

    fn literal(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Json<'a>>, JsonError> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_whitespace();
        if self.eat(b']') {
            return Ok(elements);
        }
        loop {
            self.skip_whitespace();
            elements.push(self.value(depth)?);
            self.skip_whitespace();
            if self.eat(b']') {
                return Ok(elements);
            }
            if !self.eat(b',') {
                return Err(self.syntax());
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        self.at += 1;
        let mut fields = Vec::new();
        self.skip_whitespace();
        if self.eat(b'}') {
            return Ok(Object(fields));
        }
        loop {
            self.skip_whitespace();
            if self.peek() != Some(b'"') {
                return Err(self.syntax());
            }
            let name = self.string()?;
            self.skip_whitespace();
            if !self.eat(b':') {
                return Err(self.syntax());
            }
            self.skip_whitespace();
            fields.push((name, self.value(depth)?));
            self.skip_whitespace();
            if self.eat(b'}') {
                return if has_duplicate(&fields) {
                    Err(JsonError::DuplicateName { at: self.at })
                } else {
                    Ok(Object(fields))
                };
            }
            if !self.eat(b',') {
                return Err(self.syntax());
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut has_escape = false;
        loop {
            self.skip_while(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escape = true;
                    self.at += 2; // what is escaped is judged below; it may be a quote
                }
                _ => return Err(self.syntax()),
            }
        }
        self.at += 1;
        let quoted = self.slice_from(start)?;
        if has_escape {
            // Escapes, surrogate pairs among them, are left to `serde_json`.
            return match serde_json::from_str(quoted) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(_) => Err(JsonError::Syntax { at: start }),
            };
        }
        Ok(Cow::Borrowed(quoted.trim_matches('"')))
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, RFC 8259 section 6.
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _has_sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        self.slice_from(start)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if self.skip_while(|byte| byte.is_ascii_digit()) == 0 { Err(self.syntax()) } else { Ok(()) }
    }
}

fn has_duplicate(fields: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    if fields.len() > FEW_FIELDS {
        let mut seen = BTreeSet::new();
        return fields.iter().any(|(name, _)| !seen.insert(name.as_ref()));
    }
    fields
        .iter()
        .enumerate()
        .any(|(at, (name, _))| fields.iter().skip(at + 1).any(|(other, _)| other == name))
}
