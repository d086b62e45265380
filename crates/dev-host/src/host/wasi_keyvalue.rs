//! `wasi:keyvalue/{store,atomics,batch}@0.2.0-draft2`: synchronous, so a call blocks every other request of the
//! instance until it is done.

use crate::bindings::wasi::keyvalue::{atomics, batch, store};
use crate::instance::InstanceState;
use crate::kv::{Cas, Error, Store, SwapError};
use wasmtime::component::Resource;

impl From<Error> for store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchStore => Self::NoSuchStore,
            Error::AccessDenied => Self::AccessDenied,
            Error::Other(reason) => Self::Other(reason),
        }
    }
}

impl InstanceState {
    fn bucket(&self, bucket: &Resource<Store>) -> Result<Store, store::Error> {
        match self.table.get(bucket) {
            Ok(store) => Ok(store.clone()),
            Err(_) => Err(store::Error::NoSuchStore),
        }
    }

    fn push_cas(&mut self, cas: Cas) -> Result<Resource<Cas>, store::Error> {
        self.table.push(cas).map_err(|_| store::Error::Other("too many compare_and_swaps opened".to_owned()))
    }

    fn cas(&self, cas: &Resource<Cas>) -> Result<Cas, store::Error> {
        match self.table.get(cas) {
            Ok(cas) => Ok(cas.clone()),
            Err(_) => Err(store::Error::Other("compare and swap not found".to_owned())),
        }
    }
}

impl store::Host for InstanceState {
    async fn open(&mut self, identifier: String) -> Result<Resource<Store>, store::Error> {
        let store = self.component.stores.open(&identifier).await?;
        self.table.push(store).map_err(|_| store::Error::Other("store table full".to_owned()))
    }

    fn convert_error(&mut self, error: store::Error) -> wasmtime::Result<store::Error> {
        Ok(error)
    }
}

impl store::HostBucket for InstanceState {
    async fn get(&mut self, bucket: Resource<Store>, key: String) -> Result<Option<Vec<u8>>, store::Error> {
        Ok(self.bucket(&bucket)?.get(&key).await?)
    }

    async fn set(
        &mut self,
        bucket: Resource<Store>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), store::Error> {
        Ok(self.bucket(&bucket)?.set(&key, &value).await?)
    }

    async fn delete(&mut self, bucket: Resource<Store>, key: String) -> Result<(), store::Error> {
        Ok(self.bucket(&bucket)?.delete(&key).await?)
    }

    async fn exists(&mut self, bucket: Resource<Store>, key: String) -> Result<bool, store::Error> {
        Ok(self.bucket(&bucket)?.exists(&key).await?)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Store>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, store::Error> {
        if cursor.is_some() {
            return Err(store::Error::Other("list_keys: cursor not supported".to_owned()));
        }
        Ok(store::KeyResponse { keys: self.bucket(&bucket)?.keys().await?, cursor: None })
    }

    async fn drop(&mut self, bucket: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for InstanceState {
    async fn get_many(
        &mut self,
        bucket: Resource<Store>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, store::Error> {
        let store = self.bucket(&bucket)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store.get_many(keys).await?)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Store>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), store::Error> {
        let store = self.bucket(&bucket)?;
        if pairs.is_empty() {
            return Ok(());
        }
        Ok(store.set_many(pairs).await?)
    }

    async fn delete_many(&mut self, bucket: Resource<Store>, keys: Vec<String>) -> Result<(), store::Error> {
        let store = self.bucket(&bucket)?;
        if keys.is_empty() {
            return Ok(());
        }
        Ok(store.delete_many(keys).await?)
    }
}

impl atomics::HostCas for InstanceState {
    async fn new(&mut self, bucket: Resource<Store>, key: String) -> Result<Resource<Cas>, store::Error> {
        let cas = self.bucket(&bucket)?.compare_and_swap(key).await?;
        self.push_cas(cas)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, store::Error> {
        Ok(self.cas(&cas)?.current().await?)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for InstanceState {
    async fn increment(
        &mut self,
        bucket: Resource<Store>,
        key: String,
        delta: i64,
    ) -> Result<i64, store::Error> {
        Ok(self.bucket(&bucket)?.increment(key, delta).await?)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<(), atomics::CasError> {
        let store_error = atomics::CasError::StoreError;
        let cas = self.cas(&cas).map_err(store_error)?;
        match cas.swap(value).await {
            Ok(()) => Ok(()),
            Err(SwapError::Other(reason)) => Err(store_error(store::Error::Other(reason))),
            Err(SwapError::Stale) => {
                // The guest gets a handle that already holds the latest value.
                let retry = cas.restart().await.map_err(|e| store_error(e.into()))?;
                retry.current().await.map_err(|e| store_error(e.into()))?;
                let retry = self.push_cas(retry).map_err(store_error)?;
                Err(atomics::CasError::CasFailed(retry))
            }
        }
    }

    fn convert_cas_error(&mut self, error: atomics::CasError) -> wasmtime::Result<atomics::CasError> {
        Ok(error)
    }
}
