//! Everything that runs during the benchmark: the mock, Redis, and one host per kind of state, all idle but the one
//! that is measured.

use crate::process::Process;
use crate::questions::gateway_document;
use crate::scenario::{Host, Scenario, Store};
use crate::settings::Settings;
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that the host keeps in its state directory, under their fixed names.
const DATABASES: [&str; 2] = ["sqlite_key_value.db", "sqlite_db.db"];

/// The running programs. Dropping it ends them and removes their state.
pub struct Rig {
    /// The upstream.
    pub mock: Process,
    /// The Redis server, if a host needs it.
    pub redis: Option<Process>,
    hosts: BTreeMap<Host, Process>,
    // Last, so that it is removed when all have ended.
    directory: StateDirectory,
}

struct StateDirectory(PathBuf);

impl Drop for StateDirectory {
    fn drop(&mut self) {
        // What cannot be removed is overwritten by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Rig {
    /// Starts what the scenarios need.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub fn start(settings: &Settings, scenarios: &[Scenario]) -> anyhow::Result<Self> {
        let state = std::path::absolute(&settings.state)?;
        if state.exists() {
            fs::remove_dir_all(&state).with_context(|| format!("cannot empty {}", state.display()))?;
        }
        fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
        let directory = StateDirectory(state);
        let mut mock = Command::new(program(&settings.mock_provider)?);
        let mock = Process::serving(mock.args(["--listen", "127.0.0.1:0"]), "listening on ")?;
        let mut rig = Self { mock, redis: None, hosts: BTreeMap::new(), directory };
        for host in scenarios.iter().filter_map(|scenario| scenario.host()) {
            if !rig.hosts.contains_key(&host) {
                eprintln!("starting {}", host.name());
                let process =
                    rig.start_host(settings, host).with_context(|| format!("host {}", host.name()))?;
                rig.hosts.insert(host, process);
            }
        }
        Ok(rig)
    }

    /// Where a scenario is asked.
    ///
    /// # Errors
    /// If its host was not started.
    pub fn address(&self, scenario: Scenario) -> anyhow::Result<SocketAddr> {
        Ok(self.process(scenario)?.map_or(self.mock.address, |host| host.address))
    }

    /// The host of a scenario; none if the mock is all.
    ///
    /// # Errors
    /// If it was not started.
    pub fn process(&self, scenario: Scenario) -> anyhow::Result<Option<&Process>> {
        let host = scenario.host();
        host.map(|host| self.hosts.get(&host).context("the host was not started")).transpose()
    }

    /// What components wrote to standard error, by host: nothing, if all went well.
    ///
    /// # Errors
    /// If a log cannot be read.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let mut complaints = Vec::new();
        for host in self.hosts.keys() {
            let logs = self.directory.0.join(host.name()).join("state/logs");
            for entry in fs::read_dir(&logs).with_context(|| logs.display().to_string())? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text = if name.contains("stderr") { fs::read_to_string(&path)? } else { String::new() };
                if let Some(first) = text.lines().next() {
                    let lines = text.lines().count();
                    complaints.push(format!("{}: {name}: {lines} lines, the first: {first}", host.name()));
                }
            }
        }
        Ok(complaints)
    }

    fn start_host(&mut self, settings: &Settings, host: Host) -> anyhow::Result<Process> {
        let directory = self.directory.0.join(host.name());
        let state = directory.join("state");
        fs::create_dir_all(&state)?;
        let mock_url = format!("http://{}", self.mock.address);
        let manifest = match host {
            Host::PassThrough => {
                write(&directory, "spin.toml", &pass_through_manifest(&program(&settings.pass_through)?))?
            }
            Host::SameCalls(store) => {
                let manifest = same_calls_manifest(&program(&settings.same_calls)?, store.is_some());
                write(&directory, "spin.toml", &manifest)?
            }
            Host::Gateway(_) => std::path::absolute(&settings.manifest)?,
        };
        let mut command = Command::new(program(&settings.dev_host)?);
        command
            .current_dir(&directory)
            .args(["up", "--listen", "127.0.0.1:0", "--quiet", "--stats", "--from"])
            .arg(&manifest)
            .arg("--state-dir")
            .arg(&state);
        match host {
            Host::PassThrough | Host::SameCalls(_) => {
                command.args(["--variable", &format!("upstream={mock_url}")])
            }
            Host::Gateway(_) => {
                write(&directory, "gateway.toml", &gateway_document(&mock_url))?;
                command
                    .args(["--variable", "gateway=@gateway.toml"])
                    .args(["--variable", &format!("http_backend_1={mock_url}")])
            }
        };
        if let Host::Gateway(store) | Host::SameCalls(Some(store)) = host {
            if store != Store::Sqlite {
                DATABASES.iter().try_for_each(|name| set_wal_mode(&state.join(name)))?;
            }
            if let Some(config) = self.runtime_config(store, host)? {
                command.arg("--runtime-config-file").arg(write(&directory, "runtime-config.toml", &config)?);
            }
        }
        Process::serving(&mut command, "Serving ")
    }

    /// One Redis serves both hosts that need one, each with a database of its own.
    fn runtime_config(&mut self, store: Store, host: Host) -> anyhow::Result<Option<String>> {
        Ok(match store {
            Store::Sqlite | Store::Wal => None,
            Store::Memory => Some("[key_value_store.default]\ntype = \"spin\"\n".to_owned()),
            Store::Redis => {
                let address = match &self.redis {
                    Some(redis) => redis.address,
                    None => self.redis.insert(Process::redis(&self.directory.0)?).address,
                };
                let database = u8::from(matches!(host, Host::SameCalls(_)));
                let url = format!("redis://{address}/{database}");
                Some(format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{url}\"\n"))
            }
        })
    }
}

