//! The runtime config file. Decides which backends exist behind which label. Unknown keys are errors, and so is every
//! backend that this program does not have; both are named.
//!
//! Paths follow Spin, oddly: a key-value path is relative to the config file, a SQLite path to the working directory.

use crate::blocked_networks::BlockedNetworks;
use crate::variables::Provider;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The settings of the file, or of its absence.
#[derive(Debug)]
pub struct RuntimeConfig {
    /// `[key_value_store.<label>]`.
    pub key_value_stores: BTreeMap<String, KeyValueStore>,
    /// `[sqlite_database.<label>]`.
    pub sqlite_databases: BTreeMap<String, SqliteDatabase>,
    /// `[[variables_provider]]`.
    pub variable_providers: Vec<Provider>,
    /// `[outbound_http]`. Without the table pooling is on; with the table it is off unless the table turns it on.
    pub is_connection_pooling_on: bool,
    /// `[outbound_networking] block_networks`.
    pub blocked_networks: BlockedNetworks,
    /// `state_dir`; an empty string unsets it.
    pub state_dir: Option<String>,
    /// `log_dir`; an empty string unsets it.
    pub log_dir: Option<String>,
}

/// Where a key-value store keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueStore {
    /// In memory, gone when the process ends.
    Memory,
    /// A SQLite file.
    File(PathBuf),
    /// A Redis server.
    Redis(String),
}

