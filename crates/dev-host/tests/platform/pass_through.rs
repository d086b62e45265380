//! The bare pass-through, which later serves as the platform's floor in benchmarks: here, that it passes
//! everything on faithfully.

use crate::support::{Ending, Host, Launch, Origin};

fn pass_through(upstream: &str, more: &str) -> Host {
    Launch::new(&format!(
        "
        spin_manifest_version = 2
        [application]
        name = 'pass-through'
        [variables]
        upstream = {{ required = true }}
        [[trigger.http]]
        route = '/...'
        component = 'pass-through'
        [component.pass-through]
        source = 'PASS_THROUGH'
        allowed_outbound_hosts = ['{{{{ upstream }}}}']
        variables = {{ upstream = '{{{{ upstream }}}}' }}
        {more}"
    ))
    .variable(&format!("upstream={upstream}"))
    .start()
}

#[test]
fn a_request_reaches_the_origin_without_the_hops_own_headers() {
    let origin = Origin::serve(|exchange| {
        let received = format!("{}\n{:?}\n", exchange.request_line, exchange.headers);
        let body = [received.as_bytes(), &exchange.body].concat();
        exchange.write(
            format!("HTTP/1.1 418 Told\r\nx-many: 1\r\nx-many: 2\r\ncontent-length: {}\r\n\r\n", body.len())
                .as_bytes(),
        );
        exchange.write(&body);
    });
    let host = pass_through(&origin.url(""), "");
    let headers =
        [("x-kept", "yes"), ("te", "trailers"), ("proxy-authorization", "no"), ("keep-alive", "no")];
    let reply = host.request("PUT", "/path?a=b%20c", &headers, b"the body");

    assert_eq!(reply.status, 418);
    let many: Vec<_> = reply.headers.iter().filter(|(name, _)| name == "x-many").map(|(_, v)| v).collect();
    assert_eq!(many, ["1", "2"]);
    let text = reply.text();
    assert!(text.starts_with("PUT /path?a=b%20c HTTP/1.1\n"), "{text}");
    assert!(text.ends_with("\nthe body"), "{text}");
    for kept in [r#"("x-kept", "yes")"#, r#"("content-length", "8")"#] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    for dropped in ["spin-", "proxy-", "keep-alive", "\"te\"", "transfer-encoding", "probe.test"] {
        assert!(!text.contains(dropped), "{dropped} in {text}");
    }
}

#[test]
fn a_get_goes_out_without_a_body() {
    let origin = Origin::serve(|exchange| {
        let received = format!("{:?}", exchange.headers);
        exchange.answer(200, received.as_bytes());
    });
    let text = pass_through(&origin.url(""), "").get("/").ok().to_owned();
    assert!(!text.contains("transfer-encoding") && !text.contains("content-length"), "{text}");
}

#[test]
fn a_large_body_passes_both_ways() {
    let origin = Origin::serve(|exchange| {
        let body = std::mem::take(&mut exchange.body);
        exchange.answer(200, &body);
    });
    let body: Vec<u8> = (0..8_u32 << 20).map(|index| (index % 251) as u8).collect();
    let reply = pass_through(&origin.url(""), "").post("/", &body);
    assert_eq!((reply.status, reply.ending), (200, Ending::Whole));
    assert!(reply.body == body, "the bytes differ");
}

#[test]
fn a_stream_passes_chunk_by_chunk_from_a_chained_component() {
    let more = "
        [[trigger.http]]
        route = { private = true }
        component = 'probe'
        [component.probe]
        source = 'BEHAVIOUR'
        ";
    let host = pass_through("http://probe.spin.internal", more);
    let mut client = host.connect();
    client.send("GET", "/stream?chunks=3&gap_ms=200", &[], b"");
    assert_eq!(client.try_read_head().unwrap().status, 200);
    for expected in ["chunk 1\n", "chunk 2\n", "chunk 3\n", ""] {
        assert_eq!(client.read_chunk().unwrap(), expected.as_bytes());
    }
}
