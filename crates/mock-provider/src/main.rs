//! The command line of the mock provider: reads the options, starts it, says where, and runs until killed.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;

use clap::Parser;
use mock_provider::{DEFAULT_CREATED, MockProvider, Options};

/// An OpenAI-speaking upstream with realistic usage, and faults on demand chosen by the model name.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Worker threads; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Answer 401 to requests without this bearer key.
    #[arg(long)]
    api_key: Option<String>,
    /// Record requests for GET /mock/log from the start.
    #[arg(long)]
    record: bool,
    /// `created` of every answer, in Unix seconds.
    #[arg(long, default_value_t = DEFAULT_CREATED)]
    created: u64,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => thread::available_parallelism()?.get(),
    };
    let mock = MockProvider::start(Options {
        listen: arguments.listen,
        threads,
        api_key: arguments.api_key,
        record: arguments.record,
        created: arguments.created,
    })?;
    writeln!(io::stdout(), "mock-provider listening on {}", mock.url())?;
    loop {
        thread::park();
    }
}
