//! Key-value stores. Decides which backend answers a label and what a component may open; the backends are in
//! [`sqlite`] and [`redis`], the guest interfaces in [`crate::host`].
//!
//! The odd parts of Spin's stores are kept: see each backend.

pub mod redis;
pub mod sqlite;

use crate::stats::{self, KeyValue};
use spin_app::runtime_config::KeyValueStore;
use std::collections::HashMap;
use std::mem::size_of;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The most that one answer may hold, in bytes: Spin's `MAX_HOST_BUFFERED_BYTES`.
pub const MAX_RESULT_BYTES: usize = 128 << 20;

/// The file of the store `default`, in the state directory.
const DEFAULT_STORE_FILE: &str = "sqlite_key_value.db";

/// The label that exists without a runtime config.
const DEFAULT_LABEL: &str = "default";

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No backend has this label.
    NoSuchStore,
    /// The component does not declare this label.
    AccessDenied,
    /// Anything else, in the backend's words.
    Other(String),
}

impl Error {
    fn other(error: impl std::fmt::Debug) -> Self {
        Self::Other(format!("{error:?}"))
    }

    fn too_big() -> Self {
        Self::Other(format!("query result exceeds limit of {MAX_RESULT_BYTES} bytes"))
    }
}

/// Why a compare-and-swap failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapError {
    /// The value changed since it was read.
    Stale,
    /// Anything else.
    Other(String),
}

/// All backends of the application, by label.
#[derive(Debug)]
pub struct Backends {
    by_label: HashMap<String, Arc<Backend>>,
}

/// What is behind one label.
#[derive(Debug)]
enum Backend {
    Sqlite(sqlite::Database),
    Redis(redis::Server),
}

impl Backends {
    /// The backends of the runtime config, and `default` in `state_dir` (in memory without one) unless it is configured.
    pub fn new<'a>(
        configured: impl IntoIterator<Item = (&'a String, &'a KeyValueStore)>,
        state_dir: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut by_label = HashMap::new();
        for (label, config) in configured {
            let backend = match config {
                KeyValueStore::Memory => Backend::Sqlite(sqlite::Database::in_memory()),
                KeyValueStore::File(path) => Backend::Sqlite(sqlite::Database::in_file(path)?),
                KeyValueStore::Redis(url) => Backend::Redis(redis::Server::new(url)?),
            };
            by_label.insert(label.clone(), Arc::new(backend));
        }
        if !by_label.contains_key(DEFAULT_LABEL) {
            let database = match state_dir {
                Some(directory) => sqlite::Database::in_file(&directory.join(DEFAULT_STORE_FILE))?,
                None => sqlite::Database::in_memory(),
            };
            by_label.insert(DEFAULT_LABEL.to_owned(), Arc::new(Backend::Sqlite(database)));
        }
        Ok(Self { by_label })
    }

    /// The stores that a component declares. Errors name a label without a backend.
    pub fn for_component(&self, labels: &[String]) -> anyhow::Result<Stores> {
        let backends = labels
            .iter()
            .map(|label| match self.by_label.get(label) {
                Some(backend) => Ok((label.clone(), backend.clone())),
                None => anyhow::bail!(
                    "unknown key_value_stores label {label:?}: the runtime config has no [key_value_store.{label}]"
                ),
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Stores { backends })
    }
}

/// The stores that one component may open.
#[derive(Debug, Default)]
pub struct Stores {
    backends: HashMap<String, Arc<Backend>>,
}

impl Stores {
    /// Opens the store `label`.
    pub async fn open(&self, label: &str) -> Result<Store, Error> {
        let backend = self.backends.get(label).ok_or(Error::AccessDenied)?;
        match &**backend {
            Backend::Sqlite(database) => Ok(Store::Sqlite(database.open(label)?)),
            Backend::Redis(server) => Ok(Store::Redis(server.open().await?)),
        }
    }
}

/// An open store.
#[derive(Clone)]
pub enum Store {
    /// In a SQLite file or in memory.
    Sqlite(sqlite::Store),
    /// On a Redis server.
    Redis(redis::Store),
}

/// Keys as they are read, and how reading them ended.
pub type KeyStream = (mpsc::Receiver<String>, oneshot::Receiver<Result<(), Error>>);

/// Keys with their values, as `get_many` returns them.
pub type Pairs = Vec<(String, Option<Vec<u8>>)>;

/// How many keys are read ahead of the guest.
const KEY_STREAM_SLOTS: usize = 4;

