//! Work that outlives the response, and responses that outlive their client.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use crate::support::{Ending, Host, Launch, SETTLING, eventually, once_in, timed};

fn application() -> Launch {
    Launch::probe("key_value_stores = ['default']")
}

fn probe() -> Host {
    application().start()
}

fn noted(host: &Host, key: &str) -> String {
    eventually(&format!("a note under {key}"), || {
        let reply = host.get(&format!("/kv/get?key={key}"));
        (reply.status == 200).then(|| reply.text().to_owned())
    })
}

#[test]
fn spawned_work_runs_after_the_response() {
    let host = probe();
    let _machine = timed();
    let tries = Cell::new(0);
    let status_after_the_response = || {
        let key = format!("work-{}", tries.replace(tries.get() + 1));
        assert_eq!(host.get(&format!("/spawn?key={key}&ms=1000")).ok(), "answered");
        let status = host.get(&format!("/kv/get?key={key}")).status;
        assert_eq!(noted(&host, &key), "done");
        status
    };
    once_in(5, "a response before the work is done", status_after_the_response, |status| *status == 404);
}

/// Longer than an idle instance lives: work keeps its instance alive.
#[test]
fn spawned_work_may_outlast_the_idle_time() {
    let host = probe();
    host.get("/spawn?key=work&ms=2000").ok();
    // Asking meanwhile would keep the instance from being idle.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(noted(&host, "work"), "done");
}

#[test]
fn spawned_work_runs_after_the_client_left() {
    let host = probe();
    let mut client = host.connect();
    client.send("GET", "/spawn?key=work&ms=500", &[], b"");
    client.read();
    drop(client);
    assert_eq!(noted(&host, "work"), "done");
}

#[test]
fn a_stream_that_is_read_to_its_end_is_sent_whole() {
    let host = probe();
    let reply = host.get("/stream?chunks=5&gap_ms=20&key=stream");
    assert_eq!(reply.ok(), "chunk 1\nchunk 2\nchunk 3\nchunk 4\nchunk 5\n");
    assert_eq!(reply.ending, Ending::Whole);
    assert_eq!(noted(&host, "stream"), "sent 5");
}

#[test]
fn a_clients_leaving_makes_sends_fail_and_the_component_goes_on() {
    let host = probe();
    let mut client = host.connect();
    client.send("GET", "/stream?chunks=600&gap_ms=50&key=stream", &[], b"");
    client.try_read_head().unwrap();
    client.read_chunk().unwrap();
    drop(client);
    let note = noted(&host, "stream");
    assert!(note.starts_with("failed after "), "{note}");
}

#[test]
fn a_client_that_leaves_before_the_response_does_not_cancel_the_component() {
    let host = application().argument("--stats").start();
    let mut client = host.connect();
    client.send("GET", "/sleep?ms=1000&key=slept", &[], b"");
    eventually("the request at the component", || {
        let stats = host.get("/.well-known/dev-host/stats").json();
        (stats["calls"]["probe /sleep"] == 1).then_some(())
    });
    thread::sleep(SETTLING);
    drop(client);
    assert_eq!(noted(&host, "slept"), "done");
}

/// Nothing in flight is finished: neither streams nor work after responses.
#[test]
fn a_termination_does_not_drain() {
    let host = probe();
    let mut client = host.connect();
    client.send("GET", "/stream?chunks=600&gap_ms=100", &[], b"");
    client.try_read_head().unwrap();
    client.read_chunk().unwrap();
    let took = host.terminate();
    assert!(took < Duration::from_secs(20), "it took {took:?} to end");
    while let Some(chunk) = client.read_chunk() {
        assert_ne!(chunk, b"", "the stream was ended as if it were whole");
    }
}
