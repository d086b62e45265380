//! The tool calls of an answer: which tool, with which arguments.
//!
//! The tool is the one `tool_choice` names, else the first offered. The arguments have every property of its
//! schema, with a value of the declared type, so that a client that validates them is content.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::request::ChatRequest;
use crate::text::{excerpt, token_count, truncate_to_tokens};

/// One call of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// Its arguments: JSON, unless the token limit cut them.
    pub arguments: String,
}

impl ToolCall {
    /// Tokens billed for the call: those of its name and of its arguments.
    pub fn tokens(&self) -> u64 {
        token_count(self.name.len()) + token_count(self.arguments.len())
    }
}

#[derive(Deserialize)]
struct Tool {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    #[serde(default)]
    properties: Map<String, Value>,
}

/// The calls that answer `request`, or `None` if it offers no tool, forbids them, or has just been given a result.
pub fn plan_calls(request: &ChatRequest<'_>, count: u8, last_user_message: &str) -> Option<Vec<ToolCall>> {
    let answers_a_result = request.messages.as_ref().is_some_and(|messages| messages.ends_with_tool_result);
    if count == 0 || answers_a_result {
        return None;
    }
    let tools: Vec<Tool> = serde_json::from_str(request.tools?.get()).ok()?;
    let tool = match request.tool_choice.map(Choice::read) {
        Some(Choice::None) => None,
        Some(Choice::Named(name)) => tools.into_iter().find(|tool| tool.function.name == name),
        Some(Choice::Any) | None => tools.into_iter().next(),
    }?;
    let call = |index: u8| ToolCall {
        name: tool.function.name.clone(),
        arguments: arguments(&tool.function.parameters, last_user_message, index),
    };
    Some((0..count).map(call).collect())
}

/// Cuts the calls to at most `max_tokens`; true if anything was lost.
pub fn truncate_calls(calls: &mut Vec<ToolCall>, max_tokens: u64) -> bool {
    let mut left = max_tokens;
    for index in 0..calls.len() {
        let Some(call) = calls.get_mut(index) else { break };
        if call.tokens() <= left {
            left -= call.tokens();
            continue;
        }
        let name_tokens = token_count(call.name.len());
        if name_tokens > left {
            calls.truncate(index);
        } else {
            truncate_to_tokens(&mut call.arguments, left - name_tokens);
            calls.truncate(index + 1);
        }
        return true;
    }
    false
}

enum Choice {
    None,
    Any,
    Named(String),
}

impl Choice {
    fn read(raw: &RawValue) -> Self {
        match serde_json::from_str(raw.get()) {
            Ok(Value::String(word)) if word == "none" => Self::None,
            Ok(Value::Object(fields)) => {
                let name = fields.get("function").and_then(|function| function.get("name"));
                name.and_then(Value::as_str).map_or(Self::Any, |name| Self::Named(name.to_owned()))
            }
            _ => Self::Any,
        }
    }
}

fn arguments(parameters: &Parameters, last_user_message: &str, call: u8) -> String {
    let mut values = Map::new();
    for (name, schema) in &parameters.properties {
        let first_allowed = schema.get("enum").and_then(|allowed| allowed.get(0)).cloned();
        let value = first_allowed.unwrap_or_else(|| match schema.get("type").and_then(Value::as_str) {
            Some("integer" | "number") => Value::from(u32::from(call) + 1),
            Some("boolean") => Value::Bool(true),
            Some("array") => Value::Array(Vec::new()),
            Some("object") => Value::Object(Map::new()),
            Some("null") => Value::Null,
            _ => Value::from(excerpt(last_user_message)),
        });
        values.insert(name.clone(), value);
    }
    Value::Object(values).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(extra: &str, count: u8) -> Option<Vec<ToolCall>> {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"Berlin"}}],"tools":[
                {{"type":"function","function":{{"name":"weather","parameters":{{"type":"object","properties":{{
                    "city":{{"type":"string"}},"days":{{"type":"integer"}},"unit":{{"enum":["C","F"]}}}}}}}}}},
                {{"type":"function","function":{{"name":"time"}}}}]{extra}}}"#
        );
        let request: ChatRequest<'_> = serde_json::from_str(&body).unwrap();
        plan_calls(&request, count, "Berlin")
    }

    #[test]
    fn the_arguments_follow_the_schema() {
        let calls = calls("", 2).unwrap();
        assert_eq!(calls[0].name, "weather");
        assert_eq!(calls[0].arguments, r#"{"city":"Berlin","days":1,"unit":"C"}"#);
        assert_eq!(calls[1].arguments, r#"{"city":"Berlin","days":2,"unit":"C"}"#);
    }

    #[test]
    fn tool_choice_is_obeyed() {
        assert_eq!(calls(r#","tool_choice":"none""#, 1), None);
        assert_eq!(calls(r#","tool_choice":"required""#, 1).unwrap()[0].name, "weather");
        let named = r#","tool_choice":{"type":"function","function":{"name":"time"}}"#;
        assert_eq!(calls(named, 1).unwrap(), [ToolCall { name: "time".into(), arguments: "{}".into() }]);
    }

    #[test]
    fn calls_never_exceed_the_limit() {
        let whole = calls("", 2).unwrap();
        let total: u64 = whole.iter().map(ToolCall::tokens).sum();
        for limit in 1..=total {
            let mut cut = whole.clone();
            assert_eq!(truncate_calls(&mut cut, limit), limit < total, "{limit}");
            assert!(cut.iter().map(ToolCall::tokens).sum::<u64>() <= limit, "{limit}");
        }
    }
}
