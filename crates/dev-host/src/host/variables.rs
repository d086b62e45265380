//! `spin:variables/variables@3.0.0`.

use super::Host;
use crate::bindings::spin::variables::variables as wit;
use crate::instance::InstanceState;
use spin_app::variables::LookupError;
use wasmtime::component::Accessor;

impl wit::Host for InstanceState {
    fn convert_error(&mut self, error: wit::Error) -> wasmtime::Result<wit::Error> {
        Ok(error)
    }
}

impl<T: Send> wit::HostWithStore<T> for Host {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, wit::Error> {
        accessor.with(|mut access| match access.get().component.variables.get(&name) {
            Ok(value) => Ok(value.to_owned()),
            Err(LookupError::InvalidName(reason)) => Err(wit::Error::InvalidName(reason)),
            Err(LookupError::Undefined(reason)) => Err(wit::Error::Undefined(reason)),
        })
    }
}
