//! The key-value store on a Redis server.
//!
//! What is kept although it is odd: the label is ignored, so all stores on one server share their keys; `get_many`
//! sends `KEYS` and fails; a compare-and-swap never notices a change (`WATCH` on a connection manager).

use super::{Error, Pairs, SwapError};
use anyhow::Context as _;
use redis::aio::ConnectionManager;
use redis::{AsyncCommands as _, Client};
use tokio::sync::{OnceCell, mpsc};

/// A server that is connected to when a component first needs it.
pub struct Server {
    client: Client,
    connection: OnceCell<ConnectionManager>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// The server at `url` (`redis://…`; TLS is not supported).
    pub fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self { client: Client::open(url).context("invalid Redis URL")?, connection: OnceCell::new() })
    }

    pub(super) async fn open(&self) -> Result<Store, Error> {
        let connection = self
            .connection
            .get_or_try_init(|| self.client.get_connection_manager())
            .await
            .map_err(Error::other)?;
        // Spin sends this so that a lost connection is replaced in the background; the outcome does not matter.
        let _ = connection.clone().ping::<()>().await;
        Ok(Store { client: self.client.clone(), connection: connection.clone() })
    }
}

/// An open store.
#[derive(Clone)]
pub struct Store {
    client: Client,
    connection: ConnectionManager,
}

impl Store {
    fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.connection().get(key).await.map_err(Error::other)
    }

    pub(super) async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.connection().set(key, value).await.map_err(Error::other)
    }

    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), Error> {
        self.connection().del(keys).await.map_err(Error::other)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.connection().exists(key).await.map_err(Error::other)
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, Error> {
        self.connection().keys("*").await.map_err(Error::other)
    }

    /// Sends every key that `SCAN` returns, waiting for room.
    pub(super) async fn send_keys(&mut self, keys: &mpsc::Sender<String>) -> Result<(), Error> {
        let mut scan = self.connection.scan::<String>().await.map_err(Error::other)?;
        while let Some(key) = scan.next_item().await {
            keys.send(key).await.map_err(Error::other)?;
        }
        Ok(())
    }

    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Pairs, Error> {
        self.connection().keys(keys).await.map_err(Error::other)
    }

    pub(super) async fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Error> {
        self.connection().mset(pairs).await.map_err(Error::other)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.connection().incr(key, delta).await.map_err(Error::other)
    }

    pub(super) async fn compare_and_swap(&self, key: String) -> Result<Cas, Error> {
        Cas::start(self.client.clone(), key).await
    }
}

/// A compare-and-swap, on a connection of its own.
#[derive(Clone)]
pub struct Cas {
    client: Client,
    connection: ConnectionManager,
    key: String,
}

impl Cas {
    async fn start(client: Client, key: String) -> Result<Self, Error> {
        Ok(Self { connection: client.get_connection_manager().await.map_err(Error::other)?, client, key })
    }

    pub(super) async fn restart(&self) -> Result<Self, Error> {
        Self::start(self.client.clone(), self.key.clone()).await
    }

    pub(super) async fn current(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut connection = self.connection.clone();
        redis::cmd("WATCH").arg(&self.key).exec_async(&mut connection).await.map_err(Error::other)?;
        connection.get(&self.key).await.map_err(Error::other)
    }

    pub(super) async fn swap(&self, value: Vec<u8>) -> Result<(), SwapError> {
        let mut connection = self.connection.clone();
        let swapped: Result<(), _> =
            redis::pipe().atomic().set(&self.key, value).query_async(&mut connection).await;
        // With its argument, which the server refuses: the reason why a swap on Redis fails in Spin.
        redis::cmd("UNWATCH")
            .arg(&self.key)
            .exec_async(&mut connection)
            .await
            .map_err(|_| SwapError::Stale)?;
        swapped.map_err(|_| SwapError::Stale)
    }
}
