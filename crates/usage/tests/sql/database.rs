//! A SQLite database in memory that runs this crate's statements the way a host does.

use contracts::UsageRecord;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use usage::{Statement, Value};

/// A database with the schema in place.
pub struct Database(Connection);

impl Database {
    /// Empty but for the schema.
    pub fn new() -> Self {
        let database = Database(Connection::open_in_memory().unwrap());
        for statement in usage::schema_statements() {
            database.run(&statement);
        }
        database
    }

    /// Runs one statement and collects its rows.
    pub fn run(&self, statement: &Statement) -> Vec<Vec<Value>> {
        let mut prepared = self.0.prepare(&statement.sql).unwrap();
        let columns = prepared.column_count();
        let rows = prepared.query_map(params_from_iter(statement.parameters.iter().map(Parameter)), |row| {
            (0..columns).map(|index| Ok(cell(row.get_ref(index)?))).collect()
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
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
