//! Listens and serves HTTP/1.1, on threads of its own.
//!
//! Decides nothing about answers. A failed connection ends alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::routes::{self, Shared};
use crate::wire::{Control, Wire};

/// Connections the kernel keeps until they are accepted: load generators open thousands at once.
const BACKLOG: u32 = 4096;
/// Pause after a failed accept, which otherwise (out of file descriptors) fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Binds `address`; needs a runtime context.
///
/// # Errors
/// If the address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections until dropped.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.memory.count_connection();
                tokio::spawn(serve_connection(stream, Arc::clone(&shared)));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it, small writes would wait for the acknowledgement of the last. If it fails, so will the first write.
    let _ = stream.set_nodelay(true);
    let control = Arc::new(Control::default());
    let io = TokioIo::new(Wire::new(stream, Arc::clone(&control)));
    let service =
        service_fn(move |request| routes::handle(Arc::clone(&shared), Arc::clone(&control), request));
    // The error says that the client left or that the mock cut the answer: the exchange has recorded which.
    let _ = http1::Builder::new().header_read_timeout(None).serve_connection(io, service).await;
}
