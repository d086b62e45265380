//! The command line, in Spin's words.

// A command-line tool: the terminal is where it speaks.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use dev_host::app::{App, Options};
use dev_host::handler::MAX_CONCURRENT_REQUESTS;
use dev_host::{server, stats};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a Spin application where the `spin` command is absent. For trying out, tests and benchmarks, not for
/// production.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the application.
    Up(Up),
}

#[derive(Args)]
struct Up {
    /// The manifest, or the directory with a `spin.toml` in it.
    #[arg(short = 'f', long, default_value = "spin.toml")]
    from: PathBuf,

    /// IP address and port to listen on; port 0 picks a free one.
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = listen_address)]
    listen: SocketAddr,

    /// A variable, `key=value` or `key=@file`, or a file of variables, `@file.toml` or `@file.json`. Repeatable.
    #[arg(long = "variable")]
    variables: Vec<String>,

    /// The runtime config.
    #[arg(long, env = "RUNTIME_CONFIG_FILE")]
    runtime_config_file: Option<PathBuf>,

    /// Where state goes; `.spin` beside the manifest by default, empty for none (in memory).
    #[arg(long)]
    state_dir: Option<String>,

    /// Where the components' output goes; `logs` in the state directory by default, empty for none.
    #[arg(short = 'L', long, env = "SPIN_LOG_DIR")]
    log_dir: Option<String>,

    /// Empty the log files first.
    #[arg(long)]
    truncate_logs: bool,

    /// Do not copy the components' output to the terminal.
    #[arg(short, long)]
    quiet: bool,

    /// Compile the components afresh.
    #[arg(long, env = "DISABLE_WASMTIME_CACHE", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    disable_cache: bool,

    /// Count component calls and store operations; GET /.well-known/dev-host/stats tells them. For benchmarks.
    #[arg(long)]
    stats: bool,

    /// Requests that an instance takes at a time.
    #[arg(long, default_value_t = MAX_CONCURRENT_REQUESTS, value_parser = clap::value_parser!(u16).range(1..))]
    max_instance_concurrent_reuse_count: u16,

    /// Connect to this address instead of asking the resolver, `host:port=address:port`; certificates are still checked
    /// against the host. For tests. Repeatable.
    #[arg(long = "resolve", value_parser = resolution)]
    resolved: Vec<(String, SocketAddr)>,

    /// Turn Nagle's algorithm off on accepted connections, which Spin cannot: for telling its delays from others'.
    #[arg(long)]
    tcp_nodelay: bool,
}

fn main() -> anyhow::Result<()> {
    let Cli { command: Command::Up(up) } = Cli::parse();
    let manifest = if up.from.is_dir() { up.from.join("spin.toml") } else { up.from };
    let options = Options {
        manifest: std::path::absolute(manifest)?,
        runtime_config: up.runtime_config_file,
        variables: up.variables,
        state_dir: up.state_dir,
        log_dir: up.log_dir,
        truncate_logs: up.truncate_logs,
        quiet: up.quiet,
        disable_cache: up.disable_cache,
        resolved: up.resolved.into_iter().collect(),
        max_concurrent_requests: up.max_instance_concurrent_reuse_count.into(),
    };
    if up.stats {
        stats::turn_on();
    }
    eprintln!("dev-host stands in for Spin, for trying out, tests and benchmarks. It is not for production.");
    exit_when_told()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let app = App::load(&options)?;
        let listener = server::bind(&app, up.listen).await?;
        server::serve(app, listener, up.tcp_nodelay).await
    })
}

/// Ends the process at once on SIGTERM and SIGINT. Spin drains nothing either: responses and work after them are lost.
///
/// Waits on a thread of its own, because a busy guest may occupy every other one.
fn exit_when_told() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        std::process::exit(0);
    });
    Ok(())
}

/// Resolves `address`, preferring 127.0.0.1 among what `localhost` means, as Spin does.
fn listen_address(address: &str) -> anyhow::Result<SocketAddr> {
    let addresses: Vec<_> = address.to_socket_addrs()?.collect();
    addresses
        .iter()
        .find(|address| address.ip() == std::net::Ipv4Addr::LOCALHOST)
        .or(addresses.first())
        .copied()
        .context("couldn't resolve address")
}

fn resolution(text: &str) -> anyhow::Result<(String, SocketAddr)> {
    let (host_and_port, address) = text.split_once('=').context("write host:port=address:port")?;
    Ok((host_and_port.to_owned(), address.parse()?))
}