/// Where a SQLite database keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteDatabase {
    /// `None` is in memory, one database per connection.
    pub path: Option<PathBuf>,
    /// Whether a guest may `ATTACH` another file.
    pub is_attach_allowed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    key_value_store: BTreeMap<String, toml::Table>,
    #[serde(default)]
    sqlite_database: BTreeMap<String, toml::Table>,
    #[serde(default)]
    variables_provider: Vec<toml::Table>,
    llm_compute: Option<toml::Table>,
    outbound_http: Option<RawOutboundHttp>,
    outbound_networking: Option<RawOutboundNetworking>,
    state_dir: Option<String>,
    log_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutboundHttp {
    #[serde(default)]
    connection_pooling: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOutboundNetworking {
    #[serde(default)]
    block_networks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFileStore {
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRedisStore {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatabase {
    path: Option<PathBuf>,
    #[serde(default)]
    allow_attach_file: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStaticProvider {
    #[serde(default)]
    values: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEnvironmentProvider {
    prefix: Option<String>,
    dotenv_path: Option<PathBuf>,
}

impl RuntimeConfig {
    /// Reads the file at `path`, or returns Spin's defaults without one.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Self::parse("", Path::new("."));
        };
        let context = || format!("cannot use the runtime config {}", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        Self::parse(&text, directory).with_context(context)
    }

    /// Checks the config `text`, whose key-value paths start at `directory`.
    pub fn parse(text: &str, directory: &Path) -> anyhow::Result<Self> {
        let raw: RawConfig = toml::from_str(text)?;
        if let Some(mut llm) = raw.llm_compute {
            match take_type(&mut llm).as_deref() {
                Some("spin") if llm.is_empty() => {}
                kind => bail!("llm_compute: type {kind:?} is not supported, only \"spin\" is"),
            }
        }
        let blocked_networks =
            raw.outbound_networking.map(|networking| networking.block_networks).unwrap_or_default();
        let blocked_networks =
            BlockedNetworks::parse(&blocked_networks).context("outbound_networking.block_networks")?;
        Ok(Self {
            key_value_stores: labelled(raw.key_value_store, "key_value_store", |table| {
                key_value_store(table, directory)
            })?,
            sqlite_databases: labelled(raw.sqlite_database, "sqlite_database", sqlite_database)?,
            variable_providers: raw
                .variables_provider
                .into_iter()
                .map(|table| variable_provider(table).context("variables_provider"))
                .collect::<anyhow::Result<_>>()?,
            is_connection_pooling_on: raw.outbound_http.is_none_or(|http| http.connection_pooling),
            blocked_networks,
            state_dir: raw.state_dir,
            log_dir: raw.log_dir,
        })
    }
}

fn labelled<T>(
    tables: BTreeMap<String, toml::Table>,
    section: &str,
    parse: impl Fn(toml::Table) -> anyhow::Result<T>,
) -> anyhow::Result<BTreeMap<String, T>> {
    tables
        .into_iter()
        .map(|(label, table)| {
            let value = parse(table).with_context(|| format!("{section}.{label}"))?;
            Ok((label, value))
        })
        .collect()
}

fn take_type(table: &mut toml::Table) -> Option<String> {
    match table.remove("type") {
        Some(toml::Value::String(kind)) => Some(kind),
        _ => None,
    }
}

fn key_value_store(mut table: toml::Table, directory: &Path) -> anyhow::Result<KeyValueStore> {
    match take_type(&mut table).as_deref() {
        Some("spin") => Ok(match table.try_into::<RawFileStore>()?.path {
            Some(path) => KeyValueStore::File(directory.join(path)),
            None => KeyValueStore::Memory,
        }),
        Some("redis") => Ok(KeyValueStore::Redis(table.try_into::<RawRedisStore>()?.url)),
        kind => bail!("type {kind:?} is not supported, only \"spin\" and \"redis\" are"),
    }
}

fn sqlite_database(mut table: toml::Table) -> anyhow::Result<SqliteDatabase> {
    match take_type(&mut table).as_deref() {
        Some("spin") => {
            let raw: RawDatabase = table.try_into()?;
            Ok(SqliteDatabase { path: raw.path, is_attach_allowed: raw.allow_attach_file })
        }
        kind => bail!("type {kind:?} is not supported, only \"spin\" is"),
    }
}

fn variable_provider(mut table: toml::Table) -> anyhow::Result<Provider> {
    match take_type(&mut table).as_deref() {
        Some("static") => Ok(Provider::Static(table.try_into::<RawStaticProvider>()?.values)),
        Some("env") => {
            let raw: RawEnvironmentProvider = table.try_into()?;
            Provider::environment(raw.prefix, raw.dotenv_path.as_deref())
        }
        kind => bail!("type {kind:?} is not supported, only \"static\" and \"env\" are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuntimeConfig, String> {
        RuntimeConfig::parse(text, Path::new("/config")).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn a_store_has_a_backend() {
        let config = parse(
            "[key_value_store.a]\ntype = \"spin\"\n[key_value_store.b]\ntype = \"spin\"\npath = \"b.db\"\n\
             [key_value_store.c]\ntype = \"redis\"\nurl = \"redis://localhost\"",
        )
        .unwrap();
        assert_eq!(config.key_value_stores["a"], KeyValueStore::Memory);
        assert_eq!(config.key_value_stores["b"], KeyValueStore::File("/config/b.db".into()));
        assert_eq!(config.key_value_stores["c"], KeyValueStore::Redis("redis://localhost".into()));
    }

    #[test]
    fn an_outbound_http_table_turns_pooling_off_unless_it_says_otherwise() {
        for (text, expected) in
            [("", true), ("[outbound_http]", false), ("[outbound_http]\nconnection_pooling = true", true)]
        {
            assert_eq!(parse(text).unwrap().is_connection_pooling_on, expected, "{text}");
        }
    }

    #[test]
    fn what_is_unknown_or_unsupported_is_refused_by_name() {
        for (text, named) in [
            ("surprise = 1", "surprise"),
            ("[key_value_store.a]\ntype = \"azure_cosmos\"", "azure_cosmos"),
            ("[key_value_store.a]\ntype = \"spin\"\nurl = \"x\"", "url"),
            ("[sqlite_database.a]\ntype = \"libsql\"", "libsql"),
            ("[[variables_provider]]\ntype = \"vault\"", "vault"),
            ("[llm_compute]\ntype = \"remote_http\"", "remote_http"),
            ("[outbound_http]\nmax_connections = 3", "max_connections"),
            ("[outbound_networking]\nblock_networks = [\"x\"]", "\"x\""),
            ("[[client_tls]]\nhosts = []", "client_tls"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
