//! Plans a completion: its choices, why they end, and what they cost.
//!
//! A plan is a function of the request alone; rendering it whole or as a stream adds nothing. Invariant: the usage
//! counts exactly what is emitted plus the reasoning, and no choice has more tokens than its limit.

use serde::Serialize;

use crate::behaviour::AnswerShape;
use crate::request::{ChatRequest, OutOfRange};
use crate::stable_hash::stable_hash;
use crate::text::{answer_text, token_count, truncate_to_tokens};
use crate::tools::{ToolCall, plan_calls, truncate_calls};

/// The most text of all choices together: what one request may make the mock hold in memory.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// A completion before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Hash of the request body, from which every id is made.
    pub request_hash: u64,
    /// `created`, in Unix seconds.
    pub created: u64,
    /// The model name, as asked.
    pub model: String,
    /// One per `n`.
    pub choices: Vec<Choice>,
    /// `None` if the model name asks for none.
    pub usage: Option<Usage>,
}

/// One choice of a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it says or calls.
    pub payload: Payload,
    /// `finish_reason`.
    pub finish_reason: &'static str,
}

/// What a choice consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Text.
    Text(String),
    /// Calls of tools.
    ToolCalls(Vec<ToolCall>),
}

impl Payload {
    /// Visible tokens of the payload.
    pub fn tokens(&self) -> u64 {
        match self {
            Self::Text(text) => token_count(text.len()),
            Self::ToolCalls(calls) => calls.iter().map(ToolCall::tokens).sum(),
        }
    }
}

/// `usage`, as OpenAI sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of all choices, reasoning included.
    pub completion_tokens: u64,
    /// The sum of the two.
    pub total_tokens: u64,
    /// Of the prompt's.
    pub prompt_tokens_details: PromptTokensDetails,
    /// Of the completion's.
    pub completion_tokens_details: CompletionTokensDetails,
}

/// `usage.prompt_tokens_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// Prompt tokens read from the provider's cache.
    pub cached_tokens: u64,
    /// Always 0.
    pub audio_tokens: u64,
}

/// `usage.completion_tokens_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CompletionTokensDetails {
    /// Tokens billed but not shown.
    pub reasoning_tokens: u64,
    /// Always 0.
    pub audio_tokens: u64,
    /// Always 0.
    pub accepted_prediction_tokens: u64,
    /// Always 0.
    pub rejected_prediction_tokens: u64,
}

impl Answer {
    /// Plans the answer to `request`, whose body is `body`.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn plan(
        request: &ChatRequest<'_>,
        body: &[u8],
        shape: &AnswerShape,
        created: u64,
    ) -> Result<Self, OutOfRange> {
        let limit = request.token_limit()?;
        let choice_count = request.choice_count()?;
        if choice_count * shape.text_bytes.unwrap_or(0) as u64 > MAX_ANSWER_BYTES {
            return Err(OutOfRange { parameter: "n", expected: "fewer choices of so long a text" });
        }
        // Reasoning comes first and counts against the limit, as OpenAI's does.
        let reasoning_tokens = shape.reasoning_tokens.min(limit);
        let choices: Vec<Choice> = (0..choice_count)
            .map(|choice| plan_choice(request, shape, choice, limit - reasoning_tokens))
            .collect();
        let usage =
            (!shape.no_usage).then(|| plan_usage(request, shape, &choices, reasoning_tokens * choice_count));
        let model = request.model.as_ref().map_or_else(String::new, |model| model.0.clone().into_owned());
        Ok(Self { request_hash: stable_hash(body), created, model, choices, usage })
    }
}

fn plan_choice(request: &ChatRequest<'_>, shape: &AnswerShape, choice: u64, limit: u64) -> Choice {
    let last_user_message = request.messages.as_ref().map_or("", |messages| &messages.last_user_message);
    let (payload, is_cut, natural_end) = match plan_calls(request, shape.tool_calls, last_user_message) {
        Some(mut calls) => {
            let is_cut = truncate_calls(&mut calls, limit);
            (Payload::ToolCalls(calls), is_cut, "tool_calls")
        }
        None => {
            let mut text = answer_text(shape, last_user_message, choice);
            if !shape.says_prefix_again
                && let Some(rest) =
                    request.prefill(shape.continues_any_prefix).and_then(|said| text.strip_prefix(said))
            {
                text = rest.to_owned();
            }
            let is_cut = truncate_to_tokens(&mut text, limit);
            (Payload::Text(text), is_cut, "stop")
        }
    };
    let finish_reason = match (is_cut, shape.content_filter) {
        (true, _) => "length",
        (false, true) => "content_filter",
        (false, false) => natural_end,
    };
    Choice { payload, finish_reason }
}

