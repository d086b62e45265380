//! What the host does to requests and responses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Ending, Launch, alone, once_in, timed};

/// All values of a header in what `/echo` answered.
fn values(echo: &Value, name: &str) -> Vec<String> {
    let headers = echo["headers"].as_array().unwrap();
    headers
        .iter()
        .filter(|header| header[0] == name)
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_hosts_headers_come_after_the_clients_copies() {
    let host = Launch::probe("").start();
    let mut client = host.connect();
    client.send(
        "GET",
        "/echo?a=b",
        &[("spin-client-addr", "9.9.9.9:9"), ("spin-path-info", "/echo"), ("spin-base-path", "/forged")],
        b"",
    );
    let echo = client.read().json();

    let addresses = values(&echo, "spin-client-addr");
    assert_eq!(addresses[0], "9.9.9.9:9");
    assert!(addresses[1].starts_with("127.0.0.1:"), "{addresses:?}");
    assert_eq!(addresses.len(), 2);
    for (name, expected) in [
        ("spin-path-info", json!(["/echo", "/echo"])),
        ("spin-base-path", json!(["/forged", "/"])),
        ("spin-full-url", json!(["http://probe.test/echo?a=b"])),
        ("spin-matched-route", json!(["/..."])),
        ("spin-raw-component-route", json!(["/..."])),
        ("spin-component-route", json!([""])),
        ("host", json!(["probe.test"])),
    ] {
        assert_eq!(json!(values(&echo, name)), expected, "{name}");
    }
    assert_eq!(echo["uri"], "http://probe.test/echo?a=b");
}

#[test]
fn repeated_headers_arrive_one_by_one_and_connection_does_not() {
    let host = Launch::probe("").start();
    let headers = [("x-many", "1"), ("x-many", "2, 3"), ("connection", "keep-alive"), ("x-empty", "")];
    let echo = host.request("GET", "/echo", &headers, b"").json();
    assert_eq!(values(&echo, "x-many"), ["1", "2, 3"]);
    assert_eq!(values(&echo, "connection"), [] as [&str; 0]);
    assert_eq!(values(&echo, "x-empty"), [""]);
}

#[test]
fn a_header_value_that_is_not_utf_8_is_an_empty_500() {
    let host = Launch::probe("").start();
    let mut client = host.connect();
    assert!(client.send_raw(b"GET /echo HTTP/1.1\r\nhost: probe.test\r\nx-latin: caf\xe9\r\n\r\n"));
    let reply = client.read();
    assert_eq!((reply.status, reply.text()), (500, ""));
}

/// HTTP/1.1 allows a server either (RFC 9110 §8.6); hyper, Spin's server, folds them.
#[test]
fn two_equal_content_lengths_arrive_as_one() {
    let host = Launch::probe("").start();
    let mut client = host.connect();
    let lengths = "content-length: 2\r\ncontent-length: 2\r\n";
    assert!(
        client.send_raw(format!("POST /echo HTTP/1.1\r\nhost: probe.test\r\n{lengths}\r\nhi").as_bytes())
    );
    assert_eq!(values(&client.read().json(), "content-length"), ["2"]);
}

#[test]
fn two_content_lengths_that_differ_are_a_400() {
    let host = Launch::probe("").start();
    let mut client = host.connect();
    let lengths = "content-length: 2\r\ncontent-length: 3\r\n";
    assert!(
        client.send_raw(format!("POST /echo HTTP/1.1\r\nhost: probe.test\r\n{lengths}\r\nhi").as_bytes())
    );
    assert_eq!(client.read().status, 400);
}

#[test]
fn two_different_content_lengths_are_a_400() {
    let host = Launch::probe("").start();
    for lengths in ["content-length: 2\r\ncontent-length: 3\r\n", "content-length: 2, 2\r\n"] {
        let mut client = host.connect();
        let message = format!("POST /size HTTP/1.1\r\nhost: probe.test\r\n{lengths}\r\nhi");
        assert!(client.send_raw(message.as_bytes()));
        assert_eq!(client.read().status, 400, "{lengths}");
    }
}

#[test]
fn a_request_without_a_host_header_gets_no_answer() {
    let host = Launch::probe("").start();
    let mut client = host.connect();
    assert!(client.send_raw(b"GET /echo HTTP/1.1\r\n\r\n"));
    assert!(client.try_read().is_none());
}

#[test]
fn a_body_of_64_mb_passes() {
    let host = Launch::probe("").start();
    let _machine = alone();
    let body = vec![b'x'; 64 << 20];
    assert_eq!(host.post("/size", body).ok(), "67108864");
}

#[test]
fn a_handler_that_fails_is_an_empty_500() {
    let host = Launch::probe("").start();
    let reply = host.get("/error");
    assert_eq!((reply.status, reply.text()), (500, ""));
}

#[test]
fn chunks_are_sent_as_the_component_gives_them() {
    let host = Launch::probe("").start();
    let _machine = timed();
    let first_chunk_after = || {
        let mut client = host.connect();
        let asked = Instant::now();
        client.send("GET", "/stream?chunks=3&gap_ms=300", &[], b"");
        assert_eq!(client.try_read_head().unwrap().status, 200);
        let first = client.read_chunk().unwrap();
        let took = asked.elapsed();
        assert_eq!(first, b"chunk 1\n");
        assert_eq!(client.read_chunk().unwrap(), b"chunk 2\n");
        assert_eq!(client.read_chunk().unwrap(), b"chunk 3\n");
        assert_eq!(client.read_chunk().unwrap(), b"");
        took
    };
    let gap = Duration::from_millis(300);
    once_in(5, "the first chunk before the second is made", first_chunk_after, |took| *took < gap);
}

/// Spin leaves Nagle's algorithm on: the second small write of an answer waits for the acknowledgement of
/// the first, which a client on a long-used connection delays by some 40 ms.
#[test]
fn a_second_small_chunk_waits_for_the_delayed_acknowledgement_of_the_first() {
    let host = Launch::probe("").start();
    let _machine = timed();
    let mut client = host.connect();
    let mut waits: Vec<_> = (0..15)
        .map(|_| {
            let asked = Instant::now();
            client.delay_acknowledgements();
            client.send("GET", "/stream?chunks=2&gap_ms=2", &[], b"");
            assert_eq!(client.read().text(), "chunk 1\nchunk 2\n");
            asked.elapsed()
        })
        .collect();
    waits.sort();
    assert!(waits[7] > Duration::from_millis(20), "the chunks came without a stall: {waits:?}");
}

#[test]
fn a_whole_answer_goes_out_with_its_length() {
    let host = Launch::probe("").start();
    let reply = host.get("/instance");
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(reply.ending, Ending::Whole);
}