/// The journal mode stays with the file.
pub(crate) fn set_wal_mode(path: &Path) -> anyhow::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    ensure!(mode == "wal", "{} stays in journal mode {mode}", path.display());
    Ok(())
}

pub(crate) fn program(path: &Path) -> anyhow::Result<PathBuf> {
    ensure!(path.exists(), "{} is missing; scripts/bench builds it", path.display());
    Ok(std::path::absolute(path)?)
}

pub(crate) fn write(directory: &Path, name: &str, content: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn pass_through_manifest(component: &Path) -> String {
    format!(
        r#"
spin_manifest_version = 2
[application]
name = "pass-through"
[variables]
upstream = {{ required = true }}
[[trigger.http]]
route = "/..."
component = "pass-through"
[component.pass-through]
source = '{}'
allowed_outbound_hosts = ["{{{{ upstream }}}}"]
variables = {{ upstream = "{{{{ upstream }}}}" }}
"#,
        component.display()
    )
}

/// Requests whose after-work the probe sends at once, as the gateway's queue does. The queue gathers what comes within 150
/// ms in one instance, and so more of a faster gateway's requests: this probe, which is faster than the gateway, gathers
/// as many as the gateway does under this benchmark's load, so that both make as many calls. The gateway made 0.30 to 0.39
/// of each kind per request (`calls after` in the table is the sum of the three).
const REQUESTS_PER_BATCH: u32 = 3;

/// One component under the four ids of the gateway's.
fn same_calls_manifest(component: &Path, has_stores: bool) -> String {
    let stores = if has_stores { "yes" } else { "no" };
    let mut manifest = r#"
spin_manifest_version = 2
[application]
name = "same-calls"
[variables]
upstream = { required = true }
"#
    .to_owned();
    for (id, route) in [
        ("router", "\"/...\""),
        ("token-limiter", "{ private = true }"),
        ("semantic-cache", "{ private = true }"),
        ("usage-logger", "{ private = true }"),
    ] {
        manifest.push_str(&format!(
            r#"
[[trigger.http]]
route = {route}
component = "{id}"
[component.{id}]
source = '{}'
key_value_stores = ["default"]
sqlite_databases = ["default"]
allowed_outbound_hosts = [
    "http://token-limiter.spin.internal",
    "http://semantic-cache.spin.internal",
    "http://usage-logger.spin.internal",
    "{{{{ upstream }}}}",
]
[component.{id}.variables]
upstream = "{{{{ upstream }}}}"
stores = "{stores}"
requests_per_batch = "{REQUESTS_PER_BATCH}"
"#,
            component.display()
        ));
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_mode_is_set_on_a_file_that_did_not_exist_and_stays() {
        let path = std::env::temp_dir().join(format!("bench-wal-{}.db", std::process::id()));
        set_wal_mode(&path).unwrap();
        let mode: String = rusqlite::Connection::open(&path)
            .unwrap()
            .query_row("PRAGMA journal_mode", [], |row| row.get(0))
            .unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(mode, "wal");
    }
}
