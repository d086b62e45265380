//! One running instance of a component: the data of its wasm store.

use crate::app::App;
use crate::component::Component;
use crate::outbound::Outbound;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::p3::{WasiHttpCtxView, WasiHttpView};

/// What the host keeps for an instance.
pub struct InstanceState {
    /// The component it is an instance of.
    pub component: Arc<Component>,
    /// What the guest holds handles of.
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl InstanceState {
    /// The state of a new instance of `component` in `app`.
    pub fn new(component: Arc<Component>, app: Arc<App>) -> Self {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(component.stdout.clone()).stderr(component.stderr.clone());
        for (name, value) in &component.environment {
            wasi.env(name, value);
        }
        let (for_sockets, blocked) = (component.clone(), app.blocked.clone());
        wasi.socket_addr_check(move |address, usage| {
            let scheme = match usage {
                SocketAddrUse::TcpBind => None,
                SocketAddrUse::TcpConnect => Some("tcp"),
                SocketAddrUse::UdpBind | SocketAddrUse::UdpConnect | SocketAddrUse::UdpOutgoingDatagram => {
                    Some("udp")
                }
            };
            let is_allowed = scheme
                .is_some_and(|scheme| for_sockets.is_outbound_allowed(&address.to_string(), scheme))
                && !blocked.contains(address.ip());
            Box::pin(std::future::ready(is_allowed))
        });
        Self {
            outbound: Outbound::new(app, component.clone()),
            component,
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
        }
    }
}

impl WasiView for InstanceState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}
