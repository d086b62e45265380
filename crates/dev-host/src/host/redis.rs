//! `spin:redis/redis@3.0.0`: a multiplexed connection per `open`, to an address that `allowed_outbound_hosts` allows.

use super::Host;
use crate::bindings::spin::redis::redis as wit;
use crate::instance::InstanceState;
use crate::kv::MAX_RESULT_BYTES;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, ErrorKind, FromRedisValue, RedisError, Value};
use wasmtime::component::{Accessor, Resource};

/// A guest's connection.
pub type Connection = MultiplexedConnection;

impl wit::Host for InstanceState {
    fn convert_error(&mut self, error: wit::Error) -> wasmtime::Result<wit::Error> {
        Ok(error)
    }
}

impl wit::HostConnection for InstanceState {
    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

fn other(error: impl std::fmt::Display) -> wit::Error {
    wit::Error::Other(error.to_string())
}

fn connection_of<T: Send>(
    accessor: &Accessor<T, Host>,
    connection: &Resource<Connection>,
) -> Result<Connection, wit::Error> {
    accessor.with(|mut access| match access.get().table.get(connection) {
        Ok(connection) => Ok(connection.clone()),
        Err(_) => Err(other("could not find connection for resource")),
    })
}

impl<T: Send> wit::HostConnectionWithStore<T> for Host {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Result<Resource<Connection>, wit::Error> {
        let is_allowed = accessor.with(|mut access| {
            let component = &access.get().component;
            component.is_outbound_allowed(&address, "redis")
        });
        if !is_allowed {
            return Err(wit::Error::InvalidAddress);
        }
        let connection = redis::Client::open(address.as_str())
            .map_err(|_| wit::Error::InvalidAddress)?
            .get_multiplexed_async_connection()
            .await
            .map_err(other)?;
        accessor.with(|mut access| {
            let pushed = access.get().table.push(connection);
            pushed.map_err(|_| wit::Error::TooManyConnections)
        })
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Result<(), wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.publish(channel, payload).await.map_err(other)
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Option<Vec<u8>>, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        let value: Option<Vec<u8>> = connection.get(key).await.map_err(other)?;
        check_size(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.set(key, value).await.map_err(other)
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<i64, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.incr(key, 1).await.map_err(other)
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Result<u32, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.del(keys).await.map_err(other)
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.sadd(key, values).await.map_err(|error: RedisError| {
            if error.kind() == ErrorKind::TypeError { wit::Error::TypeError } else { other(error) }
        })
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.smembers(key).await.map_err(other)
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        connection.srem(key, values).await.map_err(other)
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<wit::RedisParameter>,
    ) -> Result<Vec<wit::RedisResult>, wit::Error> {
        let mut connection = connection_of(accessor, &connection)?;
        let mut command = redis::cmd(&command);
        for argument in arguments {
            match argument {
                wit::RedisParameter::Int64(value) => command.arg(value),
                wit::RedisParameter::Binary(value) => command.arg(value),
            };
        }
        let Results(results) = command.query_async(&mut connection).await.map_err(other)?;
        check_size(results.iter().map(result_bytes).sum())?;
        Ok(results)
    }
}

fn check_size(bytes: usize) -> Result<(), wit::Error> {
    if bytes > MAX_RESULT_BYTES {
        return Err(other(format!("query result exceeds limit of {MAX_RESULT_BYTES} bytes")));
    }
    Ok(())
}

fn result_bytes(result: &wit::RedisResult) -> usize {
    let own = match result {
        wit::RedisResult::Nil | wit::RedisResult::Int64(_) => 0,
        wit::RedisResult::Status(text) => text.len(),
        wit::RedisResult::Binary(bytes) => bytes.len(),
    };
    own + size_of::<wit::RedisResult>()
}

/// A reply of any shape, flattened into one list.
struct Results(Vec<wit::RedisResult>);

impl FromRedisValue for Results {
    fn from_redis_value(value: &Value) -> redis::RedisResult<Self> {
        let mut results = Vec::new();
        flatten(&mut results, value)?;
        Ok(Self(results))
    }
}

fn flatten(results: &mut Vec<wit::RedisResult>, value: &Value) -> redis::RedisResult<()> {
    use wit::RedisResult::{Binary, Int64, Nil, Status};
    let unsupported = |what: &str| {
        let detail = format!("Redis {what} is not supported");
        Err((ErrorKind::TypeError, "Could not convert Redis response", detail).into())
    };
    results.push(match value {
        Value::Array(values) | Value::Set(values) => {
            return values.iter().try_for_each(|value| flatten(results, value));
        }
        Value::Nil => Nil,
        Value::Int(value) => Int64(*value),
        Value::Boolean(value) => Int64(i64::from(*value)),
        Value::BulkString(bytes) => Binary(bytes.clone()),
        Value::Double(value) => Binary(value.to_string().into_bytes()),
        Value::BigNumber(value) => Binary(value.to_string().into_bytes()),
        Value::SimpleString(text) => Status(text.clone()),
        Value::Okay => Status("OK".to_owned()),
        Value::Map(_) => return unsupported("Map type"),
        Value::Attribute { .. } => return unsupported("Attribute type"),
        Value::VerbatimString { .. } => return unsupported("string with format attribute"),
        Value::Push { .. } => return unsupported("Pub/Sub type"),
        Value::ServerError(error) => {
            return Err((ErrorKind::ResponseError, "Server error", format!("{error:?}")).into());
        }
    });
    Ok(())
}
