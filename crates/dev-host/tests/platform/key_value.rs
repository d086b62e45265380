//! Key-value stores: the embedded file, memory, and the atomic operations on both.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Host, Launch, at_once, once_in, timed};

const IN_MEMORY: &str = "[key_value_store.default]\ntype = 'spin'\n";

fn probe() -> Launch {
    Launch::probe("key_value_stores = ['default']")
}

/// The value bytes of a key in the file the host wrote.
fn in_file(host: &Host, key: &str) -> Vec<u8> {
    let file = rusqlite::Connection::open(host.path(".spin/sqlite_key_value.db")).unwrap();
    let query = "SELECT value FROM spin_key_value WHERE store = 'default' AND key = ?1";
    file.query_row(query, [key], |row| row.get(0)).unwrap()
}

#[test]
fn values_are_set_read_listed_and_deleted() {
    let host = probe().start();
    assert_eq!(host.get("/kv/get?key=a").status, 404);
    assert_eq!(host.get("/kv/exists?key=a").ok(), "false");
    host.post("/kv/set?key=a", "first").ok();
    host.post("/kv/set?key=a", [0, 159, 255]).ok();
    host.post("/kv/set?key=b", "").ok();
    assert_eq!(host.get("/kv/get?key=a").body, [0, 159, 255]);
    assert_eq!(host.get("/kv/get?key=b").ok(), "");
    assert_eq!(host.get("/kv/exists?key=b").ok(), "true");
    assert_eq!(host.get("/kv/keys").ok(), r#"["a","b"]"#);
    host.get("/kv/delete?key=a").ok();
    host.get("/kv/delete?key=a").ok();
    assert_eq!(host.get("/kv/keys").ok(), r#"["b"]"#);
}

#[test]
fn the_default_store_survives_a_restart_in_its_file() {
    let host = probe().start();
    host.post("/kv/set?key=kept", "value").ok();
    assert_eq!(in_file(&host, "kept"), b"value");
    assert_eq!(host.restart().get("/kv/get?key=kept").ok(), "value");
}

#[test]
fn the_state_directory_may_be_elsewhere() {
    let elsewhere = tempfile::TempDir::new().unwrap();
    let host = probe().argument("--state-dir").argument(elsewhere.path().to_str().unwrap()).start();
    host.post("/kv/set?key=kept", "value").ok();
    assert!(elsewhere.path().join("sqlite_key_value.db").exists());
    assert!(!host.path(".spin/sqlite_key_value.db").exists());
}

#[test]
fn a_store_in_memory_forgets_at_a_restart() {
    let host = probe().runtime_config(IN_MEMORY).start();
    host.post("/kv/set?key=lost", "value").ok();
    assert_eq!(host.get("/kv/get?key=lost").ok(), "value");
    assert!(!host.path(".spin/sqlite_key_value.db").exists());
    assert_eq!(host.restart().get("/kv/get?key=lost").status, 404);
}

#[test]
fn stores_of_different_labels_are_apart() {
    let in_one_file = "[key_value_store.other]\ntype = 'spin'\npath = 'other.db'\n\
                       [key_value_store.neighbour]\ntype = 'spin'\npath = 'other.db'\n";
    let host = Launch::probe("key_value_stores = ['default', 'other', 'neighbour']")
        .runtime_config(in_one_file)
        .start();
    for store in ["default", "other", "neighbour"] {
        host.post(&format!("/kv/set?key=a&store={store}"), store).ok();
    }
    for store in ["default", "other", "neighbour"] {
        assert_eq!(host.get(&format!("/kv/get?key=a&store={store}")).ok(), store);
        assert_eq!(host.get(&format!("/kv/keys?store={store}")).ok(), r#"["a"]"#);
    }
    host.get("/kv/delete?key=a&store=other").ok();
    assert_eq!(host.get("/kv/keys?store=other").ok(), "[]");
    assert_eq!(host.get("/kv/get?key=a&store=neighbour").ok(), "neighbour");
    assert!(host.path("other.db").exists());
}

#[test]
fn a_store_the_component_does_not_declare_is_denied() {
    let host = probe().start();
    for path in ["/kv/get?key=a&store=other", "/kv/increment?key=a&delta=1&store=other"] {
        assert_eq!(host.get(path).host_error(), "Error::AccessDenied", "{path}");
    }
    assert_eq!(Launch::probe("").start().get("/kv/get?key=a").host_error(), "Error::AccessDenied");
}

#[test]
fn a_declared_label_without_a_configured_store_is_refused_by_name() {
    let said = Launch::probe("key_value_stores = ['unconfigured']").refused();
    assert!(said.contains("unconfigured"), "{said}");
}

#[test]
fn counters_start_at_zero_and_go_both_ways() {
    let host = probe().start();
    for (delta, sum) in [(0, "0"), (5, "5"), (-7, "-2"), (0, "-2")] {
        assert_eq!(host.get(&format!("/kv/increment?key=n&delta={delta}")).ok(), sum, "{delta}");
    }
}

#[test]
fn a_counter_is_eight_little_endian_bytes() {
    let host = probe().start();
    host.get("/kv/increment?key=n&delta=258").ok();
    assert_eq!(in_file(&host, "n"), 258_i64.to_le_bytes());
    assert_eq!(host.get("/kv/get?key=n").body, 258_i64.to_le_bytes());
}

#[test]
fn parallel_increments_of_the_file_are_exact() {
    increments_are_exact(&probe().start());
}

#[test]
fn parallel_increments_in_memory_are_exact() {
    increments_are_exact(&probe().runtime_config(IN_MEMORY).start());
}

/// 400 increments by 40 clients; every sum from 1 to 400 is answered once.
pub fn increments_are_exact(host: &Host) {
    let sums = at_once(40, |_| -> Vec<u32> {
        (0..10).map(|_| host.get("/kv/increment?key=n&delta=1").ok().parse().unwrap()).collect()
    });
    let mut sums: Vec<_> = sums.into_iter().flatten().collect();
    sums.sort_unstable();
    assert!(sums.iter().copied().eq(1..=400), "{sums:?}");
    assert_eq!(host.get("/kv/increment?key=n&delta=0").ok(), "400");
}

/// Spin panics with its lock held and every later call finds the lock poisoned.
#[test]
fn incrementing_what_is_not_a_counter_breaks_key_value_until_the_restart() {
    let host = probe().start();
    host.post("/kv/set?key=text", "not a counter").ok();
    host.post("/kv/set?key=other", "fine").ok();
    assert_eq!(host.get("/kv/increment?key=text&delta=1").status, 500);
    // What becomes of an instance that waits on the broken call is not the point; later ones are.
    std::thread::sleep(Duration::from_millis(100));
    for path in ["/kv/get?key=other", "/kv/increment?key=counter&delta=1"] {
        assert_eq!(host.get(path).status, 500, "{path}");
    }
    assert_eq!(host.get("/size").ok(), "0", "what uses no key-value store is still served");
    assert_eq!(host.restart().get("/kv/get?key=other").ok(), "fine");
}

#[test]
fn a_swap_succeeds_unless_the_value_changed_since_the_look() {
    let host = probe().start();
    host.post("/kv/set?key=a", "old").ok();
    assert_eq!(host.post("/kv/swap?key=a", "new").ok(), "swapped");
    assert_eq!(host.get("/kv/get?key=a").ok(), "new");
    assert_eq!(host.post("/kv/swap?key=a&meddle=meddled", "newer").ok(), "failed, now meddled");
    assert_eq!(host.get("/kv/get?key=a").ok(), "meddled");
}

/// As in Spin: a swap that saw no value overwrites whatever is there by then.
#[test]
fn a_swap_of_an_absent_key_always_succeeds() {
    let host = probe().start();
    assert_eq!(host.post("/kv/swap?key=absent&meddle=meddled", "mine").ok(), "swapped");
    assert_eq!(host.get("/kv/get?key=absent").ok(), "mine");
}

#[test]
fn many_values_are_written_read_and_deleted_in_one_go() {
    for launch in [probe(), probe().runtime_config(IN_MEMORY)] {
        let host = launch.start();
        host.post("/kv/set-many?keys=a,b,c", "value").ok();
        host.get("/kv/delete-many?keys=b,absent").ok();
        assert_eq!(host.get("/kv/keys").ok(), r#"["a","c"]"#);
        let mut read: Vec<(String, Option<String>)> =
            serde_json::from_value(host.get("/kv/get-many?keys=c,a").json()).unwrap();
        read.sort();
        let value = || Some("value".to_owned());
        assert_eq!(read, [("a".to_owned(), value()), ("c".to_owned(), value())]);
    }
}

/// So keys are to be collected before anything else is asked of a store: in the same instance, which it blocks, it would
/// wait for ever.
#[test]
fn while_keys_are_listed_nobody_else_gets_at_the_file() {
    let host = Launch::new(
        "
        spin_manifest_version = 2
        [application]
        name = 'two'
        [[trigger.http]]
        route = '/listing/...'
        component = 'listing'
        [[trigger.http]]
        route = '/other/...'
        component = 'other'
        [component.listing]
        source = 'BEHAVIOUR'
        key_value_stores = ['default']
        [component.other]
        source = 'BEHAVIOUR'
        key_value_stores = ['default']
        ",
    )
    .start();
    let _machine = timed();
    host.post("/other/kv/set?key=few", "value").ok();
    for (more_keys, is_held_up) in [(0, false), (100, true)] {
        let mut file = rusqlite::Connection::open(host.path(".spin/sqlite_key_value.db")).unwrap();
        let inserts = file.transaction().unwrap();
        for number in 0..more_keys {
            let insert = "INSERT INTO spin_key_value (store, key, value) VALUES ('default', ?1, x'00')";
            inserts.execute(insert, [format!("key {number}")]).unwrap();
        }
        inserts.commit().unwrap();
        let other_answers_after = || {
            let mut listing = host.connect();
            listing.send("GET", "/listing/kv/count-slowly?ms=1500", &[], b"");
            thread::sleep(Duration::from_millis(500));
            let asked = Instant::now();
            assert_eq!(host.get("/other/kv/get?key=few").ok(), "value");
            let took = asked.elapsed();
            assert_eq!(listing.read().ok(), (more_keys + 1).to_string());
            took
        };
        once_in(5, &format!("held up by {more_keys} more keys: {is_held_up}"), other_answers_after, |took| {
            (*took > Duration::from_millis(700)) == is_held_up
        });
    }
}
