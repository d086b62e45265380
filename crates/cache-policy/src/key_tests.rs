use super::*;
use crate::json::tests::any_json;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CONSUMER: Tenant<'static> = Tenant::Consumer("c");

fn key_of_text(text: &str) -> CacheKey {
    let object = Json::parse(text.as_bytes()).unwrap().into_object().unwrap();
    CacheKey::of(CONSUMER, "m", &object)
}

fn key_of(value: &Value) -> CacheKey {
    key_of_text(&value.to_string())
}

fn with_tenant(tenant: Tenant<'_>, model: &str) -> CacheKey {
    CacheKey::of(tenant, model, &Object::default())
}

/// The same value, fields in the order that `seed` shuffles them into, whitespace sprinkled.
fn shuffled(value: &Value, seed: &mut u64, out: &mut String) {
    let mut next = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).unwrap()
    };
    match value {
        Value::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                out.push_str(if at > 0 { " , " } else { "\n" });
                shuffled(element, seed, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            for at in (1..fields.len()).rev() {
                fields.swap(at, next() % (at + 1));
            }
            out.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                out.push_str(if at > 0 { "\t,\r\n" } else { " " });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(" :");
                shuffled(value, seed, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// All values that differ from `value` in exactly one place.
fn neighbours(value: &Value) -> Vec<Value> {
    let mut changed = match value {
        Value::Null => vec![json!(false), json!(0), json!(""), json!([]), json!({})],
        Value::Bool(b) => vec![json!(!b), json!(u8::from(*b)), json!(b.to_string())],
        Value::Number(n) => vec![json!(n.to_string()), json!([n]), json!(n.as_f64().unwrap() + 1.5)],
        Value::String(s) => vec![json!(format!("{s} ")), json!(format!("{s}\u{0}")), json!([s]), Value::Null],
        Value::Array(elements) => {
            let mut longer = elements.clone();
            longer.push(Value::Null);
            vec![Value::from(longer), Value::Null]
        }
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert("new".into(), Value::Null);
            vec![Value::Object(more), Value::Null]
        }
    };
    if let Value::Array(elements) = value {
        for at in 0..elements.len() {
            let mut fewer = elements.clone();
            fewer.remove(at);
            changed.push(Value::from(fewer));
            for neighbour in neighbours(&elements[at]) {
                let mut other = elements.clone();
                other[at] = neighbour;
                changed.push(Value::from(other));
            }
        }
    }
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            let mut fewer = fields.clone();
            fewer.remove(name);
            changed.push(Value::Object(fewer.clone()));
            fewer.insert(format!("{name}x"), field.clone());
            changed.push(Value::Object(fewer));
            for neighbour in neighbours(field) {
                let mut other = fields.clone();
                other.insert(name.clone(), neighbour);
                changed.push(Value::Object(other));
            }
        }
    }
    changed
}

fn any_request() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]{1,2}|seed|tools|user", any_json(), 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

