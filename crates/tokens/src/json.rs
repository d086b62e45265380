//! Reading JSON in place: the elements of an array one by one, the members of an object, strings, and a value without
//! its layout. The values are known to be JSON; nothing here fails on what it finds, and nothing recurses.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Whether the value is of the kind that begins so: `{`, `[` or `"`.
pub fn starts_with(value: &RawValue, byte: u8) -> bool {
    value.get().as_bytes().first() == Some(&byte)
}

/// The elements of an array, each read as a `T`; the index of the first that is none, and no more after it.
pub struct Elements<'a, T> {
    rest: &'a str,
    at: usize,
    element: PhantomData<T>,
}

impl<'a, T> Elements<'a, T> {
    /// The elements of `array`; none if it is no array.
    pub fn of(array: &'a RawValue) -> Self {
        let inside = array.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        Elements { rest: inside.unwrap_or_default().trim_start(), at: 0, element: PhantomData }
    }
}

impl<'a, T: Deserialize<'a>> Iterator for Elements<'a, T> {
    type Item = Result<T, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<T>();
        let Some(Ok(element)) = values.next() else {
            self.rest = "";
            return Some(Err(self.at));
        };
        let after = self.rest.get(values.byte_offset()..).unwrap_or_default().trim_start();
        self.rest = after.strip_prefix(',').unwrap_or_default().trim_start();
        self.at += 1;
        Some(Ok(element))
    }
}

/// The members of an object in their order, repeated names included; `None` if it is no object.
pub fn members(object: &RawValue) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Members<'de>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
            let mut members = Vec::new();
            while let Some((Text(name), value)) = map.next_entry()? {
                members.push((name, value));
            }
            Ok(Members(members))
        }
    }
    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(All)
        }
    }
    serde_json::from_str::<Members<'_>>(object.get()).ok().map(|Members(members)| members)
}

/// A value as text: what a string says, escapes undone; anything else as JSON without white space between its parts.
pub fn text(value: &RawValue) -> Cow<'_, str> {
    string(value).unwrap_or_else(|| Cow::Owned(compact(value.get())))
}

/// What a string says; `None` if the value is none. Halves of surrogate pairs become replacement characters.
pub fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    if !starts_with(value, b'"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|Text(text)| text)
}

/// A string that is read as bytes, because as a `str` it could not hold half of a surrogate pair, which JSON can.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// JSON without white space between its parts, and with characters where a string has `\u` escapes for no need: what
/// it is whoever wrote it.
fn compact(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(quote) = rest.find('"') {
        let (layout, from_quote) = rest.split_at(quote);
        compact.extend(layout.chars().filter(|c| !c.is_ascii_whitespace()));
        let (string, after) = from_quote.split_at(end_of_string(from_quote));
        match string.contains("\\u").then(|| serde_json::from_str::<Text<'_>>(string)) {
            Some(Ok(Text(text))) => compact.push_str(&serde_json::to_string(&text).unwrap_or_default()),
            _ => compact.push_str(string),
        }
        rest = after;
    }
    compact.extend(rest.chars().filter(|c| !c.is_ascii_whitespace()));
    compact
}

/// Where the string that `json` starts with ends, its quotes included.
fn end_of_string(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_value_is_the_same_text_however_it_is_laid_out_and_escaped() {
        for (json, expected) in [
            (r#""a\n\u00e4""#, "a\nä"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""\ud83dx""#, "\u{fffd}\u{fffd}\u{fffd}x"),
            (" { \"a b\" : [ 1 ,\n \"c  \\\" d\" ] } ", r#"{"a b":[1,"c  \" d"]}"#),
            (r#"{"\u00e4\u0022": "\u0007"}"#, "{\"ä\\\"\":\"\\u0007\"}"),
            ("null", "null"),
            ("\"\\\\\"", "\\"),
        ] {
            assert_eq!(text(&raw(json)), expected, "{json}");
        }
    }

    #[test]
    fn elements_stop_at_the_first_that_is_none() {
        let array = raw(r#" [ 1, 2 ,3 , "x", 4] "#);
        assert_eq!(Elements::<u8>::of(&array).collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3), Err(3)]);
        assert_eq!(Elements::<u8>::of(&raw(" [ ] ")).count(), 0);
        assert_eq!(Elements::<u8>::of(&raw("{}")).count(), 0);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<String>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        leaf.prop_recursive(3, 20, 4, |inner| {
            let name = any::<String>();
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_compact_value_is_what_serde_writes(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(compact(&pretty), value.to_string());
        }

        #[test]
        fn elements_and_members_are_all_there(value in any_json()) {
            let pretty = raw(&serde_json::to_string_pretty(&value).unwrap());
            match &value {
                Value::Array(elements) => {
                    let read: Vec<Value> = Elements::of(&pretty).map(Result::unwrap).collect();
                    prop_assert_eq!(&read, elements);
                }
                Value::Object(object) => {
                    let names: Vec<_> = members(&pretty).unwrap().into_iter().map(|(name, _)| name).collect();
                    prop_assert_eq!(names, object.keys().map(String::as_str).collect::<Vec<_>>());
                }
                Value::String(string) => prop_assert_eq!(text(&pretty), string.as_str()),
                _ => prop_assert!(members(&pretty).is_none()),
            }
        }
    }
}
