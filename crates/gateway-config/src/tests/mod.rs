//! The crate from outside: documents in, configurations or problems out.

mod documentation;
mod examples;
mod limits_fit;
mod mutation;
mod problems;
mod secrets;
mod views;

use crate::{PlainVariables, Problems, Summary, check};

/// A document that uses every section and every key.
const FULL: &str = include_str!("full.toml");
/// What [`FULL`] refers to.
const SECRETS: &str = "openai = \"value-of-openai\"\nother = \"value-of-other\"\n";

fn check_with_secrets(gateway: &str) -> Result<Summary, Problems> {
    check(gateway, SECRETS, PlainVariables::default())
}
