//! The chat request: what a gateway must understand of it, and how little of it is changed.
//!
//! The body that goes upstream is the client's own bytes, with at most three places replaced: the model name,
//! `stream_options` so that the provider reports usage, and `stream` where a whole answer is to be gathered from one.
//! Every other byte, unknown fields included, is handed on.

use crate::error::ApiError;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// The fields that matter here, as they stand in the body.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    // Present and null must be told from absent: adding a second `stream` or `stream_options` would make the body ambiguous.
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A chat request that has been checked as far as the gateway needs. It holds the body that it was read from.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    body: Bytes,
    /// The model name that the client asked for.
    pub model: String,
    /// Whether the client asked for SSE.
    pub stream: bool,
    /// Whether the client asked for a usage chunk at the end of its stream.
    pub include_usage: bool,
    /// How many choices the client asked for (`n`): 1 where it does not say, and where it says what is no such number, which
    /// is for the provider to refuse.
    pub choices: usize,
    /// Whether the client asked for speech, which a stream gives in another form than a whole answer does.
    pub wants_audio: bool,
    model_at: Range<usize>,
    stream_at: Option<Range<usize>>,
    stream_options: OptionsAt,
    user_at: Option<Range<usize>>,
}

/// Where `include_usage` stands, or would.
#[derive(Debug, Clone)]
enum OptionsAt {
    /// There is no `stream_options`.
    Absent,
    /// `stream_options` is null, and stands here.
    Null(Range<usize>),
    /// An object without `include_usage`, which begins after its brace, here.
    Begins { at: usize, is_empty: bool },
    /// An object with it; its value stands here.
    IncludeUsage { is_set: bool, value_at: Range<usize> },
}

