//! The TCP connection as the faults need it: writes of bounded size, a reset instead of a close, and word of when
//! everything is written.
//!
//! `Control` is shared between the connection and the answers on it, which are served one after the other.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What an answer asks of the connection it is sent on.
// Every access happens within the connection's own task: `Relaxed` is enough.
#[derive(Debug, Default)]
pub struct Control {
    /// The most bytes of a write; 0 for no bound.
    split_bytes: AtomicUsize,
    is_reset: AtomicBool,
    is_flush_awaited: AtomicBool,
}

impl Control {
    /// Bounds every write of the answer that begins; 0 lifts the bound.
    pub fn split(&self, bytes: usize) {
        self.split_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Makes the end of this connection a TCP reset.
    pub fn reset_on_close(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
    }

    /// Asks to be woken once all that was handed over is written.
    pub fn await_flush(&self) {
        self.is_flush_awaited.store(true, Ordering::Relaxed);
    }

    /// True once what [`await_flush`](Self::await_flush) waits for has happened.
    pub fn is_flushed(&self) -> bool {
        !self.is_flush_awaited.load(Ordering::Relaxed)
    }
}

/// A TCP stream that obeys a [`Control`].
pub struct Wire {
    stream: TcpStream,
    control: Arc<Control>,
    /// Bounded writes alternate with yields, to give the peer a chance to read each on its own.
    must_yield: bool,
}

impl Wire {
    /// Wraps `stream`.
    pub fn new(stream: TcpStream, control: Arc<Control>) -> Self {
        Self { stream, control, must_yield: false }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.control.is_reset.load(Ordering::Relaxed) {
            // SO_LINGER 0 turns the close that follows into a reset. If it fails, the peer sees a plain close.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = self.control.split_bytes.load(Ordering::Relaxed);
        if most == 0 {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        if std::mem::take(&mut self.must_yield) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.must_yield = written.is_ready();
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.control.split_bytes.load(Ordering::Relaxed) == 0 {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the stream only when its own buffer is empty.
        if self.control.is_flush_awaited.swap(false, Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn wire() -> (Wire, Arc<Control>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let control = Arc::new(Control::default());
        (Wire::new(listener.accept().await.unwrap().0, Arc::clone(&control)), control, peer)
    }

    #[tokio::test]
    async fn no_write_exceeds_the_bound_until_it_is_lifted() {
        let (mut wire, control, _peer) = wire().await;
        let slices = [IoSlice::new(b""), IoSlice::new(b"abcdef"), IoSlice::new(b"ghi")];
        control.split(2);
        for _ in 0..3 {
            assert_eq!(wire.write(b"abcdef").await.unwrap(), 2);
            assert_eq!(wire.write_vectored(&slices).await.unwrap(), 2);
        }
        assert_eq!(wire.write(b"a").await.unwrap(), 1);
        control.split(0);
        assert_eq!(wire.write(b"abcdef").await.unwrap(), 6);
        assert_eq!(wire.write_vectored(&slices).await.unwrap(), 9);
    }

    #[tokio::test]
    async fn a_flush_is_reported_once_it_has_happened() {
        let (mut wire, control, _peer) = wire().await;
        assert!(control.is_flushed());
        control.await_flush();
        wire.write_all(b"abc").await.unwrap();
        assert!(!control.is_flushed());
        wire.flush().await.unwrap();
        assert!(control.is_flushed());
    }
}
