//! Outbound HTTP over the network: what is allowed, and which timeouts cut it off.

use std::time::{Duration, Instant};
use std::{ops, thread};

use serde_json::json;

use crate::support::{DeafPort, Host, Launch, Origin, TlsOrigin, once_in, timed};

fn probe_allowed(hosts: &str) -> Host {
    Launch::probe(&format!("allowed_outbound_hosts = {hosts}")).start()
}

#[test]
fn only_allowed_outbound_hosts_are_called() {
    let origin = Origin::saying("hello");
    let (address, port) = (origin.address, origin.address.port());
    for (allowed, served) in [
        ("[]".to_owned(), false),
        (format!("['http://{address}']"), true),
        ("['http://127.0.0.1:1']".to_owned(), false),
        (format!("['https://{address}']"), false),
        (format!("['http://localhost:{port}']"), false),
        (format!("['http://*:{port}']"), true),
        (format!("['*://{address}']"), true),
        ("['http://127.0.0.1:*']".to_owned(), true),
        ("['*://*:*']".to_owned(), true),
    ] {
        let answer = probe_allowed(&allowed).fetch("/fetch", &origin.url("/"), &[]);
        if served {
            assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")), "{allowed}");
        } else {
            assert_eq!(answer, json!({ "error": "HttpRequestDenied" }), "{allowed}");
        }
    }
}

#[test]
fn an_allowed_host_may_come_from_a_variable_and_an_empty_one_is_skipped() {
    let origin = Origin::saying("hello");
    let (set, unset) = (origin.url(""), String::new());
    for (provider, other) in [(&set, &unset), (&unset, &set)] {
        let host = Launch::probe_with_variables(
            "provider = { default = '' }\nother = { default = '' }",
            "allowed_outbound_hosts = ['{{ provider }}', '{{ other }}']",
        )
        .variable(&format!("provider={provider}"))
        .variable(&format!("other={other}"))
        .start();
        let answer = host.fetch("/fetch", &origin.url("/"), &[]);
        assert_eq!(answer["status"], 200, "provider={provider:?} other={other:?}: {answer}");
    }
}

#[test]
fn a_variable_with_a_path_or_a_list_denies_every_call() {
    let origin = Origin::saying("hello");
    for value in [origin.url("/v1"), format!("{0},{0}", origin.url(""))] {
        let host = Launch::probe_with_variables(
            "provider = { default = '' }",
            &format!("allowed_outbound_hosts = ['{}', '{{{{ provider }}}}']", origin.url("")),
        )
        .variable(&format!("provider={value}"))
        .start();
        let answer = host.fetch("/fetch", &origin.url("/"), &[]);
        assert_eq!(answer, json!({ "error": "HttpRequestDenied" }), "{value}");
    }
}

#[test]
fn a_default_that_makes_an_allowed_host_invalid_is_refused() {
    let said = Launch::probe_with_variables(
        "provider = { default = 'https://example.com/v1' }",
        "allowed_outbound_hosts = ['{{ provider }}']",
    )
    .refused();
    assert!(said.contains("https://example.com/v1"), "{said}");
}

#[test]
fn an_outbound_request_carries_the_origins_name_and_the_guests_headers() {
    let origin = Origin::serve(|exchange| {
        let received = format!("{}\n{:?}", exchange.request_line, exchange.headers);
        exchange.answer(200, received.as_bytes());
    });
    let host = probe_allowed("['http://127.0.0.1:*']");
    let headers = [("x-fetch-header", "x-many: 1"), ("x-fetch-header", "x-many: 2")];
    let answer = host.fetch("/fetch", &origin.url("/path?a=b"), &headers);
    let body = answer["body"].as_str().unwrap();
    assert!(body.starts_with("GET /path?a=b HTTP/1.1\n"), "{body}");
    assert!(body.contains(&format!("(\"host\", \"{}\")", origin.address)), "{body}");
    assert!(body.contains("(\"x-many\", \"1\"), (\"x-many\", \"2\")"), "{body}");
}

#[test]
fn an_https_origin_is_called_if_its_certificate_is_trusted() {
    let origin = TlsOrigin::start();
    let launch = || Launch::probe("allowed_outbound_hosts = ['https://localhost:*']");
    let answer = launch().start().fetch("/fetch", &origin.url("/"), &[]);
    assert_eq!(answer, json!({ "error": "TlsProtocolError" }));
    let trusting =
        launch().file("trusted.pem", &origin.certificate_pem).environment("SSL_CERT_FILE", "trusted.pem");
    let answer = trusting.start().fetch("/fetch", &origin.url("/"), &[]);
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("secure")));
}

