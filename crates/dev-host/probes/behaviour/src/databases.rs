//! Variables, SQLite and outbound Redis.

use anyhow::{Result, bail};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use spin_sdk::http::{BoxBody, Response};
use spin_sdk::redis;
use spin_sdk::sqlite::{self, Value};
use spin_sdk::variables;

use crate::answer;
use crate::arguments::Arguments;

/// The component variable `name`.
pub async fn variable(arguments: &Arguments) -> Result<Response<BoxBody>> {
    match variables::get(arguments.required("name")?).await {
        Ok(value) => answer::bytes(value),
        Err(error) => answer::host_error(error),
    }
}

/// Runs the body as one SQL statement on database `db` (`default` if left out), with the optional text
/// parameter `bind`; answers with columns and rows.
pub async fn sqlite(arguments: &Arguments, body: Bytes) -> Result<Response<BoxBody>> {
    let database = arguments.optional("db").unwrap_or("default");
    let bind: Vec<Value> = arguments.optional("bind").map(Value::text).into_iter().collect();
    match query(database, &String::from_utf8_lossy(&body), bind).await {
        Ok(table) => answer::json(&table),
        Err(error) => answer::host_error(error),
    }
}

async fn query(database: &str, statement: &str, bind: Vec<Value>) -> Result<Json, sqlite::Error> {
    let connection = sqlite::Connection::open(database).await?;
    let result = connection.execute(statement, bind).await?;
    let columns = result.columns().to_vec();
    let rows: Vec<Vec<Json>> =
        result.collect().await?.iter().map(|row| row.values.iter().map(cell).collect()).collect();
    Ok(json!({ "columns": columns, "rows": rows, "changes": connection.changes().await }))
}

fn cell(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => json!(number),
        Value::Real(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Blob(bytes) => json!(bytes),
    }
}

/// `get`, `set` (to the body), `incr` or `execute` (of the body's words) on the server at `address`.
pub async fn redis(arguments: &Arguments, body: Bytes) -> Result<Response<BoxBody>> {
    let address = arguments.required("address")?;
    let key = arguments.optional("key").unwrap_or_default();
    let outcome = match arguments.required("command")? {
        "get" => redis_get(address, key).await,
        "set" => redis_set(address, key, &body).await,
        "incr" => redis_incr(address, key).await,
        "execute" => redis_execute(address, &String::from_utf8_lossy(&body)).await,
        other => bail!("no redis command {other}"),
    };
    match outcome {
        Ok(value) => answer::bytes(value),
        Err(error) => answer::host_error(error),
    }
}

async fn redis_get(address: &str, key: &str) -> Result<Bytes, redis::Error> {
    let value = redis::Connection::open(address).await?.get(key).await?;
    Ok(value.map_or_else(|| Bytes::from_static(b"nil"), Bytes::from))
}

async fn redis_set(address: &str, key: &str, value: &[u8]) -> Result<Bytes, redis::Error> {
    redis::Connection::open(address).await?.set(key, value).await?;
    Ok(Bytes::from_static(b"set"))
}

async fn redis_incr(address: &str, key: &str) -> Result<Bytes, redis::Error> {
    let sum = redis::Connection::open(address).await?.incr(key).await?;
    Ok(sum.to_string().into())
}

async fn redis_execute(address: &str, command: &str) -> Result<Bytes, redis::Error> {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let arguments: Vec<_> =
        words.map(|word| redis::RedisParameter::Binary(word.as_bytes().to_vec())).collect();
    let results = redis::Connection::open(address).await?.execute(name, arguments).await?;
    Ok(format!("{results:?}").into())
}
