//! Redis: as a key-value store, and called directly. The server is a real one.

use crate::instances::{instance, start};
use crate::key_value::increments_are_exact;
use crate::support::{Host, Launch, RedisServer, SETTLING, once_in, timed};
use std::thread;
use std::time::{Duration, Instant};

fn probe_storing_in(server: &RedisServer) -> Host {
    let store =
        |label: &str| format!("[key_value_store.{label}]\ntype = 'redis'\nurl = '{}'\n", server.url());
    Launch::probe("key_value_stores = ['default', 'other']")
        .runtime_config(&format!("{}{}", store("default"), store("other")))
        .start()
}

#[test]
fn a_redis_store_keeps_values_under_their_bare_keys() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    assert_eq!(host.get("/kv/get?key=a").status, 404);
    host.post("/kv/set?key=a", "value").ok();
    assert_eq!(server.command(&["GET", "a"]), "value");
    assert_eq!(host.get("/kv/get?key=a").ok(), "value");
    assert_eq!(host.get("/kv/exists?key=a").ok(), "true");
    assert_eq!(host.get("/kv/keys").ok(), r#"["a"]"#);
    host.get("/kv/delete?key=a").ok();
    assert_eq!(host.get("/kv/exists?key=a").ok(), "false");
}

#[test]
fn the_labels_of_redis_stores_are_not_apart() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    host.post("/kv/set?key=a&store=other", "value").ok();
    assert_eq!(host.get("/kv/get?key=a").ok(), "value");
}

#[test]
fn a_redis_counter_is_decimal_text_and_parallel_increments_are_exact() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    increments_are_exact(&host);
    assert_eq!(server.command(&["GET", "n"]), "400");
    assert_eq!(host.get("/kv/get?key=n").ok(), "400");
}

#[test]
fn incrementing_text_in_redis_is_an_error_and_nothing_more() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    host.post("/kv/set?key=text", "not a counter").ok();
    let reply = host.get("/kv/increment?key=text&delta=1");
    assert!(reply.host_error().contains("not an integer"), "{}", reply.text());
    assert_eq!(host.get("/kv/get?key=text").ok(), "not a counter");
}

#[test]
fn a_component_may_call_an_allowed_redis() {
    let server = RedisServer::start();
    let host = Launch::probe(&format!("allowed_outbound_hosts = ['{}']", server.url())).start();
    let run = |command: &str, body: &str| {
        let path = format!("/redis?address={}&command={command}&key=k", server.url());
        host.post(&path, body).ok().to_owned()
    };
    assert_eq!(run("get", ""), "nil");
    assert_eq!(run("set", "41"), "set");
    assert_eq!(run("get", ""), "41");
    assert_eq!(run("incr", ""), "42");
    assert!(run("execute", "PEXPIRE k 60000").contains("Int64(1)"));
    assert_eq!(server.command(&["GET", "k"]), "42");
}

#[test]
fn a_redis_that_is_not_allowed_is_not_called() {
    let server = RedisServer::start();
    let host = Launch::probe("allowed_outbound_hosts = ['redis://127.0.0.1:1']").start();
    let path = format!("/redis?address={}&command=get&key=k", server.url());
    assert_eq!(host.get(&path).host_error(), "Error::InvalidAddress");
}

/// As in Spin, which asks for `KEYS` where it means `MGET`.
#[test]
fn many_values_are_written_and_deleted_in_redis_but_not_read() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    host.post("/kv/set-many?keys=a,b", "value").ok();
    assert_eq!(server.command(&["GET", "b"]), "value");
    let read = host.get("/kv/get-many?keys=a,b");
    assert!(read.host_error().contains("wrong number of arguments"), "{}", read.text());
    host.get("/kv/delete-many?keys=a,b").ok();
    assert_eq!(server.command(&["EXISTS", "a", "b"]), "0");
}

/// As in Spin: whether the value was swapped cannot be told.
#[test]
fn a_swap_in_redis_says_that_it_failed_whatever_it_did() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    host.post("/kv/set?key=a", "old").ok();
    assert_eq!(host.post("/kv/swap?key=a", "new").ok(), "failed, now new");
    assert_eq!(server.command(&["GET", "a"]), "new");
}

/// The calls of `wasi:keyvalue` are synchronous: while one waits for a store, nothing else in its instance runs.
#[test]
fn waiting_for_a_store_by_wasi_keyvalue_holds_up_the_neighbours_and_by_spin_does_not() {
    let server = RedisServer::start();
    let host = probe_storing_in(&server);
    let _machine = timed();
    for (path, holds_up) in [("/kv/get?key=n", false), ("/kv/increment?key=n&delta=1", true)] {
        let neighbour_answers_after = || {
            // Connects to the store.
            host.get("/kv/increment?key=n&delta=1").ok();
            thread::sleep(SETTLING);
            let (name, requests) = instance(&host);
            thread::sleep(SETTLING);
            let asked = Instant::now();
            let mut neighbour = start(&host, "/sleep?ms=1000");
            thread::sleep(Duration::from_millis(100));
            server.signal("STOP");
            let mut waiting = start(&host, path);
            let (answer, took) = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(2000));
                    server.signal("CONT");
                });
                (neighbour.read().json(), asked.elapsed())
            });
            waiting.read().ok();
            let are_neighbours = answer["instance"] == *name && answer["request"] == requests + 2;
            (took, are_neighbours)
        };
        once_in(5, path, neighbour_answers_after, |(took, are_neighbours)| {
            *are_neighbours && (*took > Duration::from_millis(2000)) == holds_up
        });
    }
}
