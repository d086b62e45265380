//! The key-value store in SQLite: Spin's default. Table layout and value encoding are Spin's, so that a file can be
//! used by both.
//!
//! What is kept although it is odd: one mutex for the whole process; a transaction, with its fsync, per write (or what
//! the file's journal mode makes of it); counters are 8-byte little-endian; **`increment` on a key that holds anything
//! else panics and poisons the store for the rest of the process**; reading keys as a stream holds the mutex.

use super::{Error, Pairs, SwapError};
use anyhow::Context as _;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, named_params, params};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS spin_key_value (
    store TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,

    PRIMARY KEY (store, key)
)";
const SELECT: &str = "SELECT value FROM spin_key_value WHERE store=$1 AND key=$2";
const SELECT_KEYS: &str = "SELECT key FROM spin_key_value WHERE store=$1";
const SELECT_MANY: &str = "SELECT key, value FROM spin_key_value WHERE store=:store AND key IN rarray(:keys)";
const UPSERT: &str = "INSERT INTO spin_key_value (store, key, value) VALUES ($1, $2, $3)
    ON CONFLICT(store, key) DO UPDATE SET value=$3";
const DELETE: &str = "DELETE FROM spin_key_value WHERE store=$1 AND key=$2";
const DELETE_MANY: &str = "DELETE FROM spin_key_value WHERE store=:store AND key IN rarray(:keys)";
const SWAP: &str = "UPDATE spin_key_value SET value=:new WHERE store=:store AND key=:key AND value=:old";

/// A database that is opened when a component first needs it.
#[derive(Debug)]
pub struct Database {
    path: Option<PathBuf>,
    connection: OnceLock<Arc<Mutex<Connection>>>,
}

impl Database {
    /// A database that ends with the process.
    pub fn in_memory() -> Self {
        Self { path: None, connection: OnceLock::new() }
    }

    /// A database in the file `path`, whose directory is created now.
    pub fn in_file(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(Self { path: Some(path.to_owned()), connection: OnceLock::new() })
    }

    /// The store with the given name in this database.
    pub fn open(&self, name: &str) -> Result<Store, Error> {
        // Every time, as Spin does: opening costs a change of threads even when there is nothing to do.
        let connection = block_in_place(|| match self.connection.get() {
            Some(connection) => Ok(connection),
            None => {
                let new = self.connect().map_err(Error::other)?;
                Ok(self.connection.get_or_init(|| Arc::new(Mutex::new(new))))
            }
        })?;
        Ok(Store { name: name.into(), connection: connection.clone() })
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = match &self.path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.execute(CREATE_TABLE, [])?;
        rusqlite::vtab::array::load_module(&connection)?;
        Ok(connection)
    }
}

/// An open store.
#[derive(Clone)]
pub struct Store {
    name: Arc<str>,
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Runs `work` on the connection, which may wait and touch the disk.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        block_in_place(|| work(&mut self.lock())).map_err(Error::other)
    }

    #[allow(
        clippy::expect_used,
        reason = "Spin panics on a poisoned store; what depends on that must fail here too"
    )]
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("the key-value store is poisoned")
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.with(|connection| select(connection, &self.name, key))
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.with(|connection| upsert(connection, &self.name, key, value).map(drop))
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), Error> {
        self.with(|connection| connection.prepare_cached(DELETE)?.execute([&*self.name, key]).map(drop))
    }

    pub(super) fn keys(&self) -> Result<Vec<String>, Error> {
        self.with(|connection| {
            connection.prepare_cached(SELECT_KEYS)?.query_map([&*self.name], |row| row.get(0))?.collect()
        })
    }

    /// Sends every key, waiting for room. Holds the mutex until done, as Spin does.
    pub(super) fn send_keys(&self, keys: &mpsc::Sender<String>) -> Result<(), Error> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(SELECT_KEYS).map_err(Error::other)?;
        let mut rows = statement.query([&*self.name]).map_err(Error::other)?;
        while let Some(row) = rows.next().map_err(Error::other)? {
            let key: String = row.get(0).map_err(Error::other)?;
            keys.blocking_send(key).map_err(Error::other)?;
        }
        Ok(())
    }

    pub(super) fn get_many(&self, keys: Vec<String>) -> Result<Pairs, Error> {
        self.with(|connection| {
            connection
                .prepare_cached(SELECT_MANY)?
                .query_map(named_params! { ":store": &*self.name, ":keys": array(keys) }, |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    pub(super) fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for (key, value) in &pairs {
                upsert(&transaction, &self.name, key, value)?;
            }
            transaction.commit()
        })
    }

    pub(super) fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        self.with(|connection| {
            connection
                .prepare_cached(DELETE_MANY)?
                .execute(named_params! { ":store": &*self.name, ":keys": array(keys) })
                .map(drop)
        })
    }

    pub(super) fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            let old = select(&transaction, &self.name, key)?.map_or(0, |value| counter(&value));
            // Spin's release build wraps around.
            let new = old.wrapping_add(delta);
            upsert(&transaction, &self.name, key, &new.to_le_bytes())?;
            transaction.commit()?;
            Ok(new)
        })
    }
}

#[allow(
    clippy::expect_used,
    reason = "Spin panics here, with the mutex held, and thereby poisons the store for the process"
)]
fn counter(value: &[u8]) -> i64 {
    i64::from_le_bytes(value.try_into().expect("incorrect length"))
}

fn select(connection: &Connection, store: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached(SELECT)?.query_row([store, key], |row| row.get(0)).optional()
}

fn upsert(connection: &Connection, store: &str, key: &str, value: &[u8]) -> rusqlite::Result<usize> {
    connection.prepare_cached(UPSERT)?.execute(params![store, key, value])
}

fn array(keys: Vec<String>) -> Rc<Vec<Value>> {
    Rc::new(keys.into_iter().map(Value::from).collect())
}

/// A compare-and-swap: the value it compares with is the last one it read.
#[derive(Clone)]
pub struct Cas {
    store: Store,
    key: Arc<str>,
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Cas {
    pub(super) fn new(store: Store, key: String) -> Self {
        Self { store, key: key.into(), seen: Arc::default() }
    }

    pub(super) fn restart(&self) -> Self {
        Self { seen: Arc::default(), ..self.clone() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn current(&self) -> Result<Option<Vec<u8>>, Error> {
        let value = self.store.get(&self.key)?;
        self.seen().clone_from(&value);
        Ok(value)
    }

    /// Where the key was absent (or never read) this simply sets it, so of two racers both win, as in Spin.
    pub(super) fn swap(&self, value: &[u8]) -> Result<(), SwapError> {
        let old = self.seen().clone();
        let changed = self.store.with(|connection| match old {
            Some(old) => connection.prepare_cached(SWAP)?.execute(named_params! {
                ":store": &*self.store.name,
                ":key": &*self.key,
                ":old": old,
                ":new": value,
            }),
            None => upsert(connection, &self.store.name, &self.key, value),
        });
        match changed {
            Ok(1) => Ok(()),
            Ok(_) => Err(SwapError::Stale),
            Err(Error::Other(reason)) => Err(SwapError::Other(reason)),
            Err(error) => Err(SwapError::Other(format!("{error:?}"))),
        }
    }
}
