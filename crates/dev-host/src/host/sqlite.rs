//! `spin:sqlite/sqlite@3.1.0` on SQLite files. A connection is opened per `open`, on its first statement; without a
//! path every connection is a database of its own.

use super::{ChannelStream, Host};
use crate::bindings::spin::sqlite::sqlite as wit;
use crate::instance::InstanceState;
use crate::kv::MAX_RESULT_BYTES;
use crate::stats;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::{Value, ValueRef};
use spin_app::runtime_config::SqliteDatabase;
use std::mem::{size_of, size_of_val};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// How many rows are read ahead of the guest.
const ROW_STREAM_SLOTS: usize = 4;

/// A guest's connection.
#[derive(Clone)]
pub struct Connection {
    database: SqliteDatabase,
    opened: Arc<OnceLock<Mutex<rusqlite::Connection>>>,
}

impl Connection {
    fn new(database: SqliteDatabase) -> Self {
        Self { database, opened: Arc::default() }
    }

    /// The open connection, for one statement.
    fn lock(&self) -> Result<MutexGuard<'_, rusqlite::Connection>, wit::Error> {
        let opened = match self.opened.get() {
            Some(opened) => opened,
            None => {
                let new = self.connect().map_err(io)?;
                self.opened.get_or_init(|| Mutex::new(new))
            }
        };
        Ok(opened.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn connect(&self) -> rusqlite::Result<rusqlite::Connection> {
        let connection = match &self.database.path {
            Some(path) => rusqlite::Connection::open(path)?,
            None => rusqlite::Connection::open_in_memory()?,
        };
        if !self.database.is_attach_allowed {
            connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
                AuthAction::Attach { filename } if !matches!(filename, "" | ":memory:") => {
                    Authorization::Deny
                }
                _ => Authorization::Allow,
            }));
        }
        Ok(connection)
    }

    fn execute(&self, statement: &str, parameters: Vec<wit::Value>) -> Result<wit::QueryResult, wit::Error> {
        let connection = self.lock()?;
        let mut statement = connection.prepare_cached(statement).map_err(io)?;
        let columns = column_names(&statement);
        let begun = Begun::new(&connection, &statement);
        let mut bytes = size_of::<wit::QueryResult>();
        let mut rows = Vec::new();
        let mut found = statement.query(bind(parameters)).map_err(io)?;
        while let Some(row) = found.next().map_err(io)? {
            let row = row_result(row, columns.len()).map_err(io)?;
            bytes += row_bytes(&row);
            if bytes > MAX_RESULT_BYTES {
                return Err(too_big());
            }
            rows.push(row);
        }
        begun.ended(&connection);
        Ok(wit::QueryResult { columns, rows })
    }

    /// Sends the column names, then the rows as there is room. Holds the connection until done.
    fn stream(
        &self,
        statement: &str,
        parameters: Vec<wit::Value>,
        columns_tx: oneshot::Sender<Vec<String>>,
        rows_tx: &mpsc::Sender<wit::RowResult>,
    ) -> Result<(), wit::Error> {
        let connection = self.lock()?;
        let mut statement = match connection.prepare_cached(statement) {
            Ok(statement) => statement,
            Err(error) => {
                // The guest learns of the error from the future, after no columns and no rows.
                let _ = columns_tx.send(Vec::new());
                return Err(io(error));
            }
        };
        let columns = column_names(&statement);
        let begun = Begun::new(&connection, &statement);
        let width = columns.len();
        let _ = columns_tx.send(columns);
        let mut found = statement.query(bind(parameters)).map_err(io)?;
        while let Some(row) = found.next().map_err(io)? {
            let row = row_result(row, width).map_err(io)?;
            if row_bytes(&row) > MAX_RESULT_BYTES {
                return Err(too_big());
            }
            rows_tx.blocking_send(row).map_err(io)?;
        }
        begun.ended(&connection);
        Ok(())
    }
}

/// A statement that is about to run, as far as counting transactions takes it.
struct Begun {
    is_in_transaction: bool,
    is_read_only: bool,
}

impl Begun {
    fn new(connection: &rusqlite::Connection, statement: &rusqlite::Statement<'_>) -> Self {
        Self { is_in_transaction: !connection.is_autocommit(), is_read_only: statement.readonly() }
    }

    /// A write on its own is a transaction; those in a transaction count as one when it ends.
    fn ended(&self, connection: &rusqlite::Connection) {
        let may_have_written = self.is_in_transaction || !self.is_read_only;
        stats::sqlite(may_have_written && connection.is_autocommit());
    }
}

fn io(error: impl std::fmt::Display) -> wit::Error {
    wit::Error::Io(error.to_string())
}

