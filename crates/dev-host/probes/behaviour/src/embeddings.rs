//! Embeddings by the host's model, and inferencing by none.

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use spin_sdk::http::{BoxBody, Response};
use spin_sdk::llm;

use crate::answer;
use crate::arguments::Arguments;

/// Embeds each line of the body with `model` (`all-minilm-l6-v2` if left out).
pub fn embed(arguments: &Arguments, body: Bytes) -> Result<Response<BoxBody>> {
    let model = arguments.optional("model").unwrap_or("all-minilm-l6-v2");
    let lines: Vec<String> = String::from_utf8_lossy(&body).lines().map(ToOwned::to_owned).collect();
    match llm::generate_embeddings(llm::EmbeddingModel::Other(model), &lines) {
        Ok(result) => answer::json(&json!({
            "embeddings": result.embeddings,
            "prompt_tokens": result.usage.prompt_token_count,
        })),
        Err(error) => answer::host_error(error),
    }
}

/// Asks `llama2-chat` to go on from the body.
pub fn infer(body: Bytes) -> Result<Response<BoxBody>> {
    match llm::infer(llm::InferencingModel::Llama2Chat, &String::from_utf8_lossy(&body)) {
        Ok(result) => answer::bytes(result.text),
        Err(error) => answer::host_error(error),
    }
}
