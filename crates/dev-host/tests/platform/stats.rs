//! What `--stats` counts: Spin has nothing of the kind, and the benchmarks rest on it.

use crate::support::{Host, Launch, Origin, eventually};
use serde_json::{Value, json};

const PATH: &str = "/.well-known/dev-host/stats";

fn stats(host: &Host) -> Value {
    host.get(PATH).json()
}

#[test]
fn nothing_is_counted_unless_it_is_asked_for() {
    // The probe's own answer.
    let host = Launch::probe("").start();
    assert_eq!(host.get(PATH).status, 404);
}

#[test]
fn what_components_do_is_counted_by_its_kind() {
    let origin = Origin::saying("hello");
    let host = Launch::probe(
        "key_value_stores = ['default']\nsqlite_databases = ['default']\nallowed_outbound_hosts = ['http://127.0.0.1:*']",
    )
    .argument("--stats")
    .start();
    host.post("/kv/set?key=a", "x").ok();
    host.get("/kv/get?key=a").ok();
    host.get("/kv/get?key=a").ok();
    host.get("/kv/increment?key=n&delta=1").ok();
    host.fetch("/fetch", &origin.url("/"), &[]);
    host.post("/sqlite", "CREATE TABLE t (i)").ok();
    host.post("/sqlite", "SELECT i FROM t").ok();
    let counts = stats(&host);
    assert_eq!(counts["calls"]["probe /kv/get"], 2, "{counts}");
    let key_value = &counts["key_value"];
    for (operation, times) in [("set", 1), ("get", 2), ("increment", 1), ("delete", 0)] {
        assert_eq!(key_value[operation], times, "{operation} in {counts}");
    }
    assert_eq!(counts["outbound"], 1, "{counts}");
    assert_eq!(counts["sqlite"], json!({"statements": 2, "writes": 1}));
    // Those that live, so none once it was idle for a second.
    eventually("the end of the instances", || (stats(&host)["instances"]["probe"] == 0).then_some(()));
}

/// Clients choose the paths: however many there are, the counts stay small.
#[test]
fn of_paths_the_first_are_told_apart() {
    let host = Launch::probe("").argument("--stats").start();
    for path in 0..100 {
        host.get(&format!("/{path}"));
    }
    host.get("/0");
    let counts = stats(&host);
    assert_eq!(counts["calls"]["probe /0"], 2, "{counts}");
    assert_eq!(counts["calls"]["probe (other)"], 36, "{counts}");
    assert_eq!(counts["calls"].as_object().map(serde_json::Map::len), Some(65), "{counts}");
}
