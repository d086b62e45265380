//! Every fault of the mini-language, as it looks on the wire.

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use mock_provider::Ending;
use serde_json::{Value, json};
use support::*;

fn streamed(model: &str) -> Value {
    chat(model, json!({"stream": true}))
}

#[tokio::test]
async fn an_error_has_openais_body_and_the_headers_asked_for() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    for (model, status, kind, code) in [
        ("mock+status=503+retry-after=2", 503, "server_error", json!("overloaded")),
        ("mock+status=500+retry-after=2", 500, "server_error", Value::Null),
        ("mock+status=429+retry-after=2", 429, "requests", json!("rate_limit_exceeded")),
        ("mock+status=401+retry-after=2", 401, "invalid_request_error", json!("invalid_api_key")),
        (
            "mock+status=400+code=context_length_exceeded+retry-after=2",
            400,
            "invalid_request_error",
            json!("context_length_exceeded"),
        ),
    ] {
        for request in [chat(model, json!({})), streamed(model)] {
            let answer = client.post(&request).await;
            assert_eq!((answer.status, answer.end), (status, End::Complete), "{model}");
            assert_eq!(answer.header("retry-after"), Some("2"), "{model}");
            let error = &answer.json()["error"];
            assert_eq!((&error["type"], &error["code"]), (&json!(kind), &code), "{model}");
        }
    }
    let answer = client
        .post(&chat("mock+status=429+retry-after-ms=1500+header=x-should-retry:false", json!({})))
        .await;
    assert_eq!(answer.header("retry-after-ms"), Some("1500"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_status_answers_with_that_status_whatever_it_is() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    for status in 400..=599 {
        let answer = client.post(&chat(&format!("mock+status={status}"), json!({}))).await;
        assert_eq!(answer.status, status);
        assert!(answer.json()["error"]["type"].is_string());
    }
}

#[tokio::test]
async fn reset_is_a_tcp_reset_without_a_byte() {
    let mock = start();
    for request in [chat("mock+reset", json!({})), streamed("mock+reset")] {
        let mut client = Client::connect(&mock).await;
        client.write("POST", "/v1/chat/completions", "", &request.to_string()).await;
        assert_eq!(client.read().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_last_ended(&mock, Ending::CutByMock).await;
    }
}

#[tokio::test]
async fn silence_never_answers_and_notices_that_the_client_leaves() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    client.write("POST", "/v1/chat/completions", "", &chat("mock+silence", json!({})).to_string()).await;
    recorded(&mock, 1).await;
    assert!(client.is_quiet_for(Duration::from_millis(100)).await);
    drop(client);
    assert_last_ended(&mock, Ending::ClientGone).await;
}

#[tokio::test]
async fn cut_closes_the_connection_after_that_many_content_chunks() {
    let mock = start();
    for (chunks, events) in [(0, 0), (1, 2), (3, 4), (10, 11), (99, 11)] {
        let answer = post(&mock, &streamed(&format!("mock+tokens=10+cut={chunks}"))).await;
        assert_eq!(answer.end, End::Closed, "{chunks}");
        assert_eq!(answer.chunks().len(), events, "{chunks}");
        assert_eq!(answer.content_chunks(), chunks.min(10));
        let logged = last_ended(&mock).await;
        assert_eq!(logged.ended, Some(Ending::CutByMock));
        assert_eq!(logged.chunks, answer.content_chunks() as u64);
    }
}

#[tokio::test]
async fn a_cut_loses_nothing_of_what_came_before() {
    let mock = start();
    let answer = post(&mock, &streamed("mock+text=200000+cut=40000")).await;
    assert_eq!((answer.end, answer.content_chunks()), (End::Closed, 40_000));
}

#[tokio::test]
async fn clean_cut_ends_the_body_properly_but_unfinished() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let answer = client.post(&streamed("mock+tokens=10+clean-cut=3")).await;
    assert_eq!((answer.end, answer.content_chunks(), answer.data().len()), (End::Complete, 3, 4));
    assert!(!answer.text().contains("finish_reason\":\""));
    assert_eq!(client.post(&streamed("mock+clean-cut=0")).await.text(), "");
}