fn plan_usage(
    request: &ChatRequest<'_>,
    shape: &AnswerShape,
    choices: &[Choice],
    reasoning_tokens: u64,
) -> Usage {
    let prompt_tokens = request.messages.as_ref().map_or(0, |messages| messages.prompt_tokens);
    let visible_tokens: u64 = choices.iter().map(|choice| choice.payload.tokens()).sum();
    let completion_tokens = visible_tokens + reasoning_tokens;
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens + completion_tokens,
        prompt_tokens_details: PromptTokensDetails {
            cached_tokens: shape.cached_tokens.min(prompt_tokens),
            audio_tokens: 0,
        },
        completion_tokens_details: CompletionTokensDetails {
            reasoning_tokens,
            audio_tokens: 0,
            accepted_prediction_tokens: 0,
            rejected_prediction_tokens: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_name;

    fn plan(model: &str, fields: &str) -> Answer {
        try_plan(model, fields).unwrap()
    }

    fn try_plan(model: &str, fields: &str) -> Result<Answer, OutOfRange> {
        let body =
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]{fields}}}"#);
        let request: ChatRequest<'_> = serde_json::from_str(&body).unwrap();
        let shape = model_name::parse(model).unwrap().answer;
        Answer::plan(&request, body.as_bytes(), &shape, 0)
    }

    #[test]
    fn the_usage_adds_up() {
        for (model, fields, prompt, completion, reasoning, cached, finish) in [
            ("mock+tokens=10", "", 8, 10, 0, 0, "stop"),
            ("mock+tokens=10", r#","n":3"#, 8, 30, 0, 0, "stop"),
            ("mock+tokens=10", r#","max_tokens":4"#, 8, 4, 0, 0, "length"),
            ("mock+tokens=10", r#","max_tokens":10"#, 8, 10, 0, 0, "stop"),
            ("mock+tokens=10", r#","max_completion_tokens":4,"n":2"#, 8, 8, 0, 0, "length"),
            ("mock+tokens=10+reasoning=5", "", 8, 15, 5, 0, "stop"),
            ("mock+tokens=10+reasoning=5", r#","max_tokens":7"#, 8, 7, 5, 0, "length"),
            ("mock+tokens=10+reasoning=50", r#","max_tokens":7"#, 8, 7, 7, 0, "length"),
            ("mock+tokens=10+cached=6", "", 8, 10, 0, 6, "stop"),
            ("mock+tokens=10+cached=600", "", 8, 10, 0, 8, "stop"),
            ("mock+tokens=1+content-filter", "", 8, 1, 0, 0, "content_filter"),
            ("mock+text=41", "", 8, 11, 0, 0, "stop"),
        ] {
            let answer = plan(model, fields);
            let usage = answer.usage.unwrap();
            let name = format!("{model} {fields}");
            assert_eq!(usage.prompt_tokens, prompt, "{name}");
            assert_eq!(usage.completion_tokens, completion, "{name}");
            assert_eq!(usage.total_tokens, prompt + completion, "{name}");
            assert_eq!(usage.completion_tokens_details.reasoning_tokens, reasoning, "{name}");
            assert_eq!(usage.prompt_tokens_details.cached_tokens, cached, "{name}");
            assert!(answer.choices.iter().all(|choice| choice.finish_reason == finish), "{name}");
        }
    }

    #[test]
    fn a_plan_depends_on_the_request_only() {
        assert_eq!(plan("mock+text=emoji", r#","n":2"#), plan("mock+text=emoji", r#","n":2"#));
        assert_ne!(plan("mock", "").request_hash, plan("mock", r#","seed":1"#).request_hash);
    }

    #[test]
    fn many_choices_of_a_long_text_are_refused() {
        assert!(try_plan("mock+text=16777216", r#","n":5"#).is_err());
        assert!(try_plan("mock+text=100", r#","n":128"#).is_ok());
    }

    #[test]
    fn no_usage_means_none() {
        assert_eq!(plan("mock+no-usage", "").usage, None);
    }
}
