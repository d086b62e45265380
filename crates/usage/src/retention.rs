//! Deleting what is too old: who does it, when, and how much at a time.
//!
//! Several instances write to one database, and each may find that it is time. A claim, a row with an instant in it, lets
//! one of them through an hour. It deletes a few rows per statement and pauses after each, so that no batch waits longer
//! than for one such statement; and it stops after a number of them, to go on a minute later.

use crate::sql::{Statement, Value};

/// From one sweep to the next, when nothing is left.
pub const INTERVAL_MS: u64 = 3_600_000;
/// From one sweep to the next, when something is left.
const BACKLOG_INTERVAL_MS: u64 = 60_000;
/// Rows that one statement deletes at most.
const ROWS_PER_STATEMENT: usize = 500;
/// Statements of one sweep: 100,000 rows.
const STATEMENTS_PER_SWEEP: usize = 200;
const DAY_MS: u64 = 86_400_000;

/// The table of claims; one row, `retention`.
pub(crate) const CREATE_CLAIMS: &str = "CREATE TABLE IF NOT EXISTS usage_claims (name TEXT NOT NULL PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID";

/// The tables that are swept, each with its key, which begins with or is found by the time.
const TABLES: [(&str, &str); 2] = [("usage_records", "at_ms, record_id"), ("events", "event_id")];

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Rows deleted.
    pub deleted: u64,
    /// Whether there is more, for the next sweep.
    pub is_backlog: bool,
}

/// Deletes records and events that are older than `retain_days`, if nobody else has claimed to.
///
/// `run` runs one statement and returns its rows; `pause` lets others to the database. 0 days: nothing is ever deleted.
/// `None` when it is another's turn, or nobody's yet.
///
/// # Errors
/// As `run` has them; the rest is left to a later sweep.
pub async fn sweep<E>(
    retain_days: u32,
    now_ms: u64,
    run: impl AsyncFn(Statement) -> Result<Vec<Vec<Value>>, E>,
    pause: impl AsyncFn(),
) -> Result<Option<Sweep>, E> {
    let oldest_ms = now_ms.saturating_sub(u64::from(retain_days).saturating_mul(DAY_MS));
    if retain_days == 0 || run(claim(now_ms)).await?.is_empty() {
        return Ok(None);
    }
    let mut done = Sweep { deleted: 0, is_backlog: false };
    let mut statements_left = STATEMENTS_PER_SWEEP;
    for (table, key) in TABLES {
        loop {
            if statements_left == 0 {
                done.is_backlog = true;
                run(come_back(now_ms)).await?;
                return Ok(Some(done));
            }
            statements_left -= 1;
            let rows = run(delete(table, key, oldest_ms)).await?.len();
            done.deleted += rows as u64;
            if rows < ROWS_PER_STATEMENT {
                break;
            }
            pause().await;
        }
    }
    Ok(Some(done))
}

/// A row if the claim is ours now. One that reaches further than ours would was made by a clock that went wrong.
fn claim(now_ms: u64) -> Statement {
    let until_ms = Value::count(now_ms.saturating_add(INTERVAL_MS));
    Statement {
        sql: "INSERT INTO usage_claims (name, until_ms) VALUES ('retention', ?) \
              ON CONFLICT (name) DO UPDATE SET until_ms = excluded.until_ms \
              WHERE usage_claims.until_ms <= ? OR usage_claims.until_ms > ? RETURNING until_ms"
            .to_owned(),
        parameters: vec![until_ms.clone(), Value::count(now_ms), until_ms],
    }
}

fn come_back(now_ms: u64) -> Statement {
    Statement {
        sql: "UPDATE usage_claims SET until_ms = ? WHERE name = 'retention'".to_owned(),
        parameters: vec![Value::count(now_ms.saturating_add(BACKLOG_INTERVAL_MS))],
    }
}

/// One row for each one that it deleted. The oldest first, so that a sweep that is cut short leaves no holes.
fn delete(table: &str, key: &str, oldest_ms: u64) -> Statement {
    Statement {
        sql: format!(
            "DELETE FROM {table} WHERE ({key}) IN \
             (SELECT {key} FROM {table} WHERE at_ms < ? ORDER BY at_ms LIMIT {ROWS_PER_STATEMENT}) RETURNING 1"
        ),
        parameters: vec![Value::count(oldest_ms)],
    }
}