#[tokio::test]
async fn stall_stops_and_keeps_the_connection() {
    let mock = start();
    let pieces = post(&mock, &streamed("mock+tokens=10")).await.chunks();
    let third = pieces[3]["choices"][0]["delta"]["content"].to_string();
    for (model, last) in [("mock+stall=0", "\r\n\r\n"), ("mock+tokens=10+stall=3", third.as_str())] {
        let mut client = Client::connect(&mock).await;
        client.write("POST", "/v1/chat/completions", "", &streamed(model).to_string()).await;
        client.read_until(last).await;
        assert!(client.is_quiet_for(Duration::from_millis(80)).await, "{model}");
        drop(client);
        assert_last_ended(&mock, Ending::ClientGone).await;
    }
}

#[tokio::test]
async fn an_error_in_the_stream_comes_within_a_200() {
    let mock = start();
    for (chunks, events) in [(0, 1), (3, 5)] {
        let answer = post(&mock, &streamed(&format!("mock+tokens=10+error-in-stream={chunks}"))).await;
        assert_eq!((answer.status, answer.end), (200, End::Complete));
        let data = answer.data();
        assert_eq!(data.len(), events);
        let error: Value = serde_json::from_str(data.last().unwrap()).unwrap();
        assert_eq!(error["error"]["type"], "server_error");
    }
}

#[tokio::test]
async fn one_chunk_is_malformed_and_the_rest_is_not() {
    let mock = start();
    let answer = post(&mock, &streamed("mock+tokens=10+malformed=3")).await;
    let is_json: Vec<bool> =
        answer.data().iter().map(|data| serde_json::from_str::<Value>(data).is_ok()).collect();
    // Role, ten tokens of which the third is broken, finish, and `[DONE]`, which is no JSON.
    assert_eq!(is_json, [true, true, true, false, true, true, true, true, true, true, true, true, false]);
    assert_eq!(answer.end, End::Complete);
}

#[tokio::test]
async fn the_framing_of_events_is_as_asked() {
    let mock = start();
    let plain = post(&mock, &streamed("mock+tokens=3")).await;
    let without_done = post(&mock, &streamed("mock+tokens=3+no-done")).await;
    assert_eq!(without_done.data().len(), plain.data().len() - 1);
    assert!(!without_done.text().contains("[DONE]"));

    let crlf = post(&mock, &streamed("mock+tokens=3+crlf")).await;
    assert_eq!(crlf.text().matches("\r\n\r\n").count(), plain.data().len());
    assert_eq!(crlf.text().matches('\n').count(), crlf.text().matches("\r\n").count());

    let comments = post(&mock, &streamed("mock+tokens=3+comments")).await;
    assert_eq!(comments.text().matches(": keepalive\n\n").count(), plain.data().len());
}

#[tokio::test]
async fn split_bounds_every_frame_and_splits_characters() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let answer = client.post(&streamed("mock+text=emoji+split=3")).await;
    assert!(answer.frames.iter().all(|frame| frame.len() <= 3));
    assert!(answer.frames.iter().any(|frame| std::str::from_utf8(frame).is_err()));
    assert!(answer.content(0).contains('🚀'));
    let whole = client.post(&chat("mock+text=emoji+split=3", json!({}))).await;
    assert_eq!(whole.json()["choices"][0]["message"]["content"], answer.content(0));
    // The bound is lifted for the next answer on the same connection.
    assert!(client.post(&streamed("mock")).await.frames.iter().all(|frame| frame.len() > 3));
}

#[tokio::test]
async fn flaky_fails_so_many_times_for_each_model_and_id() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let mut statuses = Vec::new();
    for (model, id) in [
        ("mock+flaky=2", "x-mock-id: a\r\n"),
        ("mock+flaky=2", "x-mock-id: b\r\n"),
        ("mock+flaky=2", "x-mock-id: a\r\n"),
        ("mock+flaky=2", "x-mock-id: a\r\n"),
        ("mock+flaky=1+status=429", ""),
        ("mock+flaky=1+status=429", ""),
        ("mock-x+flaky=1+status=429", ""),
        ("mock+flaky=0", ""),
    ] {
        client.write("POST", "/v1/chat/completions", id, &chat(model, json!({})).to_string()).await;
        statuses.push(client.read().await.unwrap().status);
    }
    assert_eq!(statuses, [503, 503, 503, 200, 429, 200, 429, 200]);

    assert_eq!(post(&mock, &streamed("mock+flaky=1+cut=2")).await.end, End::Closed);
    assert_eq!(post(&mock, &streamed("mock+flaky=1+cut=2")).await.end, End::Complete);
}

