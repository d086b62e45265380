//! An OpenAI-speaking upstream with realistic usage, and faults on demand.
//!
//! A client chooses what happens by the model name alone (see the README for the language), so that a test needs
//! no set-up beside its request. The answer is a function of the request; only `flaky` looks at earlier ones.
//!
//! ```
//! use mock_provider::{MockProvider, Options};
//!
//! let mock = MockProvider::start(Options { record: true, ..Options::default() })?;
//! assert!(mock.url().starts_with("http://127.0.0.1:"));
//! assert!(mock.log().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod answer;
pub mod behaviour;
mod body;
mod chat;
mod completion;
mod deltas;
mod errors;
mod events;
mod exchange;
mod gzip;
pub mod header_text;
mod json;
mod logged_request;
mod memory;
pub mod model_name;
mod request;
mod respond;
mod routes;
mod script;
mod server;
mod stable_hash;
mod stream;
pub mod text;
mod tools;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

pub use crate::memory::{Ending, LoggedRequest, Stats};

use crate::memory::Memory;
use crate::routes::Shared;

/// `created` of every answer by default: 2025-01-01T00:00:00Z, so that answers are equal from run to run.
pub const DEFAULT_CREATED: u64 = 1_735_689_600;

/// How to run a mock.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0, the default, picks one on the loopback interface.
    pub listen: SocketAddr,
    /// Worker threads, at least 1 (the default).
    pub threads: usize,
    /// The only accepted bearer key; by default any request is let in.
    pub api_key: Option<String>,
    /// Record requests from the start; off by default.
    pub record: bool,
    /// `created` of every answer, in Unix seconds; [`DEFAULT_CREATED`] by default.
    pub created: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            threads: 1,
            api_key: None,
            record: false,
            created: DEFAULT_CREATED,
        }
    }
}

/// The mock; see [`MockProvider::start`].
#[derive(Debug)]
pub struct MockProvider;

impl MockProvider {
    /// Starts a mock on threads of its own, from synchronous and asynchronous code alike; it listens on return.
    ///
    /// # Errors
    /// If the address cannot be had or the threads cannot be started.
    pub fn start(options: Options) -> io::Result<Handle> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("mock-provider")
            .enable_all()
            .build()?;
        let listener = {
            let _context = runtime.enter();
            server::listen(options.listen)?
        };
        let address = listener.local_addr()?;
        let memory = Arc::new(Memory::default());
        memory.set_recording(options.record);
        let shared =
            Shared { memory: Arc::clone(&memory), api_key: options.api_key, created: options.created };
        runtime.spawn(server::serve(listener, Arc::new(shared)));
        Ok(Handle { address, memory, runtime: Some(runtime) })
    }
}

/// A running mock; dropping it closes its socket and breaks its connections.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    memory: Arc<Memory>,
    /// Taken by `drop`.
    runtime: Option<Runtime>,
}

impl Handle {
    /// `http://address:port`, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The recorded requests in the order of their arrival, those under way included.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.memory.log()
    }

    /// Forgets the recorded requests.
    pub fn clear_log(&self) {
        self.memory.clear_log();
    }

    /// Switches recording on or off.
    pub fn set_recording(&self, is_recording: bool) {
        self.memory.set_recording(is_recording);
    }

    /// The counters since the start.
    pub fn stats(&self) -> Stats {
        self.memory.stats()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime within another one panics; this does not wait.
            runtime.shutdown_background();
        }
    }
}