impl ChatRequest {
    /// Checks a request body.
    ///
    /// # Errors
    /// 400 `invalid_request` whose `param` names the wrong field.
    pub fn parse(original: &Bytes) -> Result<Self, ApiError> {
        let body: &[u8] = original;
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(invalid("the request body must be a JSON object"));
        }
        let fields: Fields<'_> = serde_json::from_slice(body)
            .map_err(|e| invalid(format!("the request body is not valid JSON for this endpoint: {e}")))?;
        let model_raw = fields.model.ok_or_else(|| wrong("model", "is missing; it must be a string"))?;
        let model: Cow<'_, str> = text(model_raw).ok_or_else(|| wrong("model", "must be a string"))?;
        if model.is_empty() || model.len() > MAX_MODEL_BYTES || model.chars().any(char::is_control) {
            return Err(wrong("model", "must be 1 to 256 bytes without control characters"));
        }
        let messages =
            fields.messages.ok_or_else(|| wrong("messages", "is missing; it must be an array"))?.get();
        if messages.strip_prefix('[').is_none_or(|inner| inner.trim_start().starts_with(']')) {
            return Err(wrong("messages", "must be an array of at least one message"));
        }
        let stream = match fields.stream.map(RawValue::get) {
            Some("true") => true,
            None | Some("false" | "null") => false,
            Some(_) => return Err(wrong("stream", "must be true or false")),
        };
        let stream_options = match fields.stream_options {
            None => OptionsAt::Absent,
            Some(raw) if raw.get() == "null" => OptionsAt::Null(range_of(body, raw)),
            Some(raw) => options_at(body, raw)
                .ok_or_else(|| wrong("stream_options", "must be an object, `include_usage` true or false"))?,
        };
        let include_usage = matches!(stream_options, OptionsAt::IncludeUsage { is_set: true, .. });
        Ok(ChatRequest {
            body: original.clone(),
            model: model.into_owned(),
            stream,
            include_usage: include_usage && stream,
            choices: fields.n.and_then(|raw| raw.get().parse().ok()).filter(|&n| n >= 1).unwrap_or(1),
            wants_audio: fields.audio.is_some(),
            model_at: range_of(body, model_raw),
            stream_at: fields.stream.map(|raw| range_of(body, raw)),
            stream_options,
            user_at: fields.user.map(|raw| range_of(body, raw)),
        })
    }

    /// The body that this was read from.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whom the client says that it acts for, in its field `user`; empty where that is absent or no text.
    pub fn user(&self) -> Cow<'_, str> {
        let raw = self.user_at.clone().and_then(|at| self.body.get(at));
        let raw = raw.and_then(|raw| serde_json::from_slice::<&RawValue>(raw).ok());
        raw.and_then(text).unwrap_or_default()
    }

    /// The body for the upstream: the client's own bytes, but for the model name where the deployment has another
    /// one, and `stream_options.include_usage` where the client streams without asking for it.
    ///
    /// Returned without a copy when nothing changes.
    pub fn upstream_body(&self, upstream_model: Option<&str>) -> Bytes {
        self.body_with(upstream_model, self.stream)
    }

    /// The same, as a stream whatever the client asked for.
    pub fn upstream_body_of_stream(&self, upstream_model: Option<&str>) -> Bytes {
        self.body_with(upstream_model, true)
    }

    fn body_with(&self, upstream_model: Option<&str>, streams: bool) -> Bytes {
        let mut edits: Vec<(Range<usize>, Cow<'_, str>)> = Vec::with_capacity(3);
        if let Some(model) = upstream_model.filter(|&m| m != self.model) {
            edits.push((self.model_at.clone(), Cow::Owned(serde_json::Value::from(model).to_string())));
        }
        if streams && !self.stream {
            edits.push(match &self.stream_at {
                Some(at) => (at.clone(), Cow::Borrowed("true")),
                None => (self.after_brace(), Cow::Borrowed(r#""stream":true,"#)),
            });
        }
        if streams && !self.include_usage {
            edits.push(self.ask_for_usage());
        }
        if edits.is_empty() {
            return self.body.clone();
        }
        edits.sort_by_key(|(at, _)| at.start);
        let mut out =
            BytesMut::with_capacity(self.body.len() + edits.iter().map(|(_, new)| new.len()).sum::<usize>());
        let mut from = 0;
        for (at, new) in edits {
            out.extend_from_slice(self.body.get(from..at.start).unwrap_or_default());
            out.extend_from_slice(new.as_bytes());
            from = at.end;
        }
        out.extend_from_slice(self.body.get(from..).unwrap_or_default());
        out.freeze()
    }

    fn ask_for_usage(&self) -> (Range<usize>, Cow<'_, str>) {
        let (at, new) = match &self.stream_options {
            // The object is never empty, it has a model, so the comma is always right.
            OptionsAt::Absent => (self.after_brace(), r#""stream_options":{"include_usage":true},"#),
            OptionsAt::Null(at) => (at.clone(), r#"{"include_usage":true}"#),
            OptionsAt::Begins { at, is_empty: true } => (*at..*at, r#""include_usage":true"#),
            OptionsAt::Begins { at, is_empty: false } => (*at..*at, r#""include_usage":true,"#),
            OptionsAt::IncludeUsage { value_at, .. } => (value_at.clone(), "true"),
        };
        (at, Cow::Borrowed(new))
    }

    /// Where a first field goes.
    fn after_brace(&self) -> Range<usize> {
        let at = self.body.iter().position(|&b| b == b'{').map_or(0, |at| at + 1);
        at..at
    }
}

/// Longest model name, in bytes: generous for `publishers/…/models/…` names, short enough for a header.
const MAX_MODEL_BYTES: usize = 256;

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// Reads `stream_options`; `None` when it is no object, or has another value than true, false or null.
fn options_at(body: &[u8], raw: &RawValue) -> Option<OptionsAt> {
    let inner = raw.get().strip_prefix('{')?;
    let options: StreamOptions<'_> = serde_json::from_str(raw.get()).ok()?;
    let Some(value) = options.include_usage else {
        let at = range_of(body, raw).start + 1;
        return Some(OptionsAt::Begins { at, is_empty: inner.trim_start().starts_with('}') });
    };
    let is_set = match value.get() {
        "true" => true,
        "false" | "null" => false,
        _ => return None,
    };
    Some(OptionsAt::IncludeUsage { is_set, value_at: range_of(body, value) })
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|t| t.0)
}

/// Where a raw value stands in the body it borrows from.
fn range_of(body: &[u8], raw: &RawValue) -> Range<usize> {
    let start = (raw.get().as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
    start..start.saturating_add(raw.get().len())
}

fn invalid(message: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(400, "invalid_request", message)
}

fn wrong(param: &'static str, what: &str) -> ApiError {
    invalid(format!("`{param}` {what}.")).with_param(param)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn upstream(body: &str, model: Option<&str>) -> Bytes {
        let original = Bytes::copy_from_slice(body.as_bytes());
        ChatRequest::parse(&original).unwrap().upstream_body(model)
    }

    #[test]
    fn a_request_that_needs_no_change_is_handed_on_without_a_copy() {
        let body = Bytes::from_static(br#" {"model":"m","messages":[{}], "x" : 1.0e3}"#);
        for model in [None, Some("m")] {
            let sent = ChatRequest::parse(&body).unwrap().upstream_body(model);
            assert_eq!(sent.as_ptr(), body.as_ptr());
        }
    }

    #[test]
    fn only_the_model_and_stream_options_change() {
        for (body, model, expected) in [
            (
                r#"{"messages":[1],"model" : "m","z":[ 1,2 ]}"#,
                Some("up\"1"),
                r#"{"messages":[1],"model" : "up\"1","z":[ 1,2 ]}"#,
            ),
            (
                r#" { "model":"m","messages":[1],"stream":true}"#,
                None,
                r#" {"stream_options":{"include_usage":true}, "model":"m","messages":[1],"stream":true}"#,
            ),
            (
                r#"{"stream":true,"stream_options":null,"model":"m","messages":[1]}"#,
                Some("n"),
                r#"{"stream":true,"stream_options":{"include_usage":true},"model":"n","messages":[1]}"#,
            ),
            (
                r#"{"model":"m","stream_options":{"other":1,"include_usage":false},"messages":[1],"stream":true}"#,
                Some("n"),
                r#"{"model":"n","stream_options":{"other":1,"include_usage":true},"messages":[1],"stream":true}"#,
            ),
            (
                r#"{"model":"m","stream_options":{"x":[1.50,1e999]},"messages":[1],"stream":true}"#,
                None,
                r#"{"model":"m","stream_options":{"include_usage":true,"x":[1.50,1e999]},"messages":[1],"stream":true}"#,
            ),
            (
                r#"{"model":"m","stream_options":{ },"messages":[1],"stream":true}"#,
                None,
                r#"{"model":"m","stream_options":{"include_usage":true },"messages":[1],"stream":true}"#,
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":null,"x":1},"messages":[1],"stream":true}"#,
                None,
                r#"{"model":"m","stream_options":{"include_usage":true,"x":1},"messages":[1],"stream":true}"#,
            ),
            (
                r#"{"model":"m","stream_options":{"include_usage":true},"messages":[1],"stream":true}"#,
                None,
                r#"{"model":"m","stream_options":{"include_usage":true},"messages":[1],"stream":true}"#,
            ),
            (
                r#"{"model":"a\u0062","messages":[1],"stream":false}"#,
                Some("ab"),
                r#"{"model":"a\u0062","messages":[1],"stream":false}"#,
            ),
        ] {
            assert_eq!(upstream(body, model), expected, "{body}");
        }
    }

    #[test]
    fn a_whole_answer_can_be_asked_for_as_a_stream() {
        for (body, expected) in [
            (
                r#" {"model":"m", "messages":[1]}"#,
                r#" {"stream":true,"stream_options":{"include_usage":true},"model":"n", "messages":[1]}"#,
            ),
            (
                r#"{"model":"m","stream" : false,"stream_options":null,"messages":[1]}"#,
                r#"{"model":"n","stream" : true,"stream_options":{"include_usage":true},"messages":[1]}"#,
            ),
            (
                r#"{"stream":null,"stream_options":{"include_usage":true},"model":"m","messages":[1]}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true},"model":"n","messages":[1]}"#,
            ),
            (
                r#"{"model":"m","messages":[1],"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"n","messages":[1],"stream":true}"#,
            ),
        ] {
            let chat = ChatRequest::parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
            assert_eq!(chat.upstream_body_of_stream(Some("n")), expected, "{body}");
            assert!(!chat.wants_audio);
        }
        let speech = Bytes::from_static(br#"{"model":"m","messages":[1],"audio":{"voice":"x"}}"#);
        assert!(ChatRequest::parse(&speech).unwrap().wants_audio);
    }

    #[test]
    fn the_end_user_is_read_as_it_is_written() {
        for (field, user) in [
            ("", ""),
            (r#","user":"ann""#, "ann"),
            (r#","user" : "\u00fcnal\n""#, "ünal\n"),
            (r#","user":"" "#, ""),
            (r#","user":null"#, ""),
            (r#","user":7"#, ""),
            (r#","user":{"id":"ann"}"#, ""),
            (r#","safety_identifier":"ann""#, ""),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{field}}}"#);
            assert_eq!(ChatRequest::parse(&Bytes::from(body)).unwrap().user(), user, "{field}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            ("", None),
            ("[]", None),
            ("{", None),
            ("\"text\"", None),
            (r#"{"messages":[1]}"#, Some("model")),
            (r#"{"model":1,"messages":[1]}"#, Some("model")),
            (r#"{"model":"","messages":[1]}"#, Some("model")),
            (r#"{"model":"a\nb","messages":[1]}"#, Some("model")),
            (r#"{"model":"m"}"#, Some("messages")),
            (r#"{"model":"m","messages":{}}"#, Some("messages")),
            (r#"{"model":"m","messages":[ ]}"#, Some("messages")),
            (r#"{"model":"m","messages":[1],"stream":"yes"}"#, Some("stream")),
            (r#"{"model":"m","messages":[1],"stream":1}"#, Some("stream")),
            (r#"{"model":"m","messages":[1],"stream_options":[1]}"#, Some("stream_options")),
            (r#"{"model":"m","messages":[1],"stream_options":[true]}"#, Some("stream_options")),
            (
                r#"{"model":"m","messages":[1],"stream_options":{"include_usage":"x"}}"#,
                Some("stream_options"),
            ),
            (r#"{"model":"m","model":"n","messages":[1]}"#, None),
        ] {
            let error = ChatRequest::parse(&Bytes::copy_from_slice(body.as_bytes())).expect_err(body);
            assert_eq!(
                (error.status, error.code, error.param.as_deref()),
                (400, "invalid_request", param),
                "{body}"
            );
        }
    }

    #[test]
    fn include_usage_counts_only_on_a_stream() {
        for (body, stream, include) in [
            (
                r#"{"model":"m","messages":[1],"stream":true,"stream_options":{"include_usage":true}}"#,
                true,
                true,
            ),
            (r#"{"model":"m","messages":[1],"stream_options":{"include_usage":true}}"#, false, false),
            (r#"{"model":"m","messages":[1],"stream":null,"stream_options":{}}"#, false, false),
        ] {
            let request = ChatRequest::parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
            assert_eq!((request.stream, request.include_usage), (stream, include), "{body}");
        }
    }

    #[test]
    fn several_choices_are_asked_for_by_n_and_one_by_anything_else() {
        for (n, choices) in [
            ("", 1),
            (r#","n":3"#, 3),
            (r#","n":null"#, 1),
            (r#","n":0"#, 1),
            (r#","n":-1"#, 1),
            (r#","n":"2""#, 1),
            (r#","n":[2]"#, 1),
        ] {
            let body = format!(r#"{{"model":"m","messages":[1]{n}}}"#);
            assert_eq!(ChatRequest::parse(&Bytes::from(body)).unwrap().choices, choices, "{n}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_other_field_survives(
            extra in prop::collection::btree_map("[a-z]{1,6}", any_json(), 0..5), model in ".{1,10}", upstream_model in ".{1,10}",
            stream in any::<bool>(), options in prop::option::of(prop::collection::btree_map("[a-z]{1,3}", any_json(), 0..3)),
        ) {
            prop_assume!(!model.chars().any(char::is_control));
            let mut body = json!({"model": model, "messages": [{"role": "user", "content": model}], "stream": stream});
            for (name, value) in extra {
                if !body.as_object().unwrap().contains_key(&name) && name != "stream_options" {
                    body[name] = value;
                }
            }
            if let Some(options) = options {
                body["stream_options"] = Value::Object(options.into_iter().collect());
            }
            let mut sent: Value = serde_json::from_slice(&upstream(&body.to_string(), Some(&upstream_model))).unwrap();
            prop_assert_eq!(&sent["model"], &Value::from(upstream_model));
            sent["model"] = body["model"].clone();
            if stream {
                prop_assert_eq!(&sent["stream_options"]["include_usage"], &Value::from(true));
                let options = sent["stream_options"].as_object_mut().unwrap();
                options.remove("include_usage");
                if body.get("stream_options").is_none() {
                    prop_assert!(options.is_empty());
                    sent.as_object_mut().unwrap().remove("stream_options");
                }
            }
            prop_assert_eq!(sent, body);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _parsed = ChatRequest::parse(&Bytes::from(body));
        }
    }
}
