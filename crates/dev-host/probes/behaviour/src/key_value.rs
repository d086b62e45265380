//! Key-value calls: `spin:key-value` for single keys, `wasi:keyvalue` for the atomic ones.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use spin_sdk::experimental::wasi::keyvalue::atomics::{self, Cas, CasError};
use spin_sdk::experimental::wasi::keyvalue::{batch, store as buckets};
use spin_sdk::http::{BoxBody, Response};
use spin_sdk::key_value::{Error, Store};

use crate::answer;
use crate::arguments::Arguments;

/// `/kv/<operation>?store=&key=`; the store is `default` if left out.
pub async fn operate(arguments: &Arguments, body: Bytes) -> Result<Response<BoxBody>> {
    let label = arguments.optional("store").unwrap_or("default");
    match arguments.path() {
        "/kv/increment" => increment(label, arguments),
        "/kv/swap" => swap(label, arguments, &body),
        "/kv/get-many" | "/kv/set-many" | "/kv/delete-many" => many(label, arguments, &body),
        _ => match on_store(label, arguments, &body).await {
            Ok(response) => response,
            Err(error) => answer::host_error(error),
        },
    }
}

async fn on_store(
    label: &str,
    arguments: &Arguments,
    body: &[u8],
) -> Result<Result<Response<BoxBody>>, Error> {
    let store = Store::open(label).await?;
    let key = arguments.optional("key").unwrap_or_default();
    Ok(match arguments.path() {
        "/kv/get" => match store.get(key).await? {
            Some(value) => answer::bytes(value),
            None => answer::not_found("no such key"),
        },
        "/kv/set" => {
            store.set(key, body).await?;
            answer::bytes("set")
        }
        "/kv/delete" => {
            store.delete(key).await?;
            answer::bytes("deleted")
        }
        "/kv/exists" => answer::bytes(store.exists(key).await?.to_string()),
        "/kv/keys" => {
            let mut keys = store.get_keys().await.collect().await?;
            keys.sort();
            answer::json(&json!(keys))
        }
        "/kv/count-slowly" => match arguments.millis("ms") {
            Ok(wait) => answer::bytes(count_slowly(&store, wait).await?),
            Err(error) => Err(error),
        },
        path => answer::not_found(&format!("no behaviour at {path}")),
    })
}

/// Counts the keys, waiting for `ms` after the first.
async fn count_slowly(store: &Store, wait: Duration) -> Result<String, Error> {
    let mut keys = store.get_keys().await;
    let first = usize::from(keys.next().await.is_some());
    spin_sdk::time::sleep(wait).await;
    Ok((first + keys.collect().await?.len()).to_string())
}

/// Gets, sets (to the body, all of them) or deletes the keys in `keys`, which commas part.
fn many(label: &str, arguments: &Arguments, body: &[u8]) -> Result<Response<BoxBody>> {
    let keys: Vec<String> = arguments.required("keys")?.split(',').map(str::to_owned).collect();
    let outcome = buckets::open(label).and_then(|bucket| match arguments.path() {
        "/kv/get-many" => batch::get_many(&bucket, &keys).map(|values| {
            let pairs = values.into_iter();
            json!(pairs.map(|(key, value)| (key, value.map(text))).collect::<Vec<_>>())
        }),
        "/kv/set-many" => {
            let pairs: Vec<_> = keys.into_iter().map(|key| (key, body.to_vec())).collect();
            batch::set_many(&bucket, &pairs).map(|()| json!("set"))
        }
        _ => batch::delete_many(&bucket, &keys).map(|()| json!("deleted")),
    });
    match outcome {
        Ok(value) => answer::json(&value),
        Err(error) => answer::host_error(error),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Adds `delta` and answers with the sum.
fn increment(label: &str, arguments: &Arguments) -> Result<Response<BoxBody>> {
    let (key, delta) = (arguments.required("key")?, arguments.number("delta")?);
    match buckets::open(label).and_then(|bucket| atomics::increment(&bucket, key, delta)) {
        Ok(sum) => answer::bytes(sum.to_string()),
        Err(error) => answer::host_error(error),
    }
}

/// Compare-and-swap to the body. With `meddle`, that value is written between the look and the swap, so
/// the swap must fail; the answer is then `failed, now` and the value the new handle sees.
fn swap(label: &str, arguments: &Arguments, body: &[u8]) -> Result<Response<BoxBody>> {
    match try_swap(label, arguments.required("key")?, arguments.optional("meddle"), body) {
        Ok(outcome) => answer::bytes(outcome),
        Err(error) => answer::host_error(error),
    }
}

fn try_swap(label: &str, key: &str, meddle: Option<&str>, value: &[u8]) -> Result<String, buckets::Error> {
    let bucket = buckets::open(label)?;
    let cas = Cas::new(&bucket, key)?;
    cas.current()?;
    if let Some(meddle) = meddle {
        bucket.set(key, meddle.as_bytes())?;
    }
    match atomics::swap(cas, value) {
        Ok(()) => Ok("swapped".to_owned()),
        Err(CasError::CasFailed(newer)) => {
            let current = newer.current()?.unwrap_or_default();
            Ok(format!("failed, now {}", String::from_utf8_lossy(&current)))
        }
        Err(CasError::StoreError(error)) => Err(error),
    }
}

/// Writes down in the default store what a test will ask for later.
#[expect(clippy::print_stderr, reason = "there is nobody left to answer")]
pub async fn note(key: &str, value: &str) {
    let written = match Store::open_default().await {
        Ok(store) => store.set(key, value).await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        eprintln!("cannot note {key}={value}: {error:?}");
    }
}
