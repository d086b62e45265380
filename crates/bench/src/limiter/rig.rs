//! What runs: one host per store and number of limits, each with the limiter alone as its app, and one Redis per host
//! that needs one. All are idle but the one that is measured.

use super::cell::{Cell, LimiterStore};
use crate::process::Process;
use crate::rig::{program, set_wal_mode, write};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::Path;
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
    let mut command = command(dev_host, component, directory, script_url)?;
    command.arg("--runtime-config-file").arg(write(directory, "runtime-config.toml", &runtime_config)?);
    let process = Process::serving(&mut command, "Serving ")
        .with_context(|| format!("{} with {} limits", cell.store.name(), cell.limits))?;
    Ok(Host { process, redis })
}

/// Runs the limiter with the document in `gateway.toml`; `script_url` is the Redis that it asks by itself, if any.
pub(super) fn command(
    dev_host: &Path,
    component: &Path,
    directory: &Path,
    script_url: &str,
) -> anyhow::Result<Command> {
    let mut command = Command::new(dev_host);
    command
        .current_dir(directory)
        .args(["up", "--listen", "127.0.0.1:0", "--quiet", "--stats", "--from"])
        .arg(write(directory, "spin.toml", &manifest(component))?)
        .args(["--state-dir", "state", "--variable", "gateway=@gateway.toml"])
        .args(["--variable", &format!("limiter_redis={script_url}")]);
    Ok(command)
}

/// The limiter as an app of its own, its private routes in public.
fn manifest(component: &Path) -> String {
    let source = component.display();
    format!(
        r#"
spin_manifest_version = 2
[application]
name = "limiter-alone"
[variables]
gateway = {{ default = "" }}
limiter_redis = {{ default = "" }}
limiter_redis_password = {{ default = "" }}
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
limiter_redis_password = "{{{{ limiter_redis_password }}}}"
admin_token = "{{{{ admin_token }}}}"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variable that a component reads and its manifest does not declare is an error at that moment.
    #[test]
    fn the_limiter_alone_has_every_variable_that_it_has_in_the_gateway() {
        let gateway = include_str!("../../../../spin.toml");
        let (_, variables) = gateway.split_once("[component.token-limiter.variables]\n").unwrap();
        let variables: Vec<_> = variables.lines().take_while(|line| !line.starts_with('[')).collect();
        assert!(variables.len() > 2, "{variables:?}");
        let alone = manifest(Path::new("token_limiter.wasm"));
        let (_, alone) = alone.split_once("[component.token-limiter.variables]\n").unwrap();
        for variable in variables {
            assert!(alone.lines().any(|line| line == variable), "{variable}");
        }
    }
}
