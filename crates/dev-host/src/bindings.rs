//! Generated host bindings for Spin's own interfaces. The WIT texts under `wit/` are those of the published `spin-sdk`
//! package, version 7.0.0.

#![allow(missing_docs, reason = "generated code")]
#![allow(clippy::all, clippy::restriction, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "tollgate:dev-host/host",
    imports: { default: async | trappable },
    with: {
        "spin:key-value/key-value@3.0.0.store": crate::kv::Store,
        "spin:redis/redis@3.0.0.connection": crate::host::redis::Connection,
        "spin:sqlite/sqlite@3.1.0.connection": crate::host::sqlite::Connection,
        "wasi:keyvalue/store@0.2.0-draft2.bucket": crate::kv::Store,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas": crate::kv::Cas,
    },
    // Each interface's own error, so that a host function cannot trap by accident.
    trappable_error_type: {
        "fermyon:spin/llm@2.0.0.error" => fermyon::spin::llm::Error,
        "spin:key-value/key-value@3.0.0.error" => spin::key_value::key_value::Error,
        "spin:redis/redis@3.0.0.error" => spin::redis::redis::Error,
        "spin:sqlite/sqlite@3.1.0.error" => spin::sqlite::sqlite::Error,
        "spin:variables/variables@3.0.0.error" => spin::variables::variables::Error,
        "wasi:keyvalue/store@0.2.0-draft2.error" => wasi::keyvalue::store::Error,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas-error" => wasi::keyvalue::atomics::CasError,
    },
});