#[test]
fn a_host_may_be_led_elsewhere_and_must_still_prove_its_name() {
    let origin = TlsOrigin::start();
    let launch = Launch::probe("allowed_outbound_hosts = ['https://localhost:1', 'https://other.test']")
        .file("trusted.pem", &origin.certificate_pem)
        .environment("SSL_CERT_FILE", "trusted.pem");
    let host = ["localhost:1", "other.test:443"]
        .iter()
        .fold(launch, |launch, name| {
            launch.argument("--resolve").argument(&format!("{name}={}", origin.address))
        })
        .start();
    assert_eq!(host.fetch("/fetch", "https://localhost:1/", &[])["body"], "secure");
    let answer = host.fetch("/fetch", "https://other.test/", &[]);
    assert_eq!(answer, json!({ "error": "TlsProtocolError" }));
}

#[test]
fn an_origin_that_refuses_the_connection_is_told_apart() {
    let host = probe_allowed("['http://127.0.0.1:*']");
    let answer = host.fetch("/fetch", "http://127.0.0.1:1/", &[]);
    assert_eq!(answer, json!({ "error": "ConnectionRefused" }));
}

#[test]
fn blocked_networks_are_not_called_though_allowed_and_chaining_is_not_affected() {
    let origin = Origin::saying("hello");
    let host = Launch::probe("allowed_outbound_hosts = ['*://*:*', 'http://probe.spin.internal']")
        .runtime_config("[outbound_networking]\nblock_networks = ['private']\n")
        .start();
    let answer = host.fetch("/fetch", &origin.url("/"), &[]);
    assert_eq!(answer, json!({ "error": "DestinationIpProhibited" }));
    assert_eq!(host.fetch("/fetch", "http://probe.spin.internal/size", &[])["status"], 200);
}

#[test]
fn connections_are_pooled_unless_the_runtime_configuration_only_mentions_outbound_http() {
    for (configuration, are_pooled) in [
        ("", true),
        ("[outbound_http]\nconnection_pooling = true\n", true),
        ("[outbound_http]\n", false),
        ("[outbound_http]\nconnection_pooling = false\n", false),
    ] {
        let origin = Origin::saying("hello");
        let host = Launch::probe("allowed_outbound_hosts = ['http://127.0.0.1:*']")
            .runtime_config(configuration)
            .start();
        let mut fetches = 0;
        // The connection returns to the pool a moment after the answer, and some fetch finds it there.
        while fetches < 3 || (are_pooled && fetches < 20 && origin.connections() == fetches) {
            assert_eq!(host.fetch("/fetch", &origin.url("/"), &[])["body"], "hello");
            thread::sleep(Duration::from_millis(50));
            fetches += 1;
        }
        assert_eq!(origin.connections() < fetches, are_pooled, "{configuration:?}");
    }
}

/// A timeout of 400 ms must fire between these: not early, and before a default timeout would.
const FIRES: ops::Range<Duration> = Duration::from_millis(380)..Duration::from_secs(20);

#[test]
fn a_connection_that_is_not_accepted_ends_at_the_connect_timeout() {
    let origin = DeafPort::open();
    let host = probe_allowed("['http://127.0.0.1:*']");
    let asked = Instant::now();
    let url = format!("http://{}/", origin.address);
    let answer = host.fetch("/fetch", &url, &[("x-connect-timeout-ms", "400")]);
    assert_eq!(answer, json!({ "error": "ConnectionTimeout" }));
    assert!(FIRES.contains(&asked.elapsed()), "{:?}", asked.elapsed());
}

#[test]
fn an_origin_that_does_not_answer_ends_at_the_first_byte_timeout() {
    let origin = Origin::serve(|_| thread::sleep(Duration::from_secs(10)));
    let host = probe_allowed("['http://127.0.0.1:*']");
    let asked = Instant::now();
    let answer = host.fetch("/fetch", &origin.url("/"), &[("x-first-byte-timeout-ms", "400")]);
    assert_eq!(answer, json!({ "error": "ConnectionReadTimeout" }));
    assert!(FIRES.contains(&asked.elapsed()), "{:?}", asked.elapsed());
}

#[test]
fn an_answer_that_pauses_ends_at_the_timeout_between_bytes() {
    let origin = Origin::serve(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // Longer than the timeout in all, but no pause is.
        for _ in 0..6 {
            exchange.write(b"5\r\nhello\r\n");
            thread::sleep(Duration::from_millis(100));
        }
        thread::sleep(Duration::from_secs(10));
    });
    let host = probe_allowed("['http://127.0.0.1:*']");
    let _machine = timed();
    let ended_after = || {
        let asked = Instant::now();
        let answer = host.fetch("/fetch", &origin.url("/"), &[("x-between-bytes-timeout-ms", "400")]);
        let ending = (&answer["status"], &answer["body_error"]);
        assert_eq!(ending, (&json!(200), &json!("ConnectionReadTimeout")));
        asked.elapsed()
    };
    once_in(5, "an end by the long pause and no shorter one", ended_after, |took| {
        (Duration::from_millis(900)..Duration::from_secs(5)).contains(took)
    });
}
