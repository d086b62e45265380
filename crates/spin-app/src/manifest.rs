//! The application manifest (`spin.toml`, version 2). Decides which keys are understood: a key that Spin knows and
//! this program does not support is refused by name, a key nobody knows is an error too. Nothing is ignored, except
//! what Spin itself ignores at run time (`build`, `targets`, `tool`, descriptions).
//!
//! All problems are reported together.

use anyhow::{Context as _, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A manifest that can be run.
#[derive(Debug)]
pub struct Manifest {
    /// `application.name`.
    pub name: String,
    /// `application.version`; empty when absent.
    pub version: String,
    /// `[variables]`.
    pub variables: BTreeMap<String, VariableDeclaration>,
    /// `[[trigger.http]]`, in the order of the file.
    pub triggers: Vec<HttpTrigger>,
    /// `[component.<id>]`.
    pub components: BTreeMap<String, Component>,
}

/// An application variable: either it has a default or it is required.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariableDeclaration {
    /// The value when no provider has one. `None` means the variable is required.
    pub default: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default, rename = "secret")]
    _secret: bool,
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// One `[[trigger.http]]`.
#[derive(Debug)]
pub struct HttpTrigger {
    /// The component that answers.
    pub component: String,
    /// Where it answers.
    pub route: TriggerRoute,
}

/// `route = "/path/..."` or `route = { private = true }`.
#[derive(Debug, PartialEq, Eq)]
pub enum TriggerRoute {
    /// Reached from outside by path.
    Public(String),
    /// Reached only by service chaining.
    Private,
}

/// One `[component.<id>]`, limited to what matters at run time.
#[derive(Debug)]
pub struct Component {
    /// The wasm file, resolved against the manifest's directory.
    pub source: PathBuf,
    /// Unparsed templates.
    pub allowed_outbound_hosts: Vec<String>,
    /// Labels.
    pub key_value_stores: Vec<String>,
    /// Labels.
    pub sqlite_databases: Vec<String>,
    /// Model names.
    pub ai_models: Vec<String>,
    /// Unparsed templates by name.
    pub variables: BTreeMap<String, String>,
    /// WASI environment, passed as it stands.
    pub environment: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    spin_manifest_version: i64,
    application: RawApplication,
    #[serde(default)]
    variables: BTreeMap<String, VariableDeclaration>,
    #[serde(default)]
    trigger: BTreeMap<String, Vec<toml::Table>>,
    #[serde(default)]
    component: BTreeMap<String, toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApplication {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "authors")]
    _authors: Option<Vec<String>>,
    #[serde(rename = "targets")]
    _targets: Option<Vec<toml::Value>>,
    #[serde(default)]
    trigger: toml::Table,
    #[serde(rename = "tool")]
    _tool: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawComponent {
    source: toml::Value,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "build")]
    _build: Option<toml::Table>,
    #[serde(rename = "targets")]
    _targets: Option<Vec<toml::Value>>,
    #[serde(rename = "tool")]
    _tool: Option<toml::Table>,
}

/// Component keys that Spin understands and this program does not.
const UNSUPPORTED_COMPONENT_KEYS: [&str; 6] = [
    "files",
    "exclude_files",
    "allowed_http_hosts",
    "dependencies",
    "dependencies_inherit_configuration",
    "profile",
];

/// Trigger keys that Spin understands and this program does not.
const UNSUPPORTED_TRIGGER_KEYS: [&str; 3] = ["static_response", "dependencies", "components"];

impl Manifest {
    /// Reads and checks the manifest at `path`.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the manifest {}", path.display()))?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        Self::parse(&text, directory).with_context(|| format!("cannot run the manifest {}", path.display()))
    }

    /// Checks the manifest `text`, whose relative paths start at `directory`.
    pub fn parse(text: &str, directory: &Path) -> anyhow::Result<Self> {
        let version = toml::from_str::<toml::Table>(text)?.get("spin_manifest_version").cloned();
        if version != Some(toml::Value::Integer(2)) {
            bail!("spin_manifest_version must be 2");
        }
        let raw: RawManifest = toml::from_str(text)?;
        debug_assert_eq!(raw.spin_manifest_version, 2);

        let mut problems = Vec::new();
        check_application(&raw.application, &mut problems);
        for (name, variable) in &raw.variables {
            if let Err(reason) = check_variable_name(name) {
                problems.push(format!("variable {name:?}: {reason}"));
            }
            if variable.required == variable.default.is_some() {
                problems
                    .push(format!("variable {name:?}: must either have a `default` or be `required = true`"));
            }
        }
        let components: BTreeMap<_, _> = raw
            .component
            .into_iter()
            .filter_map(|(id, table)| {
                component(&id, table, directory, &mut problems).map(|component| (id, component))
            })
            .collect();
        let triggers = triggers(raw.trigger, &components, &mut problems);

        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        Ok(Self {
            name: raw.application.name,
            version: raw.application.version,
            variables: raw.variables,
            triggers,
            components,
        })
    }
}

