//! Values that must not be seen, and the document that holds them.

use crate::PlainVariables;
use crate::document::{Document, Report};
use crate::names::{did_you_mean, is_name, shown};
use std::collections::HashMap;
use std::fmt;

/// A credential. `Debug` and `Display` print `***`; the only way to the value is [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The name that the variable `openai_api_key` has as a secret.
const OPENAI_API_KEY: &str = "openai_api_key";

/// The `secrets` document and the plain variables: names and values.
pub(crate) struct Secrets {
    /// `None` when the document cannot be read or is not seen, so that nothing is reported as missing from it.
    values: Option<HashMap<String, Secret>>,
    is_built_in: bool,
}

impl Secrets {
    /// For whoever is not told them: no reference has a value, and none is reported.
    pub fn unseen() -> Self {
        Secrets { values: None, is_built_in: false }
    }

    /// Reads the document; `is_built_in` says whether it is the built-in gateway that refers to it.
    pub fn read(secrets: &str, plain: PlainVariables<'_>, is_built_in: bool, report: &Report) -> Self {
        let Some(document) = Document::secrets(secrets, report) else {
            return Secrets { values: None, is_built_in };
        };
        let root = document.root(report);
        let mut values = HashMap::new();
        for name in root.keys() {
            let path = || format!("secrets.{}", root.path_of(name));
            match root.peek_text(name) {
                // Not even the wrong value is shown: it may be a secret without its quotes.
                None => report.add(path(), "must be a string; secrets is a flat table of names and strings"),
                Some(_) if !is_name(name) => {
                    report.add(path(), format!("the name {}", crate::names::NAME_RULE))
                }
                Some(value) => {
                    values.insert(name.to_owned(), Secret::new(value));
                }
            }
        }
        if !plain.openai_api_key.is_empty() {
            let other = values.insert(OPENAI_API_KEY.to_owned(), Secret::new(plain.openai_api_key));
            if other.is_some_and(|other| other.expose() != plain.openai_api_key) {
                report.add(
                    "secrets.openai_api_key",
                    "is given twice with different values, here and as the variable openai_api_key; keep one",
                );
            }
        }
        Secrets { values: Some(values), is_built_in }
    }

    /// The secret that the document refers to at `path`; `None` when there is none that could be sent.
    pub fn resolve(&self, name: &str, path: &str, report: &Report) -> Option<Secret> {
        let values = self.values.as_ref()?;
        match values.get(name) {
            Some(secret) if secret.expose().is_empty() => {
                report.add(path, format!("the secret {} is empty", shown(name)));
                None
            }
            // RFC 9110, 5.5: what else a header can hold would be trimmed or refused on its way.
            Some(secret) if !secret.expose().bytes().all(|b| b.is_ascii_graphic()) => {
                let what = "holds a space, a line break or a character outside ASCII";
                report.add(
                    path,
                    format!("the secret {} {what}; it could not be sent in a header", shown(name)),
                );
                None
            }
            Some(secret) => Some(secret.clone()),
            None if self.is_built_in => {
                report.add(
                    OPENAI_API_KEY,
                    "is empty, and so is gateway: pass --variable openai_api_key=… for a gateway to OpenAI, \
                     or --variable gateway=@gateway.toml for one of your own",
                );
                None
            }
            None => {
                let hint = did_you_mean(name, values.keys().map(String::as_str));
                report.add(path, format!("the secret {} is not in secrets{hint}", shown(name)));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hush");
    }
}
