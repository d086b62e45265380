//! A JSON object whose fields keep their order and their bytes: for changing one field and handing on the rest.
//!
//! Invariant: what is not replaced or left out comes out as it stood.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The fields of an object in their order.
#[derive(Debug, Clone, Default)]
pub struct RawObject<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A field's value.
#[derive(Debug, Clone)]
enum Value<'a> {
    /// As it stood.
    Kept(&'a RawValue),
    /// JSON in its place.
    New(String),
}

impl Value<'_> {
    fn json(&self) -> &str {
        match self {
            Value::Kept(raw) => raw.get(),
            Value::New(json) => json,
        }
    }
}

impl<'a> RawObject<'a> {
    /// Reads an object; `None` for any other JSON, and for none.
    pub fn parse(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// The JSON of the first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.json())
    }

    /// The JSON of every field.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.json())
    }

    /// Puts `json` in the place of every field of this name, or behind all if there is none.
    ///
    /// `json` must be JSON; it is not looked at.
    pub fn set(&mut self, name: &str, json: impl Into<String>) {
        let json = json.into();
        let mut is_there = false;
        for (_, value) in self.0.iter_mut().filter(|(field, _)| field == name) {
            *value = Value::New(json.clone());
            is_there = true;
        }
        if !is_there {
            self.0.push((Cow::Owned(name.to_owned()), Value::New(json)));
        }
    }

    /// Leaves every field of this name out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(field, _)| field != name);
    }

    /// The object as JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.0.iter().map(|(n, v)| n.len() + v.json().len() + 4).sum());
        for (name, value) in &self.0 {
            json.push(if json.is_empty() { '{' } else { ',' });
            json.push_str(&serde_json::Value::from(name.as_ref()).to_string());
            json.push(':');
            json.push_str(value.json());
        }
        if json.is_empty() {
            json.push('{');
        }
        json.push('}');
        json
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawObject<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), Value::Kept(value)));
                }
                Ok(RawObject(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_as_it_stood() {
        let json =
            r#"{ "z" : 1.50e0, "a":{"b": [1, 2]}, "a\n":"\u00e9", "n":123456789012345678901234567890 }"#;
        let mut object = RawObject::parse(json).unwrap();
        assert_eq!(
            object.to_json(),
            r#"{"z":1.50e0,"a":{"b": [1, 2]},"a\n":"\u00e9","n":123456789012345678901234567890}"#
        );
        object.set("a", "7");
        object.set("new", "null");
        object.remove("z");
        assert_eq!(
            object.to_json(),
            r#"{"a":7,"a\n":"\u00e9","n":123456789012345678901234567890,"new":null}"#
        );
        assert_eq!((object.get("a"), object.get("z")), (Some("7"), None));
        assert_eq!(RawObject::parse("{}").unwrap().to_json(), "{}");
        for json in ["", "[]", "null", "{", "{\"a\"}"] {
            assert!(RawObject::parse(json).is_none(), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_object_comes_out_with_the_same_meaning(
            fields in proptest::collection::vec(("\\PC{0,6}", proptest::prop_oneof![
                proptest::strategy::Just(serde_json::json!(null)), proptest::strategy::Just(serde_json::json!([1, {"a": "}"}])),
                proptest::strategy::Just(serde_json::json!("\u{1f600}\"\\")), proptest::strategy::Just(serde_json::json!(-1.5)),
            ]), 0..6),
        ) {
            let object: serde_json::Map<String, serde_json::Value> = fields.into_iter().collect();
            let json = serde_json::to_string_pretty(&object).unwrap();
            let out = RawObject::parse(&json).unwrap().to_json();
            proptest::prop_assert_eq!(serde_json::from_str::<serde_json::Map<_, _>>(&out).unwrap(), object);
        }
    }
}