fn check_application(application: &RawApplication, problems: &mut Vec<String>) {
    for (kind, settings) in &application.trigger {
        let is_default_base = kind == "http"
            && settings.as_table().is_some_and(|table| {
                table.len() == 1 && table.get("base").and_then(toml::Value::as_str) == Some("/")
            });
        if !is_default_base {
            problems.push(format!("application.trigger.{kind} is not supported"));
        }
    }
}

fn triggers(
    raw: BTreeMap<String, Vec<toml::Table>>,
    components: &BTreeMap<String, Component>,
    problems: &mut Vec<String>,
) -> Vec<HttpTrigger> {
    let mut triggers = Vec::new();
    for (kind, tables) in raw {
        if kind != "http" {
            problems.push(format!("trigger type {kind:?} is not supported, only \"http\" is"));
            continue;
        }
        for table in tables {
            match trigger(table) {
                Ok(trigger) if components.contains_key(&trigger.component) => {
                    triggers.push(trigger);
                }
                Ok(trigger) => {
                    problems.push(format!("[[trigger.http]]: there is no component {:?}", trigger.component))
                }
                Err(reason) => problems.push(format!("[[trigger.http]]: {reason}")),
            }
        }
    }
    if triggers.is_empty() && problems.is_empty() {
        problems.push("there is no [[trigger.http]]".to_owned());
    }
    triggers
}

fn trigger(mut table: toml::Table) -> Result<HttpTrigger, String> {
    for key in UNSUPPORTED_TRIGGER_KEYS {
        if table.contains_key(key) {
            return Err(format!("`{key}` is not supported"));
        }
    }
    table.remove("id");
    let component = match table.remove("component") {
        Some(toml::Value::String(component)) => component,
        Some(_) => return Err("an inline component is not supported".to_owned()),
        None => return Err("`component` is missing".to_owned()),
    };
    let route = match table.remove("route") {
        Some(toml::Value::String(route)) => TriggerRoute::Public(route),
        Some(toml::Value::Table(private))
            if private.len() == 1 && private.get("private").and_then(toml::Value::as_bool) == Some(true) =>
        {
            TriggerRoute::Private
        }
        Some(_) => {
            return Err(format!("the route of {component:?} must be a string or {{ private = true }}"));
        }
        None => return Err(format!("`route` is missing for {component:?}")),
    };
    if let Some(executor) = table.remove("executor") {
        let kind = executor.get("type").and_then(toml::Value::as_str);
        if !matches!(kind, Some("http" | "spin")) {
            return Err(format!("the executor of {component:?} is not supported, only type \"http\" is"));
        }
    }
    match table.keys().next() {
        Some(unknown) => Err(format!("unknown key `{unknown}`")),
        None => Ok(HttpTrigger { component, route }),
    }
}

fn component(
    id: &str,
    table: toml::Table,
    directory: &Path,
    problems: &mut Vec<String>,
) -> Option<Component> {
    let before = problems.len();
    if let Err(reason) = check_component_id(id) {
        problems.push(format!("component {id:?}: {reason}"));
    }
    for key in UNSUPPORTED_COMPONENT_KEYS {
        if table.contains_key(key) {
            problems.push(format!("component {id:?}: `{key}` is not supported"));
        }
    }
    if problems.len() > before {
        return None;
    }
    let raw: RawComponent = match table.try_into() {
        Ok(raw) => raw,
        Err(error) => {
            problems.push(format!("component {id:?}: {}", error.message()));
            return None;
        }
    };
    for name in raw.variables.keys() {
        if let Err(reason) = check_variable_name(name) {
            problems.push(format!("component {id:?}: variable {name:?}: {reason}"));
        }
    }
    let Some(source) = raw.source.as_str() else {
        problems
            .push(format!("component {id:?}: `source` must be a file, a URL or a registry is not supported"));
        return None;
    };
    if source.contains("://") {
        problems.push(format!("component {id:?}: `source` must be a file, {source:?} is not supported"));
    }
    Some(Component {
        source: directory.join(source),
        allowed_outbound_hosts: raw.allowed_outbound_hosts,
        key_value_stores: raw.key_value_stores,
        sqlite_databases: raw.sqlite_databases,
        ai_models: raw.ai_models,
        variables: raw.variables,
        environment: raw.environment,
    })
}

