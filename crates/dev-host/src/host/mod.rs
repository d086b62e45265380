//! The interfaces that guests import, one file each. Each decides how a guest's call maps to the backend and its
//! errors to the interface's; none keeps state beyond the handles in the instance's resource table.

pub mod key_value;
pub mod llm;
pub mod redis;
pub mod sqlite;
pub mod variables;
pub mod wasi_keyvalue;

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, StreamProducer, StreamResult};

/// Which data the generated bindings hand to the implementations: all of the instance.
pub type Host = wasmtime::component::HasSelf<crate::instance::InstanceState>;

/// A WIT `stream` fed from a channel, one item at a time, as Spin feeds its own.
struct ChannelStream<T>(mpsc::Receiver<T>);

impl<D, T: Send + Sync + 'static> StreamProducer<D> for ChannelStream<T> {
    type Item = T;
    type Buffer = Option<T>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match self.0.poll_recv(cx) {
            Poll::Ready(Some(item)) => {
                destination.set_buffer(Some(item));
                StreamResult::Completed
            }
            Poll::Ready(None) => StreamResult::Dropped,
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}