proptest! {
    #[test]
    fn the_order_of_fields_and_whitespace_do_not_matter(request in any_request(), mut seed in any::<u64>()) {
        let mut text = String::new();
        shuffled(&request, &mut seed, &mut text);
        prop_assert_eq!(key_of_text(&text), key_of(&request), "{}", text);
    }

    #[test]
    fn every_change_in_any_one_place_changes_the_key(request in any_request()) {
        let key = key_of(&request);
        for neighbour in neighbours(&request).into_iter().filter(Value::is_object) {
            // A number may have come out with the same text (`-0.0`).
            prop_assert!(neighbour == request || key_of(&neighbour) != key, "{neighbour} against {request}");
        }
    }

    /// The naive model: two requests are the same if their values are.
    #[test]
    fn keys_are_equal_exactly_when_the_values_are(requests in prop::collection::vec(any_request(), 2..8)) {
        let values: BTreeSet<String> = requests.iter().map(Value::to_string).collect();
        let keys: BTreeSet<String> = requests.iter().map(|request| key_of(request).to_string()).collect();
        prop_assert_eq!(values.len(), keys.len());
    }

    #[test]
    fn how_the_answer_is_delivered_is_not_part_of_the_key(
        request in any_request(), stream in any_json(), options in any_json(),
    ) {
        let key = key_of(&request);
        let mut streamed = request;
        streamed["stream"] = stream;
        streamed["stream_options"] = options;
        prop_assert_eq!(key_of(&streamed), key);
    }

    #[test]
    fn a_key_is_read_as_it_is_written(team in ".{0,8}", text in "[0-9a-g]{62,66}") {
        let key = with_tenant(Tenant::Team(&team), "m");
        prop_assert_eq!(CacheKey::parse(&key.to_string()), Some(key));
        let is_key = text.len() == 64 && !text.contains('g');
        prop_assert_eq!(CacheKey::parse(&text).map(|key| key.to_string()), is_key.then_some(text));
    }
}

#[test]
fn each_of_these_is_another_question() {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "2+2"}], "seed": 1});
    let key = key_of(&base);
    for (path, value) in [
        ("/messages/0/content", json!("2+3")),
        ("/messages/0/role", json!("system")),
        ("/messages/0/stream", json!(true)),
        ("/messages", json!([{"role": "user", "content": "2+2"}, {"role": "user", "content": "2+2"}])),
        ("/model", json!("n")),
        ("/seed", json!(2)),
        ("/seed", json!("1")),
        ("/temperature", json!(0)),
        ("/tools", json!([])),
        ("/response_format", json!({"type": "json_object"})),
        ("/n", json!(1)),
        ("/user", json!("u")),
        ("/max_tokens", Value::Null),
        ("/not_invented_yet", json!({"stream": 1})),
    ] {
        let mut other = base.clone();
        let (parent, name) = path.rsplit_once('/').unwrap();
        other.pointer_mut(parent).unwrap()[name] = value;
        assert_ne!(key_of(&other), key, "{path}");
    }
}

#[test]
fn numbers_are_compared_by_their_text() {
    let texts = ["1", "1.0", "1e0", "9007199254740993", "9007199254740992", "0.1", "0.10000000000000000001"];
    let keys: BTreeSet<_> =
        texts.iter().map(|n| key_of_text(&format!("{{\"seed\":{n}}}")).to_string()).collect();
    assert_eq!(keys.len(), texts.len());
}

#[test]
fn tenants_and_models_never_share_a_key() {
    let parts = [
        with_tenant(Tenant::Team("x"), "m"),
        with_tenant(Tenant::Consumer("x"), "m"),
        with_tenant(Tenant::Team("xm"), ""),
        with_tenant(Tenant::Team(""), "xm"),
        with_tenant(Tenant::Team("x"), "n"),
    ];
    let keys: BTreeSet<_> = parts.iter().map(CacheKey::to_string).collect();
    assert_eq!(keys.len(), parts.len());
}

#[test]
fn a_team_shares_and_without_a_team_the_consumer_stands_alone() {
    for (team, consumer, tenant) in [
        ("t", "c", Some(Tenant::Team("t"))),
        ("t", "", Some(Tenant::Team("t"))),
        ("", "c", Some(Tenant::Consumer("c"))),
        ("", "", None),
    ] {
        assert_eq!(Tenant::of(team, consumer), tenant, "{team:?} {consumer:?}");
    }
}

/// A key that changes by accident empties every cache at the next deployment.
#[test]
fn the_encoding_is_the_one_that_was_released() {
    let key =
        key_of_text(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":1,"x":[null,true]}"#);
    assert_eq!(key.to_string(), "cb437c3f02d9bd3d63d973940b1119f81c62e3caaf4876c2eb51f4d4fff7a4e5");
    assert_eq!(key.store_key(), format!("sc:1:{key}"));
}