impl Store {
    /// The value of `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        stats::key_value(KeyValue::Get);
        let value = match self {
            Self::Sqlite(store) => store.get(key)?,
            Self::Redis(store) => store.get(key).await?,
        };
        check_size(value.iter().map(Vec::len), size_of::<Option<Vec<u8>>>())?;
        Ok(value)
    }

    /// Sets `key` to `value`.
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        stats::key_value(KeyValue::Set);
        match self {
            Self::Sqlite(store) => store.set(key, value),
            Self::Redis(store) => store.set(key, value).await,
        }
    }

    /// Removes `key`, if it is there.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        stats::key_value(KeyValue::Delete);
        match self {
            Self::Sqlite(store) => store.delete(key),
            Self::Redis(store) => store.delete(&[key.to_owned()]).await,
        }
    }

    /// Whether `key` is there.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        stats::key_value(KeyValue::Exists);
        match self {
            Self::Sqlite(store) => Ok(store.get(key)?.is_some()),
            Self::Redis(store) => store.exists(key).await,
        }
    }

    /// All keys at once.
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        stats::key_value(KeyValue::GetKeys);
        let keys = match self {
            Self::Sqlite(store) => store.keys()?,
            Self::Redis(store) => store.keys().await?,
        };
        check_size(keys.iter().map(String::len), size_of::<Vec<String>>())?;
        Ok(keys)
    }

    /// All keys, read as they are taken.
    pub fn key_stream(&self) -> KeyStream {
        stats::key_value(KeyValue::GetKeys);
        let (keys_tx, keys_rx) = mpsc::channel(KEY_STREAM_SLOTS);
        let (end_tx, end_rx) = oneshot::channel();
        match self.clone() {
            Self::Sqlite(store) => drop(tokio::task::spawn_blocking(move || {
                let _ = end_tx.send(store.send_keys(&keys_tx));
            })),
            Self::Redis(mut store) => drop(tokio::spawn(async move {
                let _ = end_tx.send(store.send_keys(&keys_tx).await);
            })),
        }
        (keys_rx, end_rx)
    }

    /// The values of the keys that are there. Broken on Redis, as in Spin.
    pub async fn get_many(&self, keys: Vec<String>) -> Result<Pairs, Error> {
        stats::key_value(KeyValue::GetMany);
        let pairs = match self {
            Self::Sqlite(store) => store.get_many(keys)?,
            Self::Redis(store) => store.get_many(keys).await?,
        };
        let sizes = pairs.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        check_size(sizes, size_of::<Vec<String>>())?;
        Ok(pairs)
    }

    /// Sets several keys, in one transaction on SQLite.
    pub async fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        stats::key_value(KeyValue::SetMany);
        match self {
            Self::Sqlite(store) => store.set_many(pairs),
            Self::Redis(store) => store.set_many(&pairs).await,
        }
    }

    /// Removes several keys.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        stats::key_value(KeyValue::DeleteMany);
        match self {
            Self::Sqlite(store) => store.delete_many(keys),
            Self::Redis(store) => store.delete(&keys).await,
        }
    }

    /// Adds `delta` to the counter `key` and returns the new value; an absent key counts as zero.
    pub async fn increment(&self, key: String, delta: i64) -> Result<i64, Error> {
        stats::key_value(KeyValue::Increment);
        match self {
            Self::Sqlite(store) => store.increment(&key, delta),
            Self::Redis(store) => store.increment(&key, delta).await,
        }
    }

    /// Starts a compare-and-swap on `key`.
    pub async fn compare_and_swap(&self, key: String) -> Result<Cas, Error> {
        Ok(match self {
            Self::Sqlite(store) => Cas::Sqlite(sqlite::Cas::new(store.clone(), key)),
            Self::Redis(store) => Cas::Redis(store.compare_and_swap(key).await?),
        })
    }
}

/// A compare-and-swap in progress.
#[derive(Clone)]
pub enum Cas {
    /// On SQLite.
    Sqlite(sqlite::Cas),
    /// On Redis.
    Redis(redis::Cas),
}

impl Cas {
    /// Reads the value that a later [`swap`](Self::swap) compares with.
    pub async fn current(&self) -> Result<Option<Vec<u8>>, Error> {
        let value = match self {
            Self::Sqlite(cas) => cas.current()?,
            Self::Redis(cas) => cas.current().await?,
        };
        check_size(value.iter().map(Vec::len), size_of::<Option<Vec<u8>>>())?;
        Ok(value)
    }

    /// Sets the value, unless it changed since [`current`](Self::current).
    pub async fn swap(&self, value: Vec<u8>) -> Result<(), SwapError> {
        stats::key_value(KeyValue::Swap);
        match self {
            Self::Sqlite(cas) => cas.swap(&value),
            Self::Redis(cas) => cas.swap(value).await,
        }
    }

    /// The same compare-and-swap from the beginning.
    pub async fn restart(&self) -> Result<Self, Error> {
        Ok(match self {
            Self::Sqlite(cas) => Self::Sqlite(cas.restart()),
            Self::Redis(cas) => Self::Redis(cas.restart().await?),
        })
    }
}

fn check_size(sizes: impl Iterator<Item = usize>, base: usize) -> Result<(), Error> {
    if sizes.fold(base, usize::saturating_add) > MAX_RESULT_BYTES {
        return Err(Error::too_big());
    }
    Ok(())
}
