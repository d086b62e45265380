//! The store operations, on handles that an instance keeps, as the gateway's components do.

use crate::internal;
use contracts::UsageRecord;
use raw_http::ErrorCode;
use spin_sdk::experimental::wasi::keyvalue::{atomics, batch, store as wasi_store};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{self, Connection};
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::random::random::get_random_u64;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use usage::{Statement, Value};

const LABEL: &str = "default";
/// The counter of the one consumer that the benchmark has.
const COUNTER: &str = "probe:counter";
const SECOND_NS: u64 = 1_000_000_000;

thread_local! {
    // Opening is a change of threads or a command each time, so the gateway's components do it once per instance.
    static STORE: RefCell<Option<Rc<Store>>> = const { RefCell::new(None) };
    static BUCKET: RefCell<Option<wasi_store::Bucket>> = const { RefCell::new(None) };
    static DATABASE: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
    /// By the monotonic clock, in ns; none before the first.
    static LAST_SECOND: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Whether a second has passed since this was last true in this instance.
pub fn is_second_over() -> bool {
    let now = monotonic_clock::now();
    let is_over = LAST_SECOND.get().is_none_or(|last| now.saturating_sub(last) >= SECOND_NS);
    if is_over {
        LAST_SECOND.set(Some(now));
    }
    is_over
}

/// A read on a handle of its own, as the router's breakers make it.
pub async fn open_and_read(key: &str) -> Result<(), ErrorCode> {
    let store = Store::open_default().await.map_err(internal)?;
    store.get(key).await.map_err(internal)?;
    Ok(())
}

/// A read.
pub async fn read(key: &str) -> Result<(), ErrorCode> {
    let store = match STORE.with_borrow(Clone::clone) {
        Some(store) => store,
        None => {
            let store = Rc::new(Store::open_default().await.map_err(internal)?);
            STORE.set(Some(Rc::clone(&store)));
            store
        }
    };
    store.get(key).await.map_err(internal)?;
    Ok(())
}

/// What one check of the limiter takes: the minute before is read, this one is added to.
pub async fn read_and_increment() -> Result<(), ErrorCode> {
    read("probe:absent").await?;
    with_bucket(|bucket| atomics::increment(bucket, COUNTER, 1).map(drop))
}

/// Writes `body` cut into so many values, each under a new key.
pub fn set_many(body: &[u8], values: usize) -> Result<(), ErrorCode> {
    let value_bytes = body.len().div_ceil(values).max(1);
    let pairs: Vec<_> = body
        .chunks(value_bytes)
        // As long as a key of the cache.
        .map(|value| (format!("probe:{:064x}", get_random_u64()), value.to_vec()))
        .collect();
    with_bucket(|bucket| batch::set_many(bucket, &pairs))
}

fn with_bucket<T>(
    work: impl FnOnce(&wasi_store::Bucket) -> Result<T, wasi_store::Error>,
) -> Result<T, ErrorCode> {
    BUCKET.with_borrow_mut(|bucket| {
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => bucket.insert(wasi_store::open(LABEL).map_err(internal)?),
        };
        work(bucket).map_err(internal)
    })
}

/// Inserts so many rows into the usage logger's table.
pub async fn insert(rows: usize) -> Result<(), ErrorCode> {
    let database = database().await?;
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let record = || UsageRecord {
        record_id: format!("{:032x}", get_random_u64()),
        request_id: format!("{:032x}", get_random_u64()),
        at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        consumer: "bench".to_owned(),
        team: "bench".to_owned(),
        app: "bench".to_owned(),
        model: "mock+text=500".to_owned(),
        pool: "*".to_owned(),
        deployment: "mock/mock+text=500".to_owned(),
        attempts: 1,
        status: 200,
        prompt_tokens: 120,
        completion_tokens: 120,
        cost_nano_usd: Some(1_500_000),
        ..UsageRecord::default()
    };
    let records: Vec<_> = (0..rows).map(|_| record()).collect();
    for statement in usage::insert_statements(&records) {
        execute(&database, statement).await?;
    }
    Ok(())
}

async fn database() -> Result<Rc<Connection>, ErrorCode> {
    if let Some(database) = DATABASE.with_borrow(Clone::clone) {
        return Ok(database);
    }
    let database = Connection::open(LABEL).await.map_err(internal)?;
    for pragma in ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"] {
        // Best effort, as the usage logger has it.
        let _ = execute(&database, Statement { sql: pragma.to_owned(), parameters: Vec::new() }).await;
    }
    usage::prepare(async |statement| execute(&database, statement).await.map_err(Failed))
        .await
        .map_err(internal)?;
    let database = Rc::new(database);
    DATABASE.set(Some(Rc::clone(&database)));
    Ok(database)
}

/// An error that can be displayed.
#[derive(Debug)]
struct Failed(ErrorCode);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

async fn execute(database: &Connection, statement: Statement) -> Result<Vec<Vec<Value>>, ErrorCode> {
    let parameters = statement.parameters.into_iter().map(|parameter| match parameter {
        Value::Null => sqlite::Value::Null,
        Value::Integer(integer) => sqlite::Value::Integer(integer),
        Value::Text(text) => sqlite::Value::Text(text),
    });
    let result = database.execute(statement.sql, parameters).await.map_err(internal)?;
    let rows = result.collect().await.map_err(internal)?;
    Ok(rows.into_iter().map(|row| row.values.into_iter().map(cell).collect()).collect())
}

fn cell(value: sqlite::Value) -> Value {
    match value {
        sqlite::Value::Integer(integer) => Value::Integer(integer),
        sqlite::Value::Text(text) => Value::Text(text),
        // Of no interest: what is read is the schema's version, a number.
        sqlite::Value::Null | sqlite::Value::Real(_) | sqlite::Value::Blob(_) => Value::Null,
    }
}
