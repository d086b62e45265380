use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Any JSON value, multi-byte texts and nested ones included.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|n| Value::from(f64::from(n) / 8.0)),
        "[ -~é漢😀\n\"\\\\]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-cé\"]{0,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn round_trip(text: &str) -> Result<String, JsonError> {
    Ok(String::from_utf8(Json::parse(text.as_bytes())?.to_vec()).unwrap())
}

#[test]
fn order_and_the_text_of_numbers_are_kept() {
    for text in [
        r#"{"b":1.0,"a":[1e5,1E+5,-0,0.10,123456789012345678901234567890],"é":"\u0001\n"}"#,
        r#"[[],{},"",null,true,false,"\"\\","😀"]"#,
        "12",
    ] {
        assert_eq!(round_trip(text).as_deref(), Ok(text));
    }
    assert_eq!(round_trip(" { \"a\\u0062\" : [ 1 , 2 ]\r\n}\t").unwrap(), r#"{"ab":[1,2]}"#);
}

#[test]
fn a_name_that_stands_twice_is_refused_however_it_is_written() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"":1,"b":2,"":3}}]"#] {
        assert!(matches!(Json::parse(text.as_bytes()), Err(JsonError::DuplicateName { .. })), "{text}");
    }
    let many = |last: usize| {
        let fields: Vec<_> = (0..40).chain([last]).map(|n| format!("\"f{n}\":{n}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    assert!(Json::parse(many(40).as_bytes()).is_ok());
    assert!(matches!(Json::parse(many(0).as_bytes()), Err(JsonError::DuplicateName { .. })));
}

#[test]
fn what_is_not_json_is_refused_where_it_stops_being_json() {
    for (text, at) in [
        ("", 0),
        (" ", 1),
        ("{", 1),
        ("[1,]", 3),
        ("[1 2]", 3),
        (r#"{"a" 1}"#, 5),
        (r#"{"a":1,}"#, 7),
        ("{a:1}", 1),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        ("1e", 2),
        ("+1", 0),
        ("nul", 0),
        ("truex", 4),
        ("\"a", 2),
        ("\"a\n\"", 2),
        ("\"\\", 3),
        ("\"\\x\"", 0),
        ("\"\\ud800\"", 0),
        ("1 1", 2),
    ] {
        assert_eq!(Json::parse(text.as_bytes()), Err(JsonError::Syntax { at }), "{text:?}");
    }
    assert_eq!(Json::parse(b"\"\xff\""), Err(JsonError::NotUtf8));
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
    assert_eq!(Json::parse("[".repeat(1_000_000).as_bytes()), Err(JsonError::TooDeep));
    let long = |values: usize| format!("[{}]", vec!["0"; values - 1].join(","));
    assert!(Json::parse(long(MAX_VALUES).as_bytes()).is_ok());
    assert_eq!(Json::parse(long(MAX_VALUES + 1).as_bytes()), Err(JsonError::TooManyValues));
}

proptest! {
    #[test]
    fn it_reads_what_serde_json_reads(value in any_json()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let ours = Json::parse(text.as_bytes()).unwrap().to_vec();
        prop_assert_eq!(serde_json::from_slice::<Value>(&ours).unwrap(), value);
    }

    #[test]
    fn it_refuses_what_serde_json_refuses(text in r#"[\[\]{}:,"a\\u0-2 .eE+\-tnrfuls\n]{0,12}"#) {
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok()
            && serde_json::from_str::<Value>(&text).is_ok_or_out_of_range();
        match Json::parse(text.as_bytes()) {
            Ok(_) | Err(JsonError::DuplicateName { .. }) => prop_assert!(theirs, "{text:?}"),
            Err(_) => prop_assert!(!theirs, "{text:?}"),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _parsed = Json::parse(&text);
    }
}

/// `serde_json::Value` cannot hold 1e999; as a text it is a number.
trait OkOrOutOfRange {
    fn is_ok_or_out_of_range(&self) -> bool;
}

impl OkOrOutOfRange for Result<Value, serde_json::Error> {
    fn is_ok_or_out_of_range(&self) -> bool {
        self.as_ref().map_or_else(|error| error.to_string().contains("out of range"), |_| true)
    }
}
