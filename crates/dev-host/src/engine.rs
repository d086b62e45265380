//! The wasm engine. Decides its configuration (Spin's: pooling allocator, epoch interruption, compile cache) and what
//! a component may import; a component that imports anything else is refused when it is loaded.

use crate::bindings;
use crate::host::Host;
use crate::instance::InstanceState;
use anyhow::{Context as _, anyhow, bail};
use std::path::Path;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::p3::bindings::http as wasi_http;
use wasmtime_wasi_http::p3::{WasiHttp, WasiHttpView as _};

/// The interface that an HTTP component exports.
const HANDLER_EXPORT: &str = "wasi:http/handler@0.3";

/// The most instances that live at once; memories and stacks are counted by it, other things by multiples.
const MAX_INSTANCES: u32 = 1_000;

/// An engine and all that guests may import.
pub struct Runtime {
    /// The engine.
    pub engine: Engine,
    linker: Linker<InstanceState>,
}

impl Runtime {
    /// A runtime as Spin configures it. The compile cache is the one of the `wasmtime` tools unless turned off.
    pub fn new(is_cache_on: bool) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .wasm_component_model_async(true)
            // Nothing is ever interrupted, but the checks are part of what a guest's CPU time is in Spin.
            .epoch_interruption(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pooling()));
        if is_cache_on {
            config.cache(Some(wasmtime::Cache::from_file(None)?));
        }
        let engine = match Engine::new(&config) {
            Ok(engine) => engine,
            // The pool reserves some 6 TB of address space, which not every machine grants; Spin does without, too.
            Err(error) => {
                eprintln!("Warning: no pool of instances, starting one will be slower: {error:#}");
                Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))?
            }
        };
        let linker = linker(&engine)?;
        Ok(Self { engine, linker })
    }

    /// Compiles the component `id` in the file `source` and checks that it can run here.
    pub fn load(&self, id: &str, source: &Path) -> anyhow::Result<ServicePre<InstanceState>> {
        let context = || format!("component {id:?} ({})", source.display());
        if !source.exists() {
            bail!("{}: the file does not exist; has it been built?", context());
        }
        let component =
            Component::from_file(&self.engine, source).map_err(anyhow::Error::from).with_context(context)?;
        let instance_pre = self.linker.instantiate_pre(&component).map_err(|error| {
            anyhow!("{}: it needs an import that dev-host does not provide: {error:#}", context())
        })?;
        ServicePre::new(instance_pre).map_err(|error| {
            anyhow!(
                "{}: it does not export {HANDLER_EXPORT}, the only kind of HTTP component that dev-host runs: \
                 {error:#}",
                context()
            )
        })
    }
}

fn pooling() -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::default();
    pooling
        .total_component_instances(MAX_INSTANCES)
        .total_memories(MAX_INSTANCES)
        .total_tables(2 * MAX_INSTANCES)
        .total_stacks(MAX_INSTANCES)
        .total_core_instances(4 * MAX_INSTANCES)
        .table_elements(100_000)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_core_instances_per_component(200)
        .max_tables_per_component(64)
        .max_memories_per_component(32)
        .max_tables_per_module(2)
        .max_memories_per_module(2)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(512 << 10);
    pooling
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasi_http::client::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    wasi_http::types::add_to_linker::<_, WasiHttp>(&mut linker, InstanceState::http)?;
    bindings::Host_::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    Ok(linker)
}
