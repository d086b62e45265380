//! The counters in a Redis that is reached without the key-value store: Spin's outbound Redis, for scripts.

use super::{log, variable, within};
use crate::error::Cause;
use crate::patience::Patience;
use quota::{ScriptStore, StoreError};
use spin_sdk::redis::{Connection, Error, RedisParameter, RedisResult};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

thread_local! {
    /// The instance's connection, shared by its requests: the host sends their commands over one socket.
    static CONNECTION: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
    /// What Redis calls the scripts that it was given: the script, its SHA-1.
    static LOADED: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Redis, at the address in the variable `limiter_redis`, as one piece of work sees it: see [`Patience`].
pub struct Redis {
    patience: Patience,
}

impl Redis {
    /// For a piece of work that may wait so long in all, connecting included. Opens nothing yet.
    pub fn within(limit: Duration) -> Self {
        Redis { patience: Patience::of(limit) }
    }
}

impl ScriptStore for Redis {
    async fn eval(&self, script: &str, keys: &[String], args: &[String]) -> Result<Vec<i64>, StoreError> {
        let connection = connection(&self.patience).await?;
        match run(&self.patience, &connection, script, keys, args).await {
            Ok(figures) => Ok(figures),
            Err(error) => {
                forget(&connection);
                Err(error)
            }
        }
    }
}

async fn run(
    patience: &Patience,
    connection: &Connection,
    script: &str,
    keys: &[String],
    args: &[String],
) -> Result<Vec<i64>, StoreError> {
    let rest = || {
        let count = RedisParameter::Int64(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let texts = keys.iter().chain(args).map(|text| RedisParameter::Binary(text.clone().into_bytes()));
        std::iter::once(count).chain(texts)
    };
    let binary = |bytes: &[u8]| RedisParameter::Binary(bytes.to_vec());
    let known = LOADED.with_borrow(|loaded| loaded.get(script).cloned());
    if let Some(sha) = known {
        let command = connection.execute("EVALSHA", std::iter::once(binary(&sha)).chain(rest()));
        match answered(patience, command).await {
            Err(error) if is_unknown_script(&error) => {}
            other => return figures(other?),
        }
    } else {
        let load = connection.execute("SCRIPT", [binary(b"LOAD"), binary(script.as_bytes())]);
        if let [RedisResult::Binary(sha)] = answered(patience, load).await?.as_slice() {
            LOADED.with_borrow_mut(|loaded| loaded.insert(script.to_owned(), sha.clone()));
        }
    }
    // Redis may have been restarted, and this makes it remember the script again.
    let command = connection.execute("EVAL", std::iter::once(binary(script.as_bytes())).chain(rest()));
    figures(answered(patience, command).await?)
}

async fn answered(
    patience: &Patience,
    command: impl Future<Output = Result<Vec<RedisResult>, Error>>,
) -> Result<Vec<RedisResult>, StoreError> {
    in_time(patience, command).await.map_err(failed)
}

/// What a command to Redis says, if it does while there is time.
async fn in_time<T>(
    patience: &Patience,
    command: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    let Some(left) = patience.left(super::monotonic()) else {
        return Err("the time for the store is up".to_owned());
    };
    match within(left, command).await {
        Some(Ok(result)) => Ok(result),
        Some(Err(error)) => Err(format!("{error:?}")),
        None => Err(format!("no answer within {} ms", left.as_millis())),
    }
}

/// The host passes on what Redis (`NOSCRIPT …`) or its client library (`NoScriptError`) says.
fn is_unknown_script(error: &StoreError) -> bool {
    error.reason.contains("NOSCRIPT") || error.reason.contains("NoScript")
}

fn figures(results: Vec<RedisResult>) -> Result<Vec<i64>, StoreError> {
    let figure = |result| match result {
        RedisResult::Int64(figure) => Ok(figure),
        RedisResult::Nil | RedisResult::Status(_) | RedisResult::Binary(_) => {
            Err(failed("the script answered something else than numbers".to_owned()))
        }
    };
    results.into_iter().map(figure).collect()
}

fn failed(reason: String) -> StoreError {
    StoreError { operation: "run a script", reason }
}

async fn connection(patience: &Patience) -> Result<Rc<Connection>, StoreError> {
    if let Some(connection) = CONNECTION.with_borrow(Clone::clone) {
        return Ok(connection);
    }
    let address = address().await?;
    // A failure does not say the address: it may hold a password.
    let opened = in_time(patience, Connection::open(&address)).await;
    let connection = Rc::new(opened.map_err(|reason| StoreError { operation: "connect to Redis", reason })?);
    // Two first requests may both open one; the later stays.
    CONNECTION.set(Some(Rc::clone(&connection)));
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

/// The address with the password in it. The password is a variable of its own because the address is also an entry of
/// `allowed_outbound_hosts`, which takes none.
async fn address() -> Result<String, StoreError> {
    let unreadable = |cause: Cause<'_>| {
        log("", &format!("{cause:?}"));
        StoreError { operation: "read a variable", reason: "see the line before".to_owned() }
    };
    let address = variable("limiter_redis").await.map_err(unreadable)?;
    let password = variable("limiter_redis_password").await.map_err(unreadable)?;
    let (address, password) = (address.trim(), password.trim());
    match address.split_once("://") {
        Some(_) if password.is_empty() => Ok(address.to_owned()),
        Some((scheme, host)) => Ok(format!("{scheme}://{}@{host}", userinfo(password))),
        None => Err(StoreError {
            operation: "find Redis",
            reason: "[limiter] store is \"redis\"; set the variable `limiter_redis` to redis://<host>:<port>"
                .to_owned(),
        }),
    }
}

/// `<password>` or `<user>:<password>`, escaped for a URL.
fn userinfo(password: &str) -> String {
    let (user, password) = password.split_once(':').unwrap_or(("", password));
    format!("{}:{}", escaped(user), escaped(password))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ok = write!(out, "%{byte:02X}");
        }
    }
    out
}
