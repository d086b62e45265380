//! Tool calls and the older function call, of which a stream sends fragments.

use crate::cacheable::NotCacheable;
use crate::json::{Fields, Json, Object};

/// A tool call; its fragments carry the same `index`.
#[derive(Default)]
pub(super) struct ToolCall {
    id: Option<String>,
    kind: Option<String>,
    function: Option<Call>,
    custom: Option<Call>,
}

/// What is called with what: `{name, arguments}` of a function, `{name, input}` of a custom tool.
#[derive(Default)]
pub(super) struct Call {
    name: Option<String>,
    payload: Option<String>,
}

/// Name of the payload of a function.
pub(super) const ARGUMENTS: &str = "arguments";
/// Name of the payload of a custom tool.
const INPUT: &str = "input";

impl ToolCall {
    pub(super) fn merge(&mut self, fragment: &Object<'_>) -> Result<(), NotCacheable> {
        for (name, value) in fragment.iter() {
            match (name, value) {
                ("index", _) | (_, Json::Null) => {}
                ("id", Json::Text(id)) => set_once(&mut self.id, id, "tool_calls.id")?,
                ("type", Json::Text(kind)) => set_once(&mut self.kind, kind, "tool_calls.type")?,
                ("function", Json::Object(call)) => {
                    self.function.get_or_insert_default().merge(call, ARGUMENTS)?;
                }
                ("custom", Json::Object(call)) => {
                    self.custom.get_or_insert_default().merge(call, INPUT)?;
                }
                (other, _) => return Err(NotCacheable::Unmergeable(format!("tool_calls.{other}"))),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), NotCacheable> {
        let mut fields = Fields::begin(out);
        if let Some(id) = &self.id {
            fields.text("id", id);
        }
        fields.text("type", self.kind.as_deref().unwrap_or("function"));
        if self.function.is_none() && self.custom.is_none() {
            return Err(NotCacheable::Malformed("a tool call calls nothing"));
        }
        if let Some(call) = &self.function {
            call.write(fields.name("function"), ARGUMENTS)?;
        }
        if let Some(call) = &self.custom {
            call.write(fields.name("custom"), INPUT)?;
        }
        fields.end();
        Ok(())
    }
}

impl Call {
    pub(super) fn merge(&mut self, fragment: &Object<'_>, payload: &str) -> Result<(), NotCacheable> {
        for (name, value) in fragment.iter() {
            match (name, value) {
                (_, Json::Null) => {}
                ("name", Json::Text(text)) => set_once(&mut self.name, text, "function.name")?,
                (name, Json::Text(text)) if name == payload => {
                    self.payload.get_or_insert_default().push_str(text);
                }
                (other, _) => return Err(NotCacheable::Unmergeable(format!("function.{other}"))),
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, payload: &str) -> Result<(), NotCacheable> {
        let name = self.name.as_deref().ok_or(NotCacheable::Malformed("a call has no name"))?;
        let mut fields = Fields::begin(out);
        fields.text("name", name);
        fields.text(payload, self.payload.as_deref().unwrap_or_default());
        fields.end();
        Ok(())
    }
}

/// Providers send an id or a name once, or again and again, or empty after the first time; never in pieces.
fn set_once(slot: &mut Option<String>, text: &str, path: &str) -> Result<(), NotCacheable> {
    match slot {
        Some(kept) if text.is_empty() || kept == text => Ok(()),
        Some(_) => Err(NotCacheable::Unmergeable(path.to_owned())),
        None if text.is_empty() => Ok(()),
        None => {
            *slot = Some(text.to_owned());
            Ok(())
        }
    }
}