#[tokio::test]
async fn a_whole_answer_can_be_truncated_chunked_or_no_json() {
    let mock = start();
    let complete = post(&mock, &chat("mock+tokens=50", json!({}))).await;

    let truncated = post(&mock, &chat("mock+tokens=50+truncated-json", json!({}))).await;
    let announced: usize = truncated.header("content-length").unwrap().parse().unwrap();
    assert_eq!((truncated.status, truncated.end), (200, End::Closed));
    assert_eq!(truncated.body.len(), announced / 2);

    let chunked = post(&mock, &chat("mock+tokens=50+chunked", json!({}))).await;
    assert_eq!((chunked.header("content-length"), chunked.end), (None, End::Complete));
    assert_eq!(chunked.json()["choices"], complete.json()["choices"]);

    let html = post(&mock, &chat("mock+not-json", json!({}))).await;
    assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(html.text().starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn delays_come_where_they_are_asked_for() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let begun = Instant::now();
    client.post(&chat("mock+slow=60ms", json!({}))).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));

    // The head comes at once, the first event after the time to first token, the rest at its pace.
    let begun = Instant::now();
    let request = streamed("mock+ttft=200ms+gap=10ms+tokens=6");
    client.write("POST", "/v1/chat/completions", "", &request.to_string()).await;
    client.read_until("\r\n\r\n").await;
    let head = begun.elapsed();
    client.read_until("data:").await;
    let first = begun.elapsed();
    client.read_until("[DONE]").await;
    let all = begun.elapsed();
    assert!(first >= Duration::from_millis(200) && head < first, "head {head:?}, first {first:?}");
    assert!(all >= Duration::from_millis(250), "all {all:?}");
}

#[tokio::test]
async fn content_filter_is_a_finish_reason() {
    let mock = start();
    let whole = post(&mock, &chat("mock+content-filter", json!({}))).await.json();
    assert_eq!(whole["choices"][0]["finish_reason"], "content_filter");
    assert!(
        post(&mock, &streamed("mock+content-filter"))
            .await
            .text()
            .contains(r#""finish_reason":"content_filter""#)
    );
}

#[tokio::test]
async fn a_marked_prefix_is_continued_by_any_mock_and_an_unmarked_one_only_where_the_name_says_so() {
    let mock = start();
    let text = post(&mock, &streamed("mock-a+text=multibyte+tokens=30")).await.content(0);
    let (said, rest) = text.split_at(text.floor_char_boundary(50));
    let plain = json!({"role": "assistant", "content": said});
    let marked = json!({"role": "assistant", "content": said, "prefix": true});
    let model = "mock-b+text=multibyte+tokens=30";
    for (model, last, extra, expected) in [
        (model, plain.clone(), json!({"stream": true}), &text[..]),
        (model, marked, json!({"stream": true}), rest),
        (model, plain.clone(), json!({"stream": true, "continue_final_message": true}), rest),
        ("mock-b+text=multibyte+tokens=30+prefill", plain, json!({"stream": true}), rest),
    ] {
        let answer = post(&mock, &request_with(model, last, extra)).await;
        assert_eq!(answer.content(0), expected, "{model}");
    }
    let other = json!({"role": "assistant", "content": "something else", "prefix": true});
    assert_eq!(post(&mock, &request_with(model, other, json!({"stream": true}))).await.content(0), text);
    let differing = post(&mock, &streamed("mock-c+text=multibyte+tokens=30+differs=3")).await.content(0);
    assert_eq!(differing.get(..12), text.get(..12));
    assert_ne!(differing, text);
}

fn gunzip(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let ended = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).is_ok();
    (out, ended)
}

#[tokio::test]
async fn gzipped_answers_hold_the_same_and_streams_are_flushed_with_every_event() {
    let mock = start();
    let plain = post(&mock, &streamed("mock-a+tokens=10")).await;
    let answer = post(&mock, &streamed("mock-b+tokens=10+gzip")).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let (body, ended) = gunzip(&answer.body);
    let events = body.windows(2).filter(|pair| pair == b"\n\n").count();
    assert_eq!((events, ended), (plain.data().len(), true));
    // After the second frame, whatever is missing, two events are there.
    let (body, ended) = gunzip(&answer.frames[..2].concat());
    assert_eq!((body.windows(2).filter(|pair| pair == b"\n\n").count(), ended), (2, false));

    let cut = post(&mock, &streamed("mock-b+tokens=10+gzip+cut=3")).await;
    assert_eq!((cut.end, gunzip(&cut.body).1), (End::Closed, false));

    let whole = post(&mock, &chat("mock+gzip", json!({}))).await;
    assert_eq!(whole.header("content-encoding"), Some("gzip"));
    assert!(serde_json::from_slice::<Value>(&gunzip(&whole.body).0).unwrap()["choices"].is_array());
}

