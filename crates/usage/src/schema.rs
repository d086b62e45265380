//! The tables, and how a database of any age comes to have them.
//!
//! A new database and an old one take the same way: what is missing is created, column by column. Every added column has
//! a default, so that what an older build writes meanwhile stays readable. Each step may be taken twice, and by several
//! instances at once.

use std::fmt::Display;

use crate::event_row;
use crate::retention::CREATE_CLAIMS;
use crate::sql::{Statement, Value};

/// Version of the schema below, kept in the table `usage_schema`.
///
/// A table rather than `PRAGMA user_version`, which a remote libSQL may refuse.
pub const SCHEMA_VERSION: i64 = 4;

/// As version 1 had it.
const CREATE_RECORDS: &str = "\
CREATE TABLE IF NOT EXISTS usage_records (
    record_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    team TEXT NOT NULL,
    app TEXT NOT NULL,
    model TEXT NOT NULL,
    deployment TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error_code TEXT NOT NULL,
    cache TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    cost_nano_usd INTEGER,
    latency_ms INTEGER NOT NULL,
    ttft_ms INTEGER,
    day TEXT NOT NULL,
    PRIMARY KEY (at_ms, record_id)
) WITHOUT ROWID";

const TEXT: &str = "TEXT NOT NULL DEFAULT ''";
const COUNT: &str = "INTEGER NOT NULL DEFAULT 0";
/// A JSON array.
const LIST: &str = "TEXT NOT NULL DEFAULT '[]'";

/// Columns of `usage_records` that versions 2, 3 and 4 added; 3 and 4 one each, the last two.
const ADDED: [(&str, &str); 10] = [
    ("tags", LIST),
    ("user", TEXT),
    ("pool", TEXT),
    ("route", TEXT),
    ("observed", LIST),
    ("retried_usage", LIST),
    ("retried_prompt_tokens", COUNT),
    ("retried_completion_tokens", COUNT),
    ("uncounted", COUNT),
    ("mirror", COUNT),
];

/// Why a database cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError<E: Display> {
    /// The database failed.
    #[error("{0}")]
    Database(E),
    /// It was made by another build.
    #[error("the schema's version is {0:?}, and this build knows versions up to {SCHEMA_VERSION} only")]
    UnknownVersion(Option<Value>),
}

impl<E: Display> From<E> for SchemaError<E> {
    fn from(error: E) -> Self {
        SchemaError::Database(error)
    }
}

/// Brings a database to this schema; `run` runs one statement and returns its rows. One query if there is nothing to do.
///
/// # Errors
/// A database of a later version is refused rather than written to.
pub async fn prepare<E: Display>(
    run: impl AsyncFn(Statement) -> Result<Vec<Vec<Value>>, E>,
) -> Result<(), SchemaError<E>> {
    // A database without the table has no version, and one that is out of order says so at the next statement.
    match version(&run).await.unwrap_or_default() {
        Some(Value::Integer(SCHEMA_VERSION)) => return Ok(()),
        None | Some(Value::Integer(1..SCHEMA_VERSION)) => {}
        other => return Err(SchemaError::UnknownVersion(other)),
    }
    let [create_events, index_events] = event_row::CREATE;
    for sql in [
        CREATE_RECORDS,
        "CREATE INDEX IF NOT EXISTS usage_records_by_team ON usage_records (team, at_ms)",
        create_events,
        index_events,
        CREATE_CLAIMS,
        "CREATE TABLE IF NOT EXISTS usage_schema (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), version INTEGER NOT NULL)",
    ] {
        run(Statement::plain(sql)).await?;
    }
    for (column, definition) in ADDED {
        add_column(&run, column, definition).await?;
    }
    let sql = format!(
        "INSERT INTO usage_schema (only_row, version) VALUES (1, {SCHEMA_VERSION}) \
         ON CONFLICT (only_row) DO UPDATE SET version = {SCHEMA_VERSION} WHERE version < {SCHEMA_VERSION}"
    );
    run(Statement::plain(sql)).await?;
    match version(&run).await? {
        Some(Value::Integer(SCHEMA_VERSION)) => Ok(()),
        other => Err(SchemaError::UnknownVersion(other)),
    }
}

async fn version<E>(run: &impl AsyncFn(Statement) -> Result<Vec<Vec<Value>>, E>) -> Result<Option<Value>, E> {
    let rows = run(Statement::plain("SELECT version FROM usage_schema")).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()))
}

/// Adds a column that is missing. SQLite has no `ADD COLUMN IF NOT EXISTS`, and another instance may be at the same.
async fn add_column<E>(
    run: &impl AsyncFn(Statement) -> Result<Vec<Vec<Value>>, E>,
    column: &str,
    definition: &str,
) -> Result<(), E> {
    if has_column(run, column).await? {
        return Ok(());
    }
    let sql = format!("ALTER TABLE usage_records ADD COLUMN {column} {definition}");
    match run(Statement::plain(sql)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if has_column(run, column).await? {
                return Ok(());
            }
            Err(error)
        }
    }
}

async fn has_column<E>(
    run: &impl AsyncFn(Statement) -> Result<Vec<Vec<Value>>, E>,
    column: &str,
) -> Result<bool, E> {
    let sql = "SELECT name FROM pragma_table_info('usage_records') WHERE name = ?".to_owned();
    let parameters = vec![Value::Text(column.to_owned())];
    Ok(!run(Statement { sql, parameters }).await?.is_empty())
}
