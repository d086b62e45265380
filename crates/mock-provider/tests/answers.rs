//! Correct answers on the wire: shapes, usage, streams, tools, errors of the API, the log.

mod support;

use mock_provider::{Ending, MockProvider, Options};
use serde_json::{Value, json};
use support::*;

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}}}}}])
}

#[tokio::test]
async fn a_completion_has_the_shape_and_the_usage_of_openai() {
    let mock = start();
    let answer = post(&mock, &chat("gpt-4o", json!({}))).await;
    assert_eq!((answer.status, answer.end), (200, End::Complete));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    let body = answer.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "gpt-4o");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.ends_with("to: Hello"), "{text}");
    assert_eq!(body["usage"]["prompt_tokens"], 8);
    assert_eq!(body["usage"]["completion_tokens"], text.len().div_ceil(4));
    assert_eq!(body["usage"]["total_tokens"], 8 + text.len().div_ceil(4));
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    assert_eq!(body["usage"]["completion_tokens_details"]["reasoning_tokens"], 0);
}

#[tokio::test]
async fn equal_requests_get_equal_bytes_from_any_mock_on_any_connection() {
    let (one, other) = (start(), start());
    for model in ["mock", "mock+text=emoji", "mock+tokens=50", "gpt-4o"] {
        for extra in [json!({}), json!({"stream": true}), json!({"n": 3})] {
            let request = chat(model, extra);
            let mut client = Client::connect(&one).await;
            let first = client.post(&request).await.body;
            assert_eq!(first, client.post(&request).await.body, "{request}");
            assert_eq!(first, post(&other, &request).await.body, "{request}");
        }
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let mock = start();
    for model in [
        "mock",
        "mock+text=multibyte",
        "mock+text=emoji",
        "mock+tokens=100",
        "mock+split=1",
        "mock+crlf+comments",
    ] {
        let whole = post(&mock, &chat(model, json!({"n": 2}))).await.json();
        let options = json!({"stream": true, "n": 2, "stream_options": {"include_usage": true}});
        let stream = post(&mock, &chat(model, options)).await;
        assert_eq!(stream.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(stream.end, End::Complete);
        for choice in 0..2 {
            assert_eq!(whole["choices"][choice]["message"]["content"], stream.content(choice), "{model}");
        }
        let data = stream.data();
        let chunks = stream.chunks();
        assert_eq!(data.last().unwrap(), "[DONE]", "{model}");
        assert_eq!(chunks.len(), data.len() - 1, "{model}");
        for (choice, chunk) in chunks.iter().take(2).enumerate() {
            let delta = &chunk["choices"][0];
            assert_eq!(delta["index"], choice);
            assert_eq!(delta["delta"], json!({"role": "assistant", "content": "", "refusal": null}));
        }
        let (usage, others) = chunks.split_last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"], whole["usage"]);
        assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
        assert!(
            others
                .iter()
                .all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == usage["id"])
        );
        let finished = others.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop");
        assert_eq!(finished.count(), 2, "{model}");
        // Two role chunks and two finish chunks; every other one is a token.
        assert_eq!(whole["usage"]["completion_tokens"], others.len() - 4, "{model}");
    }
}

#[tokio::test]
async fn a_stream_without_include_usage_never_mentions_it() {
    let mock = start();
    assert!(!post(&mock, &chat("mock", json!({"stream": true}))).await.text().contains("\"usage\""));
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    assert!(!post(&mock, &chat("mock+no-usage", options)).await.text().contains("\"usage\""));
    assert!(post(&mock, &chat("mock+no-usage", json!({}))).await.json().get("usage").is_none());
}

#[tokio::test]
async fn a_limit_ends_the_answer_with_length() {
    let mock = start();
    let request = json!({"max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}});
    let stream = post(&mock, &chat("mock+tokens=10", request)).await;
    assert_eq!(stream.content_chunks(), 3);
    let chunks = stream.chunks();
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[chunks.len() - 1]["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn tool_calls_are_streamed_as_fragments_of_their_arguments() {
    let mock = start();
    let whole = post(&mock, &chat("mock+tool=2", json!({"tools": tools()}))).await.json();
    let calls = whole["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(calls[0]["function"]["name"], "weather");
    assert_eq!(calls[0]["function"]["arguments"], r#"{"city":"Hello","days":1}"#);
    assert_ne!(calls[0]["id"], calls[1]["id"]);

    let stream = post(&mock, &chat("mock+tool=2", json!({"tools": tools(), "stream": true}))).await;
    let mut arguments = [String::new(), String::new()];
    let mut heads = 0;
    for chunk in stream.chunks() {
        let Some(delta) = chunk["choices"][0]["delta"]["tool_calls"].get(0) else { continue };
        let index = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
        heads += usize::from(delta.get("id").is_some_and(|id| id.as_str().unwrap().starts_with("call_")));
        arguments[index] += delta["function"]["arguments"].as_str().unwrap();
    }
    assert_eq!(heads, 2);
    assert_eq!(calls[0]["function"]["arguments"], arguments[0]);
    assert_eq!(calls[1]["function"]["arguments"], arguments[1]);
    assert!(stream.text().contains(r#""finish_reason":"tool_calls""#));
}

#[tokio::test]
async fn a_tool_result_is_answered_with_text() {
    let mock = start();
    let mut request = chat("mock+tool", json!({"tools": tools()}));
    let result = json!({"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"});
    request["messages"].as_array_mut().unwrap().push(result);
    let answer = post(&mock, &request).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["choices"][0]["message"]["content"].is_string());
}

#[tokio::test]
async fn requests_openai_would_refuse_are_refused_in_its_words() {
    let mock = start();
    let message = json!([{"role": "user", "content": "x"}]);
    for (body, status, param, code) in [
        (r#"{"model":"mock""#.to_owned(), 400, Value::Null, Value::Null),
        ("not json".to_owned(), 400, Value::Null, Value::Null),
        (json!({"messages": message}).to_string(), 400, Value::Null, Value::Null),
        (json!({"model": "mock"}).to_string(), 400, json!("messages"), json!("missing_required_parameter")),
        (json!({"model": 5, "messages": message}).to_string(), 400, Value::Null, json!("invalid_type")),
        (
            chat("mock", json!({"max_tokens": 0})).to_string(),
            400,
            json!("max_tokens"),
            json!("invalid_value"),
        ),
        (chat("mock", json!({"n": 129})).to_string(), 400, json!("n"), json!("invalid_value")),
        (chat("mock+typo", json!({})).to_string(), 400, json!("model"), json!("invalid_model_name")),
        (chat("nope-1", json!({})).to_string(), 404, Value::Null, json!("model_not_found")),
    ] {
        let mut client = Client::connect(&mock).await;
        client.write("POST", "/v1/chat/completions", "", &body).await;
        let answer = client.read().await.unwrap();
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert_eq!((&error["param"], &error["code"]), (&param, &code), "{body}");
        assert!(error["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn only_the_key_opens_the_api() {
    let options = Options { api_key: Some("sk-right".into()), record: true, ..Options::default() };
    let mock = MockProvider::start(options).unwrap();
    let mut client = Client::connect(&mock).await;
    for (header, status, code) in [
        ("", 401, Value::Null),
        ("authorization: Basic x\r\n", 401, Value::Null),
        ("authorization: Bearer sk-wrong\r\n", 401, json!("invalid_api_key")),
        ("authorization: Bearer sk-right\r\n", 200, Value::Null),
    ] {
        client.write("GET", "/v1/models", header, "").await;
        let answer = client.read().await.unwrap();
        assert_eq!(answer.status, status, "{header}");
        assert_eq!(answer.json()["error"]["code"], code, "{header}");
        assert!(!answer.text().contains("sk-wrong"));
    }
    client.write("GET", "/health", "", "").await;
    assert_eq!(client.read().await.unwrap().status, 200);
    assert_eq!(mock.log()[2].headers["authorization"], "Bearer sk-wrong");
}

#[tokio::test]
async fn unknown_routes_are_refused() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    for (method, path, status) in [
        ("GET", "/v1/models", 200),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/mock/log", 405),
        ("GET", "/mock/other", 404),
        ("GET", "/", 404),
    ] {
        client.write(method, path, "", "").await;
        assert_eq!(client.read().await.unwrap().status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn the_log_is_off_until_it_is_put_and_keeps_the_order() {
    let mock = MockProvider::start(Options::default()).unwrap();
    let mut client = Client::connect(&mock).await;
    client.post(&chat("mock", json!({}))).await;
    assert!(mock.log().is_empty());
    client.write("PUT", "/mock/log", "", "").await;
    assert_eq!(client.read().await.unwrap().status, 204);
    let stream = client.post(&chat("mock+tokens=5", json!({"stream": true}))).await;
    client.write("POST", "/v1/other", "X-Twice: a\r\nx-twice: b\r\n", "no json").await;
    client.read().await.unwrap();

    client.write("GET", "/mock/log", "", "").await;
    let log = client.read().await.unwrap().json();
    assert_eq!(log.as_array().unwrap().len(), 2);
    assert_eq!(log[0]["path"], "/v1/chat/completions");
    assert_eq!(log[0]["body"]["model"], "mock+tokens=5");
    assert_eq!((&log[0]["status"], &log[0]["ended"]), (&json!(200), &json!("completed")));
    assert_eq!((&log[0]["chunks"], &log[0]["bytes"]), (&json!(5), &json!(stream.body.len())));
    assert!(log[0]["received_at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!((&log[1]["body"], &log[1]["status"]), (&json!("no json"), &json!(404)));
    assert_eq!(log[1]["headers"]["x-twice"], "a, b");

    client.write("GET", "/mock/stats", "", "").await;
    let stats = client.read().await.unwrap().json();
    assert_eq!(stats, json!({"connections": 1, "requests": 3, "open_streams": 0, "aborted": 0}));
    client.write("DELETE", "/mock/log", "", "").await;
    assert_eq!(client.read().await.unwrap().status, 204);
    assert!(mock.log().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let request = chat("mock+gap=5ms+tokens=10000", json!({"stream": true}));
    client.write("POST", "/v1/chat/completions", "", &request.to_string()).await;
    client.read_until("role").await;
    assert_eq!(mock.stats().open_streams, 1);
    drop(client);
    let request = last_ended(&mock).await;
    assert_eq!(request.ended, Some(Ending::ClientGone));
    assert!(request.chunks < 10_000);
    assert_eq!((mock.stats().open_streams, mock.stats().aborted), (0, 1));
}