#[tokio::test]
async fn errors_within_a_200_come_as_json_or_as_a_named_event() {
    let mock = start();
    for request in [chat("mock+error-200+code=busy", json!({})), streamed("mock+error-200+code=busy")] {
        let answer = post(&mock, &request).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json()["error"]["code"], "busy");
    }
    let answer = post(&mock, &streamed("mock+tokens=10+event-error=2")).await;
    assert_eq!((answer.end, answer.content_chunks()), (End::Complete, 2));
    let (_, last) = answer.text().split_once("event: error\ndata: {\"error\":").unwrap();
    assert_eq!(last.matches("data:").count(), 0);
}

#[tokio::test]
async fn known_codes_come_with_the_providers_words() {
    let mock = start();
    for (code, words) in [
        ("context_length_exceeded", "maximum context length"),
        ("content_filter", "content management policy"),
        ("content_policy_violation", "safety system"),
        ("insufficient_quota", "current quota"),
    ] {
        let error = post(&mock, &chat(&format!("mock+status=400+code={code}"), json!({}))).await.json();
        assert_eq!(error["error"]["code"], code);
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_runaway_stream_goes_on_until_its_client_leaves() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    let request = streamed("mock+tokens=3+runaway");
    client.write("POST", "/v1/chat/completions", "", &request.to_string()).await;
    client.read_events(40).await;
    drop(client);
    let logged = last_ended(&mock).await;
    assert_eq!(logged.ended, Some(Ending::ClientGone));
    assert!(logged.chunks > 30, "{} chunks", logged.chunks);
}

#[tokio::test]
async fn the_log_says_when_the_client_was_seen_to_leave() {
    let mock = start();
    // The next piece after the gap would come too late for the last of them to be noticed by it.
    for (number, model) in (1..).zip(["mock+silence", "mock+stall=1", "mock+gap=60s"]) {
        let mut client = Client::connect(&mock).await;
        client.write("POST", "/v1/chat/completions", "", &streamed(model).to_string()).await;
        recorded(&mock, number).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(mock.log().last().unwrap().ended_at_ms, None, "{model}");
        let left_ms = since_epoch().as_millis();
        drop(client);
        let ended_ms = last_ended(&mock).await.ended_at_ms.unwrap();
        assert!(u128::from(ended_ms) >= left_ms, "{model}: {ended_ms}, left at {left_ms}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_and_data_in_two_lines() {
    let mock = start();
    let answer = post(&mock, &streamed("mock+tokens=2+bom+multi-line")).await;
    assert_eq!(answer.text().matches('\u{feff}').count(), 1);
    assert!(answer.body.starts_with("\u{feff}data: {".as_bytes()));
    assert_eq!(answer.text().matches("\ndata: {\"index\":0").count(), 4, "role, two tokens, finish");
}

#[tokio::test]
async fn moments_in_headers_are_counted_from_now() {
    let mock = start();
    let model = "mock+status=429+retry-after=@http-date(30)+header=x-ratelimit-reset-requests:@epoch(30)";
    let before = since_epoch().as_secs();
    let answer = post(&mock, &chat(model, json!({}))).await;
    let after = since_epoch().as_secs();
    let reset: u64 = answer.header("x-ratelimit-reset-requests").unwrap().parse().unwrap();
    assert!((before + 30..=after + 30).contains(&reset), "{reset}, asked between {before} and {after}");
    assert!(answer.header("retry-after").unwrap().ends_with(" GMT"));
}

#[tokio::test]
async fn a_stream_that_lingers_has_said_all_but_done() {
    let mock = start();
    let mut client = Client::connect(&mock).await;
    client.write("POST", "/v1/chat/completions", "", &streamed("mock+linger").to_string()).await;
    client.read_until("\"finish_reason\":\"stop\"").await;
    assert!(client.is_quiet_for(Duration::from_millis(80)).await);
    drop(client);
    assert_last_ended(&mock, Ending::ClientGone).await;
}
