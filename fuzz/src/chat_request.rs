//! A request body from any client: refused with a reason, or sent on with nothing changed but what must be.

use crate::json::{Meaning, fields};
use bytes::Bytes;
use cache_policy::json::Json;
use futures::executor::block_on;
use openai_types::ChatRequest;
use tokens::{ChatRequestView, count_prompt, estimate_prompt};

const UPSTREAM_MODEL: &str = "up\"stream \u{e9}";

/// Parses the bytes as a chat request and makes the upstream's body of it.
pub fn chat_request(data: &[u8]) {
    for model in ["gpt-4o-mini", "gpt-4", "claude"] {
        count(data, model);
    }
    let original = Bytes::copy_from_slice(data);
    let request = match ChatRequest::parse(&original) {
        Ok(request) => request,
        Err(error) => {
            assert_eq!((error.status, error.code), (400, "invalid_request"));
            return;
        }
    };
    assert!((1..=256).contains(&request.model.len()), "the model's name is bounded");
    let sent = request.upstream_body(Some(UPSTREAM_MODEL));
    let again = ChatRequest::parse(&sent).expect("what is sent is a chat request");
    assert_eq!(again.model, UPSTREAM_MODEL);
    assert_eq!((again.stream, again.include_usage), (request.stream, request.stream));
    assert_eq!(again.choices, request.choices);

    let unchanged = request.upstream_body(Some(&request.model));
    if !request.stream || request.include_usage {
        assert_eq!(unchanged.as_ptr(), original.as_ptr(), "nothing to change, so nothing is copied");
    }
    assert_eq!(
        count(&sent, "gpt-4o-mini"),
        count(data, "gpt-4o-mini"),
        "messages and tools are as they were"
    );
    compare(&original, &sent, request.stream);
}

/// Where the body has only one meaning, every field that is not ours to change has it still.
fn compare(original: &[u8], sent: &[u8], is_stream: bool) {
    let Some(before) = Json::parse(original).ok().and_then(Json::into_object) else { return };
    let after = Json::parse(sent).expect("what is sent has one meaning, too");
    let (mut before, mut after) = (fields(&before), fields(after.as_object().expect("an object")));
    before.remove("model");
    after.remove("model");
    if is_stream {
        let mut options = match before.remove("stream_options") {
            Some(Meaning::Object(options)) => options,
            None | Some(Meaning::Leaf(_)) => Default::default(),
            Some(Meaning::Array(_)) => panic!("stream_options that are an array were accepted"),
        };
        options.insert("include_usage".to_owned(), Meaning::Leaf("true".to_owned()));
        assert_eq!(after.remove("stream_options"), Some(Meaning::Object(options)));
    }
    assert_eq!(after, before);
}

/// Tokens of the prompt, by the tokenizer and by its bytes; `None` when it is no prompt.
fn count(body: &[u8], model: &str) -> Option<(u64, u64)> {
    let view = ChatRequestView::parse(body).ok()?;
    assert!(view.n >= 1);
    let counted = block_on(count_prompt(model, &view, async || ()));
    let estimated = estimate_prompt(model, &view);
    assert_eq!(counted.as_ref().err(), estimated.as_ref().err(), "both read the same prompt");
    Some((counted.ok()?.tokens, estimated.ok()?.tokens))
}
