//! How instances are reused, and what one request's end means for the others in its instance.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Ending, Host, Launch, eventually};

fn probe() -> Host {
    Launch::probe("").start()
}

/// Which instance answers now, and how many requests it has had.
fn instance(host: &Host) -> (String, u64) {
    let answer = host.get("/instance").json();
    (answer["instance"].as_str().unwrap().to_owned(), answer["request"].as_u64().unwrap())
}

/// Sends a request whose answer is read later.
fn start(host: &Host, path: &str) -> Client {
    let mut client = host.connect();
    client.send("GET", path, &[], b"");
    client
}

/// How long an instance may need, on a loaded machine, to get from a request to where it waits: only then
/// does it take the next one. A request that comes earlier starts another instance.
const SETTLING: Duration = Duration::from_millis(50);

/// Like [`start`], and lets the instance settle.
fn start_alone(host: &Host, path: &str) -> Client {
    let client = start(host, path);
    thread::sleep(SETTLING);
    client
}

/// Several instances may be in use, if one had not settled: what counts is how far each gets.
#[test]
fn an_instance_serves_128_requests() {
    let host = probe();
    let mut served = HashMap::<String, u64>::new();
    while !served.values().any(|requests| *requests == 128) {
        let (instance, request) = instance(&host);
        let before = served.insert(instance, request).unwrap_or(0);
        assert_eq!(request, before + 1);
        assert!(served.len() < 30, "instances are hardly reused: {served:?}");
    }
    for _ in 0..200 {
        let (_, request) = instance(&host);
        assert!(request <= 128, "an instance served request {request}");
    }
}

#[test]
fn an_instance_serves_16_requests_at_once() {
    let host = probe();
    // One after the other, so that each finds the instances before it waiting on I/O and thus open.
    let sleeping: Vec<_> = (0..40).map(|_| start_alone(&host, "/sleep?ms=4000")).collect();
    let mut at_once = HashMap::new();
    for mut client in sleeping {
        *at_once.entry(client.read().json()["instance"].to_string()).or_insert(0) += 1;
    }
    assert_eq!(at_once.values().max(), Some(&16), "{at_once:?}");
}

#[test]
fn an_instance_is_dropped_after_a_second_of_idleness() {
    let host = probe();
    let (first, _) = instance(&host);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(instance(&host).0, first);
    thread::sleep(Duration::from_millis(1500));
    assert_ne!(instance(&host).0, first);
}

/// A thread that computes may have the new one's connection in its own queue; as in Spin, that one then waits until the computing
/// ends, and finds its instance open again. Hence the tries: a host that queued behind what computes would fail in each.
#[test]
fn a_request_that_computes_does_not_hold_up_a_new_one() {
    let host = probe();
    let answered_meanwhile = || {
        let mut computing = start(&host, "/busy?ms=1500");
        thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        let (other, _) = instance(&host);
        let meanwhile = asked.elapsed() < Duration::from_millis(1000);
        let busy = computing.read().json();
        assert!(!meanwhile || busy["instance"] != *other, "an instance that computes answered");
        meanwhile
    };
    assert!((0..5).any(|_| answered_meanwhile()), "no request was answered while another computed");
}

#[test]
fn a_request_that_computes_holds_up_those_already_in_its_instance() {
    let host = probe();
    let asked = Instant::now();
    let mut sleeping = start(&host, "/sleep?ms=300");
    thread::sleep(Duration::from_millis(100));
    let mut computing = start(&host, "/busy?ms=1500");
    let held_up = sleeping.read().json();
    assert!(asked.elapsed() > Duration::from_millis(1400), "{:?}", asked.elapsed());
    assert_eq!(computing.read().json()["instance"], held_up["instance"]);
}

#[test]
fn a_panic_is_an_empty_500_to_every_request_of_its_instance() {
    let host = probe();
    let (first, _) = instance(&host);
    thread::sleep(SETTLING);
    let mut neighbours: Vec<_> = (0..3).map(|_| start_alone(&host, "/sleep?ms=5000")).collect();
    thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    let reply = host.get("/panic");
    assert_eq!((reply.status, reply.text()), (500, ""));
    for neighbour in &mut neighbours {
        let reply = neighbour.read();
        assert_eq!((reply.status, reply.text()), (500, ""));
    }
    assert!(asked.elapsed() < Duration::from_millis(2000), "the neighbours lived on");
    let (second, request) = instance(&host);
    assert_ne!(first, second);
    assert_eq!(request, 1);
}

/// The client cannot tell: the answer is cut short, but ends as if it were whole.
#[test]
fn a_panic_cuts_the_streams_of_its_instance_with_a_clean_end() {
    let host = probe();
    let mut client = start(&host, "/stream?chunks=100&gap_ms=100");
    client.try_read_head().unwrap();
    assert_eq!(client.read_chunk().unwrap(), b"chunk 1\n");
    assert_eq!(host.get("/panic").status, 500);
    let mut chunks = 1;
    let ending = loop {
        match client.read_chunk() {
            Some(chunk) if chunk.is_empty() => break Ending::Whole,
            Some(_) => chunks += 1,
            None => break Ending::CutOff,
        }
    };
    assert!(chunks < 50, "the stream lived on: {chunks} chunks");
    assert_eq!(ending, Ending::Whole);
}

/// A pool of a thousand instances reserves terabytes of address space, which is how it can be seen.
#[test]
fn instances_come_from_a_pool() {
    let host = probe();
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let said = host.kill();
    assert!(kib > 1 << 30, "{kib} KiB of address space");
    assert!(!said.contains("no pool"), "{said}");
}

/// Each with one request at a time, so that 500 requests that each wait for another component's answer take a thousand
/// instances, and only 500 connections.
#[test]
fn a_thousand_instances_live_at_once_and_no_more() {
    let host = Launch::probe("allowed_outbound_hosts = ['http://probe.spin.internal']")
        .argument("--max-instance-concurrent-reuse-count")
        .argument("1")
        .argument("--stats")
        .start();
    let slowly = [("x-url", "http://probe.spin.internal/sleep?ms=10000")];
    let mut waiting: Vec<_> = (0..500).map(|_| host.connect()).collect();
    for client in &mut waiting {
        client.send("GET", "/fetch", &slowly, b"");
    }
    eventually("a thousand instances", || {
        let live = host.get("/.well-known/dev-host/stats").json()["instances"]["probe"].as_u64();
        (live == Some(1_000)).then_some(())
    });
    let reply = host.get("/instance");
    assert_eq!((reply.status, reply.text()), (500, ""));
    assert!(host.kill().contains("maximum concurrent"), "the pool should be why");
    drop(waiting);
}
