//! Where a guest's standard output and standard error go: a file per component and stream, and the terminal unless
//! told otherwise. As in Spin, both streams of a guest go to the terminal's standard error.

use anyhow::Context as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// How much a guest may write at once, in bytes.
const WRITE_BUDGET_BYTES: usize = 1 << 20;

/// Where the streams of all components go.
#[derive(Debug)]
pub struct Logs {
    /// `None` writes no files.
    pub directory: Option<PathBuf>,
    /// Whether the terminal gets a copy.
    pub is_followed: bool,
}

impl Logs {
    /// Creates the directory, and empties the files of earlier runs if asked to.
    pub fn prepare(&self, truncate: bool) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        if truncate {
            for entry in directory.read_dir()?.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.ends_with("stdout.txt") || name.ends_with("stderr.txt") {
                    File::create(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// The stream `name` (`stdout` or `stderr`) of `component`.
    pub fn stream(&self, component: &str, name: &str) -> anyhow::Result<LogStream> {
        let file = match &self.directory {
            Some(directory) => Some(append(&directory.join(format!("{component}_{name}.txt")))?),
            None => None,
        };
        Ok(LogStream {
            // Without a file the terminal is the only place left, even when quiet: as in Spin.
            is_followed: self.is_followed || file.is_none(),
            file: file.map(Arc::new),
        })
    }
}

fn append(path: &Path) -> anyhow::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open the log file {}", path.display()))
}

/// One stream of one component; clones write to the same place.
#[derive(Clone, Debug)]
pub struct LogStream {
    file: Option<Arc<File>>,
    is_followed: bool,
}

impl LogStream {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            (&**file).write_all(bytes)?;
        }
        if self.is_followed {
            io::stderr().write_all(bytes)?;
        }
        Ok(())
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        LogStream::write(self, &bytes).map_err(|error| StreamError::LastOperationFailed(error.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BUDGET_BYTES)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(LogStream::write(&self, bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
