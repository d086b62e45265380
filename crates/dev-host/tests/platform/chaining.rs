//! Requests from one component to another, `http://<component>.spin.internal`.

use serde_json::json;

use crate::support::{Host, Launch};

/// `front` answers on the network and may call `hidden`, which has no route; the rest by `allowed`.
fn front_and_hidden(allowed: &str) -> Host {
    Launch::new(&format!(
        "
        spin_manifest_version = 2
        [application]
        name = 'chain'

        [[trigger.http]]
        route = '/front/...'
        component = 'front'
        [component.front]
        source = 'BEHAVIOUR'
        allowed_outbound_hosts = {allowed}

        [[trigger.http]]
        route = {{ private = true }}
        component = 'hidden'
        [component.hidden]
        source = 'BEHAVIOUR'
        key_value_stores = ['default']
        "
    ))
    .start()
}

#[test]
fn a_private_component_is_reached_by_chaining_only() {
    let host = front_and_hidden("['http://hidden.spin.internal']");
    let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/size", &[]);
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("0")));
    for path in ["/hidden/size", "/size", "/"] {
        assert_eq!(host.get(path).status, 404, "{path}");
    }
    // Nor by pretending to be the name that chaining uses: the host header is dropped, and one is needed.
    let mut client = host.connect();
    assert!(client.send_raw(b"GET /front/size HTTP/1.1\r\nhost: hidden.spin.internal\r\n\r\n"));
    assert!(client.try_read().is_none());
}

#[test]
fn a_chained_request_comes_from_nowhere_with_the_callers_headers_before_the_hosts() {
    let host = front_and_hidden("['http://hidden.spin.internal']");
    let forged = [
        ("x-fetch-header", "spin-client-addr: 9.9.9.9:9"),
        ("x-fetch-header", "authorization: Bearer abc"),
        ("x-fetch-header", "x-many: 1"),
        ("x-fetch-header", "x-many: 2"),
    ];
    let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/echo?a=b", &forged);
    let echo: serde_json::Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    let values = |name: &str| -> Vec<&str> {
        let headers = echo["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
    };
    assert_eq!(values("spin-client-addr"), ["9.9.9.9:9", "0.0.0.0:0"]);
    assert_eq!(values("spin-path-info"), ["/echo"]);
    assert_eq!(values("spin-full-url"), ["http://localhost/echo?a=b"]);
    assert_eq!(values("spin-matched-route"), ["/..."]);
    assert_eq!(values("authorization"), ["Bearer abc"]);
    assert_eq!(values("x-many"), ["1", "2"]);
    assert_eq!(values("host"), [] as [&str; 0]);
    assert_eq!(echo["uri"], "http://hidden.spin.internal/echo?a=b");
}

#[test]
fn two_content_lengths_in_a_chained_request_are_an_empty_500() {
    let host = front_and_hidden("['http://hidden.spin.internal']");
    let twice = [("x-fetch-header", "content-length: 0"), ("x-fetch-header", "content-length: 0")];
    let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/size", &twice);
    assert_eq!((&answer["status"], &answer["body"]), (&json!(500), &json!("")), "{answer}");
}

#[test]
fn chaining_needs_an_allowed_host() {
    for allowed in ["[]", "['http://other.spin.internal']", "['http://127.0.0.1:1']"] {
        let host = front_and_hidden(allowed);
        let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/size", &[]);
        assert_eq!(answer, json!({ "error": "HttpRequestDenied" }), "{allowed}");
    }
    let host = front_and_hidden("['http://*.spin.internal']");
    let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/size", &[]);
    assert_eq!(answer["status"], 200);
}

/// The wildcard stands for the components there are; only a literal entry can name one that is not.
#[test]
fn chaining_to_an_unknown_component_is_denied_or_kills_the_caller() {
    let host = front_and_hidden("['http://*.spin.internal']");
    let answer = host.fetch("/front/fetch", "http://nobody.spin.internal/size", &[]);
    assert_eq!(answer, json!({ "error": "HttpRequestDenied" }));

    let host = front_and_hidden("['http://nobody.spin.internal']");
    let headers = [("x-url", "http://nobody.spin.internal/size")];
    let reply = host.request("GET", "/front/fetch", &headers, b"");
    assert_eq!((reply.status, reply.text()), (500, ""));
    assert_eq!(host.get("/front/size").ok(), "0", "the next request is served");
}

#[test]
fn a_failing_chained_component_is_an_empty_500_to_its_caller() {
    let host = front_and_hidden("['http://hidden.spin.internal']");
    for path in ["/error", "/panic"] {
        let answer = host.fetch("/front/fetch", &format!("http://hidden.spin.internal{path}"), &[]);
        assert_eq!((&answer["status"], &answer["body"]), (&json!(500), &json!("")), "{path}");
    }
}

#[test]
fn a_chained_component_has_its_own_permissions() {
    let host = front_and_hidden("['http://hidden.spin.internal']");
    assert_eq!(host.get("/front/kv/keys").host_error(), "Error::AccessDenied");
    let answer = host.fetch("/front/fetch", "http://hidden.spin.internal/kv/keys", &[]);
    assert_eq!(answer["body"], "[]");
}
