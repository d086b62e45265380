//! The platform: variables, the clock, standard output and error, SQLite.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_config::{Problems, UsageConfig};
use spin_sdk::sqlite::{self, Connection};
use spin_sdk::time::sleep;
use spin_sdk::variables;
use spin_sdk::wasip3::spawn;
use usage::{Day, Statement, Value};

use crate::error::Cause;
use crate::platform::{DatabaseFailed, Platform};
use crate::sweep::sweep;

/// Label of the database in the manifest.
const DATABASE: &str = "default";

/// The logger's part of the gateway document, parsed once per instance.
pub async fn config() -> Result<&'static UsageConfig, Cause> {
    static CONFIG: OnceLock<Result<UsageConfig, Problems>> = OnceLock::new();
    let parsed = match CONFIG.get() {
        Some(parsed) => parsed,
        None => {
            let gateway = variable("gateway").await?;
            // Two first requests may both get here; one result is kept, and they are equal.
            CONFIG.get_or_init(|| UsageConfig::parse(&gateway))
        }
    };
    parsed.as_ref().map_err(Cause::Configuration)
}

/// The operator's token, read for each request so that a changed one counts at once; empty: no operator.
pub async fn admin_token() -> Result<String, Cause> {
    variable("admin_token").await
}

async fn variable(name: &'static str) -> Result<String, Cause> {
    variables::get(name).await.map_err(|error| {
        Spin.log(&format!("usage-logger: the variable `{name}` cannot be read: {error:?}"));
        Cause::VariableUnreadable { name }
    })
}

/// Today in UTC.
pub fn today() -> Day {
    Day::of_ms(now_ms()).unwrap_or(Day::LAST)
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Looks for old records after the answer was sent; each instance once in [`SWEEP_CHECK_MS`].
///
/// Whether a sweep is due is decided by the database, for all instances together. This only saves it the question.
pub fn sweep_later(retain_days: u32) {
    let now_ms = now_ms();
    if NEXT_SWEEP_CHECK_MS.get() <= now_ms {
        NEXT_SWEEP_CHECK_MS.set(now_ms.saturating_add(SWEEP_CHECK_MS));
        spawn(async move { sweep(retain_days, now_ms, &Spin).await });
    }
}

/// How soon a backlog is gone on with.
const SWEEP_CHECK_MS: u64 = 60_000;
/// Between two statements of a sweep: some batches' worth.
const PAUSE: Duration = Duration::from_millis(20);

thread_local! {
    /// When this instance asks again whether a sweep is due: milliseconds since the Unix epoch.
    static NEXT_SWEEP_CHECK_MS: Cell<u64> = const { Cell::new(0) };
}

/// Spin.
pub struct Spin;

impl Platform for Spin {
    async fn run(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
        let database = database().await?;
        let rows = execute(&database, statement).await;
        if rows.is_err() {
            forget(&database);
        }
        rows
    }

    /// On a connection of its own: statements on one connection run one after the other, and a report reads for seconds what
    /// a month has written. SQLite's write-ahead log lets it read while others write.
    async fn run_apart(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
        execute(&open().await?, statement).await
    }

    async fn pause(&self) {
        sleep(PAUSE).await;
    }

    fn print(&self, line: &str) {
        // One write per line: several instances share this output, and only a single write keeps a line whole.
        // A failure leaves nowhere to say so.
        let _ = std::io::stdout().write_all(line.as_bytes());
    }

    fn log(&self, line: &str) {
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    }
}

thread_local! {
    /// The instance's connection, with the schema in place; shared by its batches, which each run single short statements.
    ///
    /// Opening the file for each request would cost more than the request, and closing the last connection folds
    /// SQLite's write-ahead log back into the file, which is what the log is there to put off.
    static CONNECTION: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
}

/// The connection; opened, and the schema created, by the instance's first request that needs it.
///
/// Two first requests may both open one; the later stays. Neither waits for the other.
async fn database() -> Result<Rc<Connection>, DatabaseFailed> {
    if let Some(connection) = CONNECTION.with_borrow(Clone::clone) {
        return Ok(connection);
    }
    let connection = Rc::new(open().await?);
    CONNECTION.set(Some(Rc::clone(&connection)));
    Ok(connection)
}

/// A new connection, with the schema in place.
async fn open() -> Result<Connection, DatabaseFailed> {
    let connection = Connection::open(DATABASE).await.map_err(failed)?;
    prepare(&connection).await?;
    Ok(connection)
}

/// Lets the next request open a new connection in place of one that failed.
fn forget(failed: &Rc<Connection>) {
    CONNECTION.with_borrow_mut(|current| {
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(current, failed)) {
            *current = None;
        }
    });
}

async fn prepare(connection: &Connection) -> Result<(), DatabaseFailed> {
    // Best effort: a remote libSQL has its own ways. The write-ahead log, which the file remembers, and NORMAL, which the
    // connection does, make writes cheap: no wait for the disk per batch. Together they are safe from corruption and
    // survive a crash of the host; a power failure can take the last writes, whose lines are on standard output
    // (https://www.sqlite.org/pragma.html#pragma_synchronous).
    for pragma in ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"] {
        let statement = Statement { sql: pragma.to_owned(), parameters: Vec::new() };
        let _ = execute(connection, statement).await;
    }
    usage::prepare(async |statement| execute(connection, statement).await)
        .await
        .map_err(|error| DatabaseFailed(error.to_string()))
}

async fn execute(connection: &Connection, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
    let parameters = statement.parameters.into_iter().map(|parameter| match parameter {
        Value::Null => sqlite::Value::Null,
        Value::Integer(integer) => sqlite::Value::Integer(integer),
        Value::Text(text) => sqlite::Value::Text(text),
    });
    let result = connection.execute(statement.sql, parameters).await.map_err(failed)?;
    let rows = result.collect().await.map_err(failed)?;
    rows.into_iter().map(|row| row.values.into_iter().map(cell).collect()).collect()
}

fn cell(value: sqlite::Value) -> Result<Value, DatabaseFailed> {
    match value {
        sqlite::Value::Null => Ok(Value::Null),
        sqlite::Value::Integer(integer) => Ok(Value::Integer(integer)),
        sqlite::Value::Text(text) => Ok(Value::Text(text)),
        sqlite::Value::Real(_) | sqlite::Value::Blob(_) => {
            Err(DatabaseFailed("a column holds a kind of value that is never written to it".to_owned()))
        }
    }
}

fn failed(error: sqlite::Error) -> DatabaseFailed {
    DatabaseFailed(error.to_string())
}