fn too_big() -> wit::Error {
    wit::Error::Io(format!("query result exceeds limit of {MAX_RESULT_BYTES} bytes"))
}

fn column_names(statement: &rusqlite::Statement<'_>) -> Vec<String> {
    statement.column_names().into_iter().map(str::to_owned).collect()
}

fn bind(parameters: Vec<wit::Value>) -> impl rusqlite::Params {
    rusqlite::params_from_iter(parameters.into_iter().map(|value| match value {
        wit::Value::Integer(value) => Value::Integer(value),
        wit::Value::Real(value) => Value::Real(value),
        wit::Value::Text(value) => Value::Text(value),
        wit::Value::Blob(value) => Value::Blob(value),
        wit::Value::Null => Value::Null,
    }))
}

fn row_result(row: &rusqlite::Row<'_>, width: usize) -> rusqlite::Result<wit::RowResult> {
    let values = (0..width)
        .map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => wit::Value::Null,
                ValueRef::Integer(value) => wit::Value::Integer(value),
                ValueRef::Real(value) => wit::Value::Real(value),
                ValueRef::Text(_) => wit::Value::Text(row.get(column)?),
                ValueRef::Blob(value) => wit::Value::Blob(value.to_vec()),
            })
        })
        .collect::<rusqlite::Result<_>>()?;
    Ok(wit::RowResult { values })
}

fn row_bytes(row: &wit::RowResult) -> usize {
    let own = row.values.iter().map(|value| match value {
        wit::Value::Text(text) => text.len(),
        wit::Value::Blob(blob) => blob.len(),
        wit::Value::Integer(_) | wit::Value::Real(_) | wit::Value::Null => 0,
    });
    own.sum::<usize>() + size_of_val(row.values.as_slice())
}

impl InstanceState {
    fn open_database(&mut self, label: &str) -> Result<Resource<Connection>, wit::Error> {
        let Some(database) = self.component.databases.get(label) else {
            return Err(wit::Error::AccessDenied);
        };
        let connection = Connection::new(database.clone());
        self.table.push(connection).map_err(|_| wit::Error::Io("too many connections opened".to_owned()))
    }

    fn connection(&self, connection: &Resource<Connection>) -> Result<Connection, wit::Error> {
        match self.table.get(connection) {
            Ok(connection) => Ok(connection.clone()),
            Err(_) => Err(wit::Error::InvalidConnection),
        }
    }

    fn row_count(&self, connection: &Resource<Connection>) -> wasmtime::Result<u64> {
        Ok(self.connection(connection)?.lock()?.changes())
    }

    fn row_id(&self, connection: &Resource<Connection>) -> wasmtime::Result<i64> {
        Ok(self.connection(connection)?.lock()?.last_insert_rowid())
    }
}

impl wit::Host for InstanceState {
    fn convert_error(&mut self, error: wit::Error) -> wasmtime::Result<wit::Error> {
        Ok(error)
    }
}

impl wit::HostConnection for InstanceState {
    async fn open(&mut self, database: String) -> Result<Resource<Connection>, wit::Error> {
        self.open_database(&database)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Result<wit::QueryResult, wit::Error> {
        let connection = self.connection(&connection)?;
        spawn_blocking(move || connection.execute(&statement, parameters)).await.map_err(io)?
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        self.row_count(&connection)
    }

    async fn last_insert_rowid(&mut self, connection: Resource<Connection>) -> wasmtime::Result<i64> {
        self.row_id(&connection)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> wit::HostConnectionWithStore<T> for Host {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> Result<Resource<Connection>, wit::Error> {
        accessor.with(|mut access| access.get().open_database(&database))
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Result<(Vec<String>, StreamReader<wit::RowResult>, FutureReader<Result<(), wit::Error>>), wit::Error>
    {
        let connection = accessor.with(|mut access| access.get().connection(&connection))?;
        let (columns_tx, columns_rx) = oneshot::channel();
        let (rows_tx, rows_rx) = mpsc::channel(ROW_STREAM_SLOTS);
        let (end_tx, end_rx) = oneshot::channel::<Result<(), wit::Error>>();
        spawn_blocking(move || {
            let end = connection.stream(&statement, parameters, columns_tx, &rows_tx);
            let _ = end_tx.send(end);
        });
        let columns = columns_rx.await.map_err(io)?;
        let (rows, end) = accessor
            .with(|mut access| {
                wasmtime::error::Ok((
                    StreamReader::new(&mut access, ChannelStream(rows_rx))?,
                    FutureReader::new(&mut access, end_rx)?,
                ))
            })
            .map_err(io)?;
        Ok((columns, rows, end))
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        accessor.with(|mut access| access.get().row_count(&connection))
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        accessor.with(|mut access| access.get().row_id(&connection))
    }
}
