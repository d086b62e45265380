//! `spin:key-value/key-value@3.0.0`: asynchronous, so other requests of the instance go on meanwhile.

use super::{ChannelStream, Host};
use crate::bindings::spin::key_value::key_value as wit;
use crate::instance::InstanceState;
use crate::kv::{Error, Store};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl wit::Host for InstanceState {
    fn convert_error(&mut self, error: wit::Error) -> wasmtime::Result<wit::Error> {
        Ok(error)
    }
}

impl wit::HostStore for InstanceState {
    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

fn store_of<T: Send>(accessor: &Accessor<T, Host>, store: &Resource<Store>) -> Result<Store, wit::Error> {
    accessor.with(|mut access| match access.get().table.get(store) {
        Ok(store) => Ok(store.clone()),
        Err(_) => Err(wit::Error::NoSuchStore),
    })
}

impl<T: Send> wit::HostStoreWithStore<T> for Host {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Result<Resource<Store>, wit::Error> {
        let component = accessor.with(|mut access| access.get().component.clone());
        let store = component.stores.open(&label).await?;
        accessor.with(|mut access| {
            let pushed = access.get().table.push(store);
            pushed.map_err(|_| wit::Error::StoreTableFull)
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<Option<Vec<u8>>, wit::Error> {
        Ok(store_of(accessor, &store)?.get(&key).await?)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), wit::Error> {
        Ok(store_of(accessor, &store)?.set(&key, &value).await?)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<(), wit::Error> {
        Ok(store_of(accessor, &store)?.delete(&key).await?)
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
        key: String,
    ) -> Result<bool, wit::Error> {
        Ok(store_of(accessor, &store)?.exists(&key).await?)
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<Store>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), wit::Error>>)> {
        let (keys, end) = store_of(accessor, &store)?.key_stream();
        let end = async move { wasmtime::error::Ok(end.await?.map_err(wit::Error::from)) };
        accessor.with(|mut access| {
            Ok((StreamReader::new(&mut access, ChannelStream(keys))?, FutureReader::new(&mut access, end)?))
        })
    }
}
