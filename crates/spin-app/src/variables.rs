//! Where the values of variables come from. Decides precedence: the command line (`--variable`), then the providers of
//! the runtime config in their order, then the environment (`SPIN_VARIABLE_<NAME>`, `.env`), then the default.
//!
//! All supported providers are fixed for the life of the process, so everything is resolved once at start; a required
//! variable without a value stops the start, as in Spin.

use crate::manifest::{Manifest, check_variable_name};
use crate::template::{Template, TemplateError};
use anyhow::{Context as _, anyhow, bail};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A source of values that is asked by variable name.
#[derive(Debug)]
pub enum Provider {
    /// A fixed table.
    Static(HashMap<String, String>),
    /// Environment variables `<prefix>_<NAME>`, the process's own before those of a `.env` file.
    Environment {
        /// Without the trailing underscore.
        prefix: String,
        /// What the `.env` file holds; empty if there is none.
        dotenv: HashMap<String, String>,
    },
}

/// What Spin puts before the upper-cased name.
const DEFAULT_ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE";

impl Provider {
    /// The provider of the environment; `dotenv_path` is read now if it exists.
    pub fn environment(prefix: Option<String>, dotenv_path: Option<&Path>) -> anyhow::Result<Self> {
        let dotenv = match dotenv_path {
            Some(path) if path.exists() => dotenvy::from_path_iter(path)
                .and_then(Iterator::collect)
                .with_context(|| format!("cannot read {}", path.display()))?,
            _ => HashMap::new(),
        };
        Ok(Self::Environment {
            prefix: prefix.unwrap_or_else(|| DEFAULT_ENVIRONMENT_PREFIX.to_owned()),
            dotenv,
        })
    }

    fn get(&self, name: &str) -> anyhow::Result<Option<String>> {
        match self {
            Self::Static(values) => Ok(values.get(name).cloned()),
            Self::Environment { prefix, dotenv } => {
                let key = format!("{prefix}_{}", name.to_ascii_uppercase());
                match std::env::var(&key) {
                    Ok(value) => Ok(Some(value)),
                    Err(std::env::VarError::NotPresent) => Ok(dotenv.get(&key).cloned()),
                    Err(error) => Err(anyhow!("environment variable {key}: {error}")),
                }
            }
        }
    }
}

/// Reads the `--variable` arguments: `key=value`, `key=@file`, `@file.toml`, `@file.json`. Later ones win.
pub fn from_arguments(arguments: &[String]) -> anyhow::Result<Provider> {
    let mut values = HashMap::new();
    for argument in arguments {
        if let Some(path) = argument.strip_prefix('@') {
            values.extend(table_from_file(&PathBuf::from(path))?);
        } else if let Some((key, value)) = argument.split_once('=') {
            let value = match value.strip_prefix('@') {
                Some(path) => read(Path::new(path))?,
                None => value.to_owned(),
            };
            values.insert(key.to_owned(), value);
        } else {
            bail!("variables must be in the form 'key=value' or '@file', got {argument:?}");
        }
    }
    Ok(Provider::Static(values))
}

fn table_from_file(path: &Path) -> anyhow::Result<HashMap<String, String>> {
    let parse_context = || format!("cannot parse {}", path.display());
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(&read(path)?).with_context(parse_context),
        Some("json") => serde_json::from_str(&read(path)?).with_context(parse_context),
        _ => bail!("variable files must end in .json or .toml, got {}", path.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The values of all application variables.
#[derive(Debug)]
pub struct ApplicationVariables {
    values: BTreeMap<String, String>,
}

impl ApplicationVariables {
    /// Asks `providers` in order for every declared variable. Errors name every required variable without a value.
    pub fn resolve(manifest: &Manifest, providers: &[Provider]) -> anyhow::Result<Self> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, declaration) in &manifest.variables {
            let mut value = None;
            for provider in providers {
                value = provider.get(name)?;
                if value.is_some() {
                    break;
                }
            }
            match value.or_else(|| declaration.default.clone()) {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => missing.push(name.as_str()),
            }
        }
        if !missing.is_empty() {
            bail!("no provider resolved required variable(s): {missing:?}");
        }
        Ok(Self { values })
    }

    /// The value of `template`.
    pub fn render(&self, template: &Template) -> Result<String, TemplateError> {
        template.render(|name| self.values.get(name).map(String::as_str))
    }

    /// The values of the variables of one component.
    pub fn component(
        &self,
        id: &str,
        templates: &BTreeMap<String, String>,
    ) -> anyhow::Result<ComponentVariables> {
        let values = templates
            .iter()
            .map(|(name, text)| {
                let value = Template::parse(text)
                    .and_then(|template| self.render(&template))
                    .with_context(|| format!("component {id:?}: variable {name:?}"))?;
                Ok((name.clone(), value))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(ComponentVariables { component: id.to_owned(), values })
    }
}

/// What one component sees through `spin:variables`.
#[derive(Debug, Default)]
pub struct ComponentVariables {
    component: String,
    values: HashMap<String, String>,
}

/// Why a component gets no value.
#[derive(Debug, PartialEq, Eq)]
pub enum LookupError {
    /// The name breaks the naming rule.
    InvalidName(String),
    /// The component does not declare the name.
    Undefined(String),
}

impl ComponentVariables {
    /// The value of `name`; application variables are not visible unless the component declares them.
    pub fn get(&self, name: &str) -> Result<&str, LookupError> {
        check_variable_name(name)
            .map_err(|reason| LookupError::InvalidName(format!("{name:?}: {reason}")))?;
        self.values
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| LookupError::Undefined(format!("no variable for {:?}.{name:?}", self.component)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(
            r#"
spin_manifest_version = 2
[application]
name = "app"
[variables]
needed = { required = true }
optional = { default = "d" }
[[trigger.http]]
route = "/..."
component = "c"
[component.c]
source = "c.wasm"
variables = { joined = "{{ needed }}/{{ optional }}" }
"#,
            Path::new("."),
        )
        .unwrap()
    }

    fn provider(pairs: &[(&str, &str)]) -> Provider {
        Provider::Static(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_first_provider_wins_and_the_default_comes_last() {
        let manifest = manifest();
        let first = provider(&[("needed", "1")]);
        let second = provider(&[("needed", "2")]);
        let variables = ApplicationVariables::resolve(&manifest, &[first, second]).unwrap();
        let component = variables.component("c", &manifest.components["c"].variables).unwrap();
        assert_eq!(component.get("joined"), Ok("1/d"));
        assert!(matches!(component.get("needed"), Err(LookupError::Undefined(_))));
        assert!(matches!(component.get("Joined"), Err(LookupError::InvalidName(_))));
    }

    #[test]
    fn a_required_variable_without_a_value_stops_the_start() {
        let error = ApplicationVariables::resolve(&manifest(), &[]).unwrap_err();
        assert!(error.to_string().contains("\"needed\""), "{error}");
    }

    #[test]
    fn arguments_are_pairs_or_files() {
        let Provider::Static(values) = from_arguments(&["a=1".into(), "b=x=y".into(), "a=2".into()]).unwrap()
        else {
            panic!("not static")
        };
        assert_eq!(values["a"], "2");
        assert_eq!(values["b"], "x=y");
        for wrong in ["plain", "@file.txt", "a=@/does/not/exist"] {
            assert!(from_arguments(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
