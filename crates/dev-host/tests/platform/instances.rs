//! How instances are reused, and what one request's end means for the others in its instance.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Ending, Host, Launch, SETTLING, alone, eventually, once_in, timed};

fn probe() -> Host {
    Launch::probe("").start()
}

/// Which instance answers now, and how many requests it has had.
pub fn instance(host: &Host) -> (String, u64) {
    let answer = host.get("/instance").json();
    (answer["instance"].as_str().unwrap().to_owned(), answer["request"].as_u64().unwrap())
}

/// Sends a request whose answer is read later.
pub fn start(host: &Host, path: &str) -> Client {
    let mut client = host.connect();
    client.send("GET", path, &[], b"");
    client
}

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
        assert!(served.len() < 100, "instances are hardly reused: {served:?}");
    }
    for _ in 0..200 {
        let (_, request) = instance(&host);
        assert!(request <= 128, "an instance served request {request}");
    }
}

#[test]
fn an_instance_serves_16_requests_at_once() {
    let host = probe();
    let _machine = timed();
    let served = || {
        // One after the other, so that each finds the instances before it waiting on I/O and thus open.
        let sleeping: Vec<_> = (0..40).map(|_| start_alone(&host, "/sleep?ms=5000")).collect();
        let mut served = HashMap::new();
        for mut client in sleeping {
            *served.entry(client.read().json()["instance"].to_string()).or_insert(0) += 1;
        }
        served
    };
    once_in(5, "16 and no more in one instance", served, |served| served.values().max() == Some(&16));
}

#[test]
fn an_instance_is_dropped_after_a_second_of_idleness() {
    let host = probe();
    let _machine = timed();
    let two_requests = |pause_ms| {
        let (first, _) = instance(&host);
        thread::sleep(Duration::from_millis(pause_ms));
        (first, instance(&host).0)
    };
    once_in(5, "the same after half a second", || two_requests(500), |(first, second)| first == second);
    once_in(5, "another after a second and a half", || two_requests(1500), |(first, second)| first != second);
}

/// The thread that computes may be the one that would see the new one's connection: as in Spin, that one then waits until the
/// computing ends, and finds its instance open again. Much the same happens in the next try, hence so many; a host that queued
/// behind what computes would fail in each.
#[test]
fn a_request_that_computes_does_not_hold_up_a_new_one() {
    let host = probe();
    let _machine = alone();
    let answered_by_another = || {
        let mut computing = start(&host, "/busy?ms=1500");
        thread::sleep(Duration::from_millis(300));
        let asked = Instant::now();
        let (other, _) = instance(&host);
        let took = asked.elapsed();
        (took, computing.read().json()["instance"] != *other)
    };
    once_in(20, "an answer while another instance computes", answered_by_another, |(took, by_another)| {
        *took < Duration::from_millis(1000) && *by_another
    });
}

#[test]
fn a_request_that_computes_holds_up_those_already_in_its_instance() {
    let host = probe();
    let _machine = timed();
    let held_up = || {
        instance(&host);
        let asked = Instant::now();
        let mut sleeping = start(&host, "/sleep?ms=1000");
        thread::sleep(Duration::from_millis(100));
        let mut computing = start(&host, "/busy?ms=1500");
        let held_up = sleeping.read().json();
        let took = asked.elapsed();
        (took, computing.read().json()["instance"] == held_up["instance"])
    };
    once_in(5, "an answer of the same instance after the computing", held_up, |(took, by_the_same)| {
        *took > Duration::from_millis(1500) && *by_the_same
    });
}

#[test]
fn a_panic_is_an_empty_500_to_every_request_of_its_instance() {
    let host = probe();
    let _machine = timed();
    let after_a_panic = || {
        let (first, _) = instance(&host);
        thread::sleep(SETTLING);
        let neighbours: Vec<_> = (0..3).map(|_| start_alone(&host, "/sleep?ms=5000")).collect();
        thread::sleep(Duration::from_millis(100));
        let reply = host.get("/panic");
        assert_eq!((reply.status, reply.text()), (500, ""));
        let answers: Vec<_> = neighbours
            .into_iter()
            .map(|mut neighbour| {
                let reply = neighbour.read();
                (reply.status, reply.text().to_owned())
            })
            .collect();
        let (second, request) = instance(&host);
        (answers, first != second && request == 1)
    };
    once_in(5, "the end of the instance and all in it", after_a_panic, |(answers, by_a_new_one)| {
        answers.iter().all(|answer| *answer == (500, String::new())) && *by_a_new_one
    });
}

/// The client cannot tell: the answer is cut short, but ends as if it were whole.
#[test]
fn a_panic_cuts_the_streams_of_its_instance_with_a_clean_end() {
    let host = probe();
    let _machine = timed();
    let after_a_panic = || {
        let mut client = start(&host, "/stream?chunks=100&gap_ms=100");
        client.try_read_head().unwrap();
        assert_eq!(client.read_chunk().unwrap(), b"chunk 1\n");
        thread::sleep(SETTLING);
        assert_eq!(host.get("/panic").status, 500);
        let mut chunks = 1;
        let ending = loop {
            match client.read_chunk() {
                Some(chunk) if chunk.is_empty() => break Ending::Whole,
                Some(_) => chunks += 1,
                None => break Ending::CutOff,
            }
        };
        (chunks, ending)
    };
    once_in(5, "a clean end before half of the chunks", after_a_panic, |(chunks, ending)| {
        *chunks < 50 && *ending == Ending::Whole
    });
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
    let _machine = alone();
    let slowly = [("x-url", "http://probe.spin.internal/sleep?ms=120000")];
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
