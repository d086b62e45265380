//! What a request uses and who it is for, as far as routes and sessions ask: read only where one of them does.

use crate::hash::stable_hash;
use gateway_config::Feature;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a request's body says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traits {
    /// Tools are offered.
    pub tools: bool,
    /// Images are shown.
    pub vision: bool,
    /// JSON is asked for.
    pub json: bool,
    /// `safety_identifier`, else `user`.
    pub user: Option<String>,
    /// Hash of the messages up to the first of the user: every turn of a conversation repeats them.
    pub conversation: Option<u64>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    safety_identifier: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

impl Traits {
    /// Reads a body; one that is no chat request has no traits.
    pub fn read(body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return Traits::default() };
        let messages: Vec<&RawValue> =
            body.messages.and_then(|messages| serde_json::from_str(messages.get()).ok()).unwrap_or_default();
        Traits {
            tools: is_filled_list(body.tools) || is_filled_list(body.functions),
            vision: messages.iter().any(|message| shows_an_image(message)),
            json: body.response_format.is_some_and(|format| {
                let kind = serde_json::from_str::<Kind<'_>>(format.get()).ok().and_then(|kind| kind.kind);
                matches!(kind.as_deref(), Some("json_object" | "json_schema"))
            }),
            user: text(body.safety_identifier).or_else(|| text(body.user)),
            conversation: conversation(&messages),
        }
    }

    /// Whether the request uses a feature.
    pub fn uses(&self, feature: Feature) -> bool {
        match feature {
            Feature::Tools => self.tools,
            Feature::Vision => self.vision,
            Feature::Json => self.json,
        }
    }
}

fn is_filled_list(raw: Option<&RawValue>) -> bool {
    let inner = raw.and_then(|raw| raw.get().strip_prefix('['));
    inner.is_some_and(|inner| !inner.trim_start().starts_with(']'))
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok().filter(|text: &String| !text.is_empty())
}

fn shows_an_image(message: &RawValue) -> bool {
    // Most messages are plain text, and looking for a word in it is cheaper than reading it.
    if !message.get().contains("image") {
        return false;
    }
    let content = serde_json::from_str::<Message<'_>>(message.get()).ok().and_then(|message| message.content);
    let parts: Vec<Kind<'_>> =
        content.and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default();
    parts.iter().any(|part| matches!(part.kind.as_deref(), Some("image_url" | "input_image" | "image")))
}

fn conversation(messages: &[&RawValue]) -> Option<u64> {
    let is_user = |message: &&RawValue| {
        let message = serde_json::from_str::<Message<'_>>(message.get()).ok();
        message.is_some_and(|message| message.role.as_deref() == Some("user"))
    };
    let first = messages.iter().position(is_user)?;
    Some(stable_hash(messages.iter().take(first + 1).map(|message| message.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_request_uses_is_seen() {
        for (body, tools, vision, json) in [
            (r#"{"messages":[{"role":"user","content":"an image_url"}]}"#, false, false, false),
            (r#"{"tools":[{"type":"function"}]}"#, true, false, false),
            (r#"{"tools":[ ],"functions":[]}"#, false, false, false),
            (r#"{"functions":[{}]}"#, true, false, false),
            (r#"{"tools":null}"#, false, false, false),
            (r#"{"response_format":{"type":"json_schema","json_schema":{}}}"#, false, false, true),
            (r#"{"response_format":{"type":"text"}}"#, false, false, false),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}"#,
                false,
                true,
                false,
            ),
            ("[]", false, false, false),
            ("", false, false, false),
        ] {
            let traits = Traits::read(body.as_bytes());
            assert_eq!((traits.tools, traits.vision, traits.json), (tools, vision, json), "{body}");
        }
    }

    #[test]
    fn users_are_found() {
        for (body, expected) in [
            (r#"{"user":"u"}"#, Some("u")),
            (r#"{"user":"u","safety_identifier":"s"}"#, Some("s")),
            (r#"{"user":""}"#, None),
            (r#"{"user":7}"#, None),
        ] {
            assert_eq!(Traits::read(body.as_bytes()).user.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn every_turn_of_a_conversation_has_the_same_hash() {
        let hash =
            |messages: &str| Traits::read(format!("{{\"messages\":[{messages}]}}").as_bytes()).conversation;
        let (system, first) = (r#"{"role":"system","content":"s"}"#, r#"{"role":"user","content":"one"}"#);
        let more = r#"{"role":"assistant","content":"a"},{"role":"user","content":"two"}"#;
        let begun = hash(&format!("{system},{first}"));
        assert!(begun.is_some());
        assert_eq!(hash(&format!("{system},{first},{more}")), begun);
        assert_ne!(hash(&format!("{first},{more}")), begun, "another system prompt");
        assert_ne!(hash(&format!(r#"{system},{{"role":"user","content":"two"}}"#)), begun);
        assert_eq!(hash(system), None);
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
            Traits::read(&body);
        }
    }
}
