//! How requests share instances. Decides when an instance takes another request, when it is dropped and how one is
//! made; the rest is `ProxyHandler`, from the crate that Spin uses.
//!
//! An instance serves at most [`MAX_REQUESTS`] requests, [`MAX_CONCURRENT_REQUESTS`] at a time unless the command line
//! says otherwise, and ends when it has been idle for [`IDLE_TIMEOUT`]. There is no request timeout. A trap ends the instance and every request in it.

use crate::app::App;
use crate::component::Component;
use crate::instance::InstanceState;
use crate::stats;
use crate::terminal::report;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};
use wasmtime::component::GuestTaskId;
use wasmtime::{Engine, Store, StoreContextMut, format_err};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, ViewFn, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::WasiHttpView as _;
use wasmtime_wasi_http::p3::bindings::ServicePre;

/// Requests per instance: Spin's default.
pub const MAX_REQUESTS: usize = 128;

/// Requests per instance at the same time: Spin's default, which `--max-instance-concurrent-reuse-count` changes.
pub const MAX_CONCURRENT_REQUESTS: u16 = 16;

/// How long an instance without a request is kept: Spin's default.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// "Practically forever" for an epoch that is never advanced, without overflowing: as in Spin.
const NO_EPOCH_DEADLINE: u64 = u64::MAX / 2;

/// Makes the instances of one component.
pub struct InstanceFactory {
    engine: Engine,
    pre: ServicePre<InstanceState>,
    component: Arc<Component>,
    max_concurrent_requests: usize,
    app: OnceLock<Weak<App>>,
}

impl InstanceFactory {
    /// A factory that works once it has been [attached](Self::attach) to its application.
    pub fn new(
        engine: Engine,
        pre: ServicePre<InstanceState>,
        component: Arc<Component>,
        max_concurrent_requests: usize,
    ) -> Self {
        Self { engine, pre, component, max_concurrent_requests, app: OnceLock::new() }
    }

    /// Names the application whose components the instances may call.
    pub fn attach(&self, app: Weak<App>) {
        let _ = self.app.set(app);
    }
}

impl HandlerState for InstanceFactory {
    type StoreData = InstanceState;
    type WorkerExpiration = IdleTimer;
    type WorkerState = ReuseLimits;

    async fn instantiate(&self) -> wasmtime::Result<Instance<InstanceState, IdleTimer, ReuseLimits>> {
        let app =
            self.app.get().and_then(Weak::upgrade).ok_or_else(|| format_err!("the application is gone"))?;
        let mut store = Store::new(&self.engine, InstanceState::new(self.component.clone(), app));
        store.set_epoch_deadline(NO_EPOCH_DEADLINE);
        let service = self.pre.instantiate_async(&mut store).await?;
        stats::instance_made(&self.component.id);
        Ok(Instance {
            store,
            proxy: Proxy::P3(service),
            view: ViewFn::P3(InstanceState::http),
            expiration: IdleTimer::default(),
            state: ReuseLimits { max_concurrent_requests: self.max_concurrent_requests },
        })
    }
}

/// Ends an instance that has been idle for [`IDLE_TIMEOUT`].
#[derive(Default)]
pub struct IdleTimer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl WorkerExpiration for IdleTimer {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            return Poll::Pending;
        }
        let deadline = (start + IDLE_TIMEOUT).into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // The timer is moved only when it fires early: moving it on every request takes the timer's lock.
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Says when an instance takes another request.
pub struct ReuseLimits {
    max_concurrent_requests: usize,
}

impl WorkerState for ReuseLimits {
    type StoreData = InstanceState;
    type RequestId = ();

    fn should_accept_request(&self, concurrent_count: usize, total_count: usize) -> ShouldAccept {
        if total_count >= MAX_REQUESTS {
            ShouldAccept::Never
        } else if concurrent_count >= self.max_concurrent_requests {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, InstanceState>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(pending())
    }

    fn drop(&self, store: Store<InstanceState>, result: Result<(), wasmtime::Error>) {
        let id = &store.data().component.id;
        stats::instance_ended(id);
        if let Err(error) = result {
            report(format_args!("component {id:?}: an instance failed: {error:?}"));
        }
    }
}
