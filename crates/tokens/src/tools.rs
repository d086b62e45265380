//! The functions that a model may call, as OpenAI's cookbook counts them: `num_tokens_for_tools` in
//! <https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>, section 7.
//!
//! The cookbook knows flat parameters with a type, a description and an `enum`. What it does not know (nested schemas,
//! defaults, other kinds of tools) counts as its JSON, so that nothing is free; that tends to be more than the
//! provider's count.

use crate::json::{self, Elements, starts_with};
use crate::model::Model;
use crate::prompt::Prompt;
use serde::Deserialize;
use serde_json::value::RawValue;

const TOKENS_PER_PROPERTIES: u64 = 3;
const TOKENS_PER_PROPERTY: u64 = 3;
/// The cookbook's `enum_init` is −3 and its `enum_item` 3: the first item's is taken back.
const TOKENS_PER_FURTHER_ENUM_ITEM: u64 = 3;
const TOKENS_AFTER_FUNCTIONS: u64 = 12;

/// Members of a function and of its parameters that the cookbook passes over though they are in every schema.
const PASSED_OVER: [&str; 5] = ["type", "required", "strict", "$schema", "additionalProperties"];

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow)]
    function: &'a RawValue,
}

/// Adds the functions of `tools` and of its forerunner `functions`.
pub fn add<'a>(
    prompt: &mut Prompt<'a>,
    model: &Model,
    tools: Option<&'a RawValue>,
    functions: Option<&'a RawValue>,
) {
    let mut count = 0;
    for tool in elements(prompt, tools) {
        match serde_json::from_str::<Tool<'a>>(tool.get()) {
            Ok(Tool { function }) if add_function(prompt, model, function) => count += 1,
            _ => prompt.sent(tool),
        }
    }
    for function in elements(prompt, functions) {
        if add_function(prompt, model, function) {
            count += 1;
        } else {
            prompt.sent(function);
        }
    }
    if count > 0 {
        prompt.fixed(TOKENS_AFTER_FUNCTIONS);
    }
}

/// The elements of a list; what is none counts as it is.
fn elements<'a>(
    prompt: &mut Prompt<'a>,
    list: Option<&'a RawValue>,
) -> impl Iterator<Item = &'a RawValue> + use<'a> {
    if let Some(other) = list.filter(|list| !starts_with(list, b'[')) {
        prompt.sent(other);
    }
    list.into_iter().flat_map(Elements::<&RawValue>::of).flatten()
}

/// Adds a function; false, and nothing added, if it is none.
fn add_function<'a>(prompt: &mut Prompt<'a>, model: &Model, function: &'a RawValue) -> bool {
    let Some(members) = json::members(function) else { return false };
    prompt.fixed(model.tokens_per_function);
    let (mut name, mut description) = (Default::default(), Default::default());
    for (member, value) in members {
        match member.as_ref() {
            "name" => name = json::text(value),
            "description" => description = json::text(value),
            "parameters" => add_parameters(prompt, value),
            _ => add_other(prompt, &member, value),
        }
    }
    prompt.composed(format!("{name}:{}", without_full_stop(&description)));
    true
}

fn add_parameters<'a>(prompt: &mut Prompt<'a>, parameters: &'a RawValue) {
    let Some(members) = json::members(parameters) else { return prompt.sent(parameters) };
    for (member, value) in members {
        match (member.as_ref(), json::members(value)) {
            ("properties", Some(properties)) => {
                if !properties.is_empty() {
                    prompt.fixed(TOKENS_PER_PROPERTIES);
                }
                properties.into_iter().for_each(|(key, property)| add_property(prompt, &key, property));
            }
            _ => add_other(prompt, &member, value),
        }
    }
}

fn add_property<'a>(prompt: &mut Prompt<'a>, key: &str, property: &'a RawValue) {
    prompt.fixed(TOKENS_PER_PROPERTY);
    let (mut kind, mut description) = (Default::default(), Default::default());
    for (member, value) in json::members(property).unwrap_or_default() {
        match member.as_ref() {
            "type" => kind = json::text(value),
            "description" => description = json::text(value),
            "enum" if starts_with(value, b'[') => {
                for (at, item) in Elements::<&RawValue>::of(value).flatten().enumerate() {
                    prompt.fixed(if at == 0 { 0 } else { TOKENS_PER_FURTHER_ENUM_ITEM });
                    prompt.sent(item);
                }
            }
            _ => add_other(prompt, &member, value),
        }
    }
    prompt.composed(format!("{key}:{kind}:{}", without_full_stop(&description)));
}

/// A member that the cookbook does not know.
fn add_other<'a>(prompt: &mut Prompt<'a>, member: &str, value: &'a RawValue) {
    // A list of names or a flag is in every schema; a schema in their place is not.
    if !PASSED_OVER.contains(&member) || starts_with(value, b'{') {
        prompt.composed(format!("{member}:"));
        prompt.sent(value);
    }
}

fn without_full_stop(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}