/// `lower_snake_case`: the rule of Spin's variable keys.
pub fn check_variable_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if let Some(invalid) = name.chars().find(|c| !allowed(*c)) {
        Err(format!(
            "invalid character {invalid:?}. Variable names may contain only lower-case letters, numbers, and underscores."
        ))
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Err("must start with a lowercase ASCII letter".to_owned())
    } else if name.ends_with('_') {
        Err("must end with a lowercase ASCII letter or digit".to_owned())
    } else if name.contains("__") {
        Err("must not contain multiple consecutive underscores".to_owned())
    } else {
        Ok(())
    }
}

/// `kebab-case`, each word all lower or all upper case: the rule of the component model.
fn check_component_id(id: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        let Some(first) = word.chars().next() else {
            return false;
        };
        first.is_ascii_alphabetic()
            && word.chars().all(|c| {
                c.is_ascii_digit()
                    || c.is_ascii_alphabetic() && c.is_ascii_uppercase() == first.is_ascii_uppercase()
            })
    };
    if id.split('-').all(is_word) { Ok(()) } else { Err("must be kebab-case".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
spin_manifest_version = 2
[application]
name = "app"
[variables]
key = { required = true, secret = true }
url = { default = "" }
[[trigger.http]]
route = "/a/..."
component = "front"
[[trigger.http]]
route = { private = true }
component = "back"
[component.front]
source = "front.wasm"
allowed_outbound_hosts = ["http://back.spin.internal", "{{ url }}"]
variables = { key = "{{ key }}" }
[component.front.build]
command = "make"
[component.back]
source = "back.wasm"
key_value_stores = ["default"]
"#;

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text, Path::new("/app")).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn reads_what_it_supports() {
        let manifest = parse(MINIMAL).unwrap();
        assert_eq!(manifest.triggers.len(), 2);
        assert_eq!(manifest.triggers[1].route, TriggerRoute::Private);
        assert_eq!(manifest.components["front"].source, PathBuf::from("/app/front.wasm"));
        assert_eq!(manifest.variables["url"].default.as_deref(), Some(""));
    }

    #[test]
    fn refuses_by_name_what_it_does_not() {
        for (addition, named) in [
            ("[component.c]\nsource = \"c.wasm\"\nfiles = [\"a\"]", "`files`"),
            ("[component.c]\nsource = { url = \"https://a/b\", digest = \"x\" }", "`source`"),
            ("[component.c]\nsource = \"https://a/c.wasm\"", "https://a/c.wasm"),
            ("[component.c]\nsource = \"c.wasm\"\nfoo = 1", "foo"),
            ("[component.c_d]\nsource = \"c.wasm\"", "kebab-case"),
            ("[[trigger.redis]]\nchannel = \"x\"\ncomponent = \"front\"", "\"redis\""),
            ("[[trigger.http]]\nroute = \"/x\"\ncomponent = \"none\"", "\"none\""),
            (
                "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"front\"\nexecutor = { type = \"wagi\" }",
                "executor",
            ),
            ("[[trigger.http]]\nroute = { private = false }\ncomponent = \"front\"", "private"),
            ("[[trigger.http]]\nroute = \"/x\"\ncomponent = \"front\"\nfoo = 1", "`foo`"),
            ("[variables.both]\ndefault = \"\"\nrequired = true", "\"both\""),
            ("[variables.neither]", "\"neither\""),
            ("[variables.Bad]\ndefault = \"\"", "\"Bad\""),
            ("[surprise]", "surprise"),
        ] {
            let error = parse(&format!("{MINIMAL}\n{addition}\n")).expect_err(addition);
            assert!(error.contains(named), "{addition}: {error}");
        }
    }

    #[test]
    fn reports_all_problems_together() {
        let error = parse(&format!("{MINIMAL}\n[variables.a]\n[component.c]\nsource = \"c\"\nfiles = []\n"))
            .unwrap_err();
        assert!(error.contains("\"a\"") && error.contains("`files`"), "{error}");
    }

    #[test]
    fn refuses_another_manifest_version() {
        assert!(parse("spin_manifest_version = \"1\"\nname = \"x\"").unwrap_err().contains("must be 2"));
    }
}
