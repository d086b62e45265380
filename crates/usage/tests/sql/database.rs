//! A SQLite database in memory that runs this crate's statements the way a host does.

use std::path::Path;

use contracts::UsageRecord;
use futures::executor::block_on;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use usage::{SchemaError, Statement, Value};

/// A database with the schema in place.
pub struct Database(Connection);

impl Database {
    /// Empty but for the schema.
    pub fn new() -> Self {
        let database = Database::empty();
        database.prepare().unwrap();
        database
    }

    /// Empty, in memory.
    pub fn empty() -> Self {
        Database(Connection::open_in_memory().unwrap())
    }

    /// In a file.
    pub fn open(path: &Path) -> Self {
        Database(Connection::open(path).unwrap())
    }

    /// What a host does first.
    pub fn prepare(&self) -> Result<(), SchemaError<String>> {
        block_on(usage::prepare(async |statement| self.try_run(&statement)))
    }

    /// Runs SQL that is not the crate's.
    pub fn script(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    /// Runs one statement and collects its rows.
    pub fn run(&self, statement: &Statement) -> Vec<Vec<Value>> {
        self.try_run(statement).unwrap()
    }

    /// The same, where it may fail.
    pub fn try_run(&self, statement: &Statement) -> Result<Vec<Vec<Value>>, String> {
        self.rows(statement).map_err(|error| error.to_string())
    }

    fn rows(&self, statement: &Statement) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut prepared = self.0.prepare(&statement.sql)?;
        let columns = prepared.column_count();
        let parameters = params_from_iter(statement.parameters.iter().map(Parameter));
        let rows = prepared
            .query_map(parameters, |row| (0..columns).map(|index| Ok(cell(row.get_ref(index)?))).collect())?;
        rows.collect()
    }

    /// Inserts the records.
    pub fn insert(&self, records: &[UsageRecord]) {
        for statement in usage::insert_statements(records) {
            self.run(&statement);
        }
    }
}

struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
        other => panic!("no statement returns {other:?}"),
    }
}
