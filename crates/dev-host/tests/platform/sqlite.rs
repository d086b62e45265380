//! SQLite databases.

use serde_json::json;

use crate::support::Launch;

fn probe() -> Launch {
    Launch::probe("sqlite_databases = ['default']")
}

#[test]
fn a_database_keeps_rows_of_every_type_and_survives_a_restart() {
    let host = probe().start();
    host.post("/sqlite", "CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB, n TEXT)").ok();
    let insert = "INSERT INTO t VALUES (-5, 1.5, ?, x'00ff', NULL)";
    assert_eq!(host.post("/sqlite?bind=it%27s", insert).json()["changes"], 1);

    let select = "SELECT i, r, s, b, n FROM t";
    let expected = json!([[-5, 1.5, "it's", [0, 255], null]]);
    let table = host.post("/sqlite", select).json();
    assert_eq!(table["columns"], json!(["i", "r", "s", "b", "n"]));
    assert_eq!(table["rows"], expected);
    assert!(host.path(".spin/sqlite_db.db").exists());
    assert_eq!(host.restart().post("/sqlite", select).json()["rows"], expected);
}

#[test]
fn a_faulty_statement_is_reported_by_sqlite() {
    let host = probe().start();
    let reply = host.post("/sqlite", "SELECT nonsense FROM nowhere");
    assert!(reply.host_error().starts_with("Error::Io("), "{}", reply.text());
    assert!(reply.text().contains("nowhere"), "{}", reply.text());
}

#[test]
fn a_database_the_component_does_not_declare_is_denied() {
    let host = probe().start();
    assert_eq!(host.post("/sqlite?db=other", "SELECT 1").host_error(), "Error::AccessDenied");
    assert_eq!(Launch::probe("").start().post("/sqlite", "SELECT 1").host_error(), "Error::AccessDenied");
}

#[test]
fn a_declared_database_that_is_not_configured_is_refused_by_name() {
    let said = Launch::probe("sqlite_databases = ['unconfigured']").refused();
    assert!(said.contains("unconfigured"), "{said}");
}
