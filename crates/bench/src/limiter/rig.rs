//! What runs: one host per store and number of limits, each with the limiter alone as its app, and one Redis per host
//! that needs one. All are idle but the one that is measured.

use super::cell::{Cell, LimiterStore};
use crate::process::Process;
use crate::rig::{program, set_wal_mode, write};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One host with its store.
#[derive(Debug)]
pub struct Host {
    /// The host.
    pub process: Process,
    /// Its Redis server, if it needs one.
    pub redis: Option<Process>,
}

/// The running programs. Dropping it ends them.
#[derive(Debug)]
pub struct Rig {
    hosts: BTreeMap<(LimiterStore, usize), Host>,
}

impl Rig {
    /// Starts a host for each of the cells that do not share one. `state` is emptied first.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub fn start(dev_host: &Path, component: &Path, state: &Path, cells: &[Cell]) -> anyhow::Result<Self> {
        let state = std::path::absolute(state)?;
        if state.exists() {
            fs::remove_dir_all(&state).with_context(|| format!("cannot empty {}", state.display()))?;
        }
        let (dev_host, component) = (program(dev_host)?, program(component)?);
        let mut hosts = BTreeMap::new();
        for cell in cells {
            let key = (cell.store, cell.limits);
            if let Entry::Vacant(place) = hosts.entry(key) {
                let directory = state.join(format!("{:?}-{}", cell.store, cell.limits));
                place.insert(start(&dev_host, &component, &directory, *cell)?);
            }
        }
        Ok(Self { hosts })
    }

    /// The host of a cell.
    ///
    /// # Errors
    /// If it was not started.
    pub fn host(&self, cell: Cell) -> anyhow::Result<&Host> {
        self.hosts.get(&(cell.store, cell.limits)).context("the host was not started")
    }
}

fn start(dev_host: &Path, component: &Path, directory: &Path, cell: Cell) -> anyhow::Result<Host> {
    let state = directory.join("state");
    fs::create_dir_all(&state)?;
    write(directory, "gateway.toml", &cell.document())?;
    let redis = if cell.store.is_redis() { Some(Process::redis(directory)?) } else { None };
    let redis_url = redis.as_ref().map(|redis| format!("redis://{}", redis.address)).unwrap_or_default();
    let runtime_config = match cell.store {
        LimiterStore::Sqlite | LimiterStore::Wal | LimiterStore::Script => String::new(),
        LimiterStore::Memory => "[key_value_store.default]\ntype = \"spin\"\n".to_owned(),
        LimiterStore::Redis => {
            format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{redis_url}\"\n")
        }
    };
    if cell.store == LimiterStore::Wal {
        set_wal_mode(&state.join("sqlite_key_value.db"))?;
    }
    let script_url = if cell.store == LimiterStore::Script { redis_url.as_str() } else { "" };
    let mut command = Command::new(dev_host);
    command
        .current_dir(directory)
        .args(["up", "--listen", "127.0.0.1:0", "--quiet", "--stats", "--from"])
        .arg(manifest(directory, component)?)
        .arg("--state-dir")
        .arg(&state)
        .args(["--variable", "gateway=@gateway.toml"])
        .args(["--variable", &format!("limiter_redis={script_url}")])
        .arg("--runtime-config-file")
        .arg(write(directory, "runtime-config.toml", &runtime_config)?);
    let process = Process::serving(&mut command, "Serving ")
        .with_context(|| format!("{} with {} limits", cell.store.name(), cell.limits))?;
    Ok(Host { process, redis })
}

/// The limiter as an app of its own, its private routes in public.
fn manifest(directory: &Path, component: &Path) -> anyhow::Result<PathBuf> {
    let source = component.display();
    write(
        directory,
        "spin.toml",
        &format!(
            r#"
spin_manifest_version = 2
[application]
name = "limiter-alone"
[variables]
gateway = {{ default = "" }}
limiter_redis = {{ default = "" }}
admin_token = {{ default = "" }}
[[trigger.http]]
route = "/..."
component = "token-limiter"
[component.token-limiter]
source = '{source}'
key_value_stores = ["default"]
allowed_outbound_hosts = ["{{{{ limiter_redis }}}}"]
[component.token-limiter.variables]
gateway = "{{{{ gateway }}}}"
limiter_redis = "{{{{ limiter_redis }}}}"
admin_token = "{{{{ admin_token }}}}"
"#
        ),
    )
}
