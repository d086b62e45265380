//! What is asked: request bodies of one size, each with a prompt of its own, and the gateway document they need.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;

/// The key that every request carries.
pub const KEY: &str = "bench-key";
/// Bytes of the prompt and of a whole answer's text: a short question, a short answer.
pub const TEXT_BYTES: usize = 500;
/// Model of whole answers.
const WHOLE_MODEL: &str = "mock+text=500";

const STREAM: &str = r#""stream":true,"#;
const MESSAGES: &str = r#""messages":"#;
const FILLER: &str =
    "What does a traveller pay who passes the gate after dark with two mules and a cart of salt? ";

/// One request.
#[derive(Debug, Clone)]
pub struct Question {
    /// The body.
    pub body: Bytes,
    /// What the right answer repeats of it; no other request has it.
    pub marker: String,
}

impl Question {
    /// The same question, to be answered as a stream.
    pub fn as_stream(&self) -> Self {
        let body = String::from_utf8_lossy(&self.body).replacen(MESSAGES, &format!("{STREAM}{MESSAGES}"), 1);
        Self { body: Bytes::from(body), marker: self.marker.clone() }
    }
}

/// Numbers the questions of a run, so that no prompt is ever asked twice.
#[derive(Debug, Default)]
pub struct Questions {
    next: Cell<u64>,
}

impl Questions {
    /// A question that is answered whole.
    pub fn whole(&self) -> Question {
        self.ask(WHOLE_MODEL, false)
    }

    /// A question that is answered as a stream, at the pace that `model` sets.
    pub fn streamed(&self, model: &str) -> Question {
        self.ask(model, true)
    }

    fn ask(&self, model: &str, stream: bool) -> Question {
        let number = self.next.get();
        self.next.set(number + 1);
        let marker = format!("question {number:012}");
        let mut prompt = format!("{marker}: ");
        while prompt.len() < TEXT_BYTES {
            prompt.push_str(FILLER);
        }
        prompt.truncate(TEXT_BYTES);
        let stream = if stream { STREAM } else { "" };
        let body =
            format!(r#"{{"model":"{model}",{stream}{MESSAGES}[{{"role":"user","content":"{prompt}"}}]}}"#);
        Question { body: Bytes::from(body), marker }
    }
}

/// The gateway document: one consumer, a limit that counts every request and never refuses one, the cache on, a price.
pub fn gateway_document(mock_url: &str) -> String {
    let digest = hex::encode(Sha256::digest(KEY));
    format!(
        r#"
[[backends]]
id = "mock"
base_url = "{mock_url}/v1"

[[models]]
name = "*"
[[models.deployments]]
backend = "mock"

[[consumers]]
id = "bench"
team = "bench"
app = "bench"
keys_sha256 = ["{digest}"]

[[limits]]
name = "each-consumer"
counter_key = ["consumer"]
tokens_per_minute = 1_000_000_000_000

[pricing."mock/*"]
prompt_usd_per_million = 2.5
completion_usd_per_million = 10

[cache]
enabled = true
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_question_is_distinct_and_of_one_size() {
        let questions = Questions::default();
        let (first, second) = (questions.whole(), questions.whole());
        assert_ne!(first.marker, second.marker);
        assert_ne!(first.body, second.body);
        assert_eq!(first.body.len(), second.body.len());
    }

    #[test]
    fn a_question_is_a_chat_request_whose_prompt_has_the_marker() {
        let questions = Questions::default();
        let whole = questions.whole();
        for (question, stream) in [
            (whole.clone(), None),
            (whole.as_stream(), Some(true)),
            (questions.streamed("mock+gap=5ms"), Some(true)),
        ] {
            let body: Value = serde_json::from_slice(&question.body).unwrap();
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            assert_eq!(prompt.len(), TEXT_BYTES);
            assert!(prompt.starts_with(&question.marker), "{prompt}");
            assert_eq!(body.get("stream").and_then(Value::as_bool), stream);
        }
    }

    #[test]
    fn the_document_stores_the_keys_digest() {
        let document = gateway_document("http://127.0.0.1:1");
        assert!(!document.contains(KEY));
        assert!(document.contains(&hex::encode(Sha256::digest(KEY))));
    }
}
