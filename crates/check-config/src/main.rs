//! `check-config`: what the components will say to a document, before it is deployed.
//!
//! Reads files and arguments and decides nothing about documents: that is `gateway-config`.

mod arguments;
mod hash;
mod report;

use arguments::Command;
use gateway_config::PlainVariables;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

/// Spin's own name for the variable `openai_api_key` in the environment.
const OPENAI_API_KEY: &str = "SPIN_VARIABLE_OPENAI_API_KEY";
/// Longest input for `--hash-key`, in bytes; no header of ours is longer.
const KEY_MAX_BYTES: u64 = 8_192;

/// 0: no problem. 1: problems. 2: not understood, or a file cannot be read.
fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => Ok(arguments::USAGE.to_owned()),
        Ok(Command::HashKey) => hash_key(),
        Ok(Command::Check { gateway, secrets, spin_arguments }) => {
            check(&gateway, secrets.as_deref(), spin_arguments)
        }
        Err(message) => Err((2, format!("{message}\n\n{}", arguments::USAGE))),
    };
    // Whether anyone reads the output does not change the outcome.
    match outcome {
        Ok(text) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err((code, text)) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(code)
        }
    }
}

fn check(
    gateway_path: &str,
    secrets_path: Option<&str>,
    spin_arguments: bool,
) -> Result<String, (u8, String)> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| (2, format!("{path}: {error}\n")));
    let gateway = read(gateway_path)?;
    let secrets = secrets_path.map(read).transpose()?.unwrap_or_default();
    let openai_api_key = std::env::var(OPENAI_API_KEY).unwrap_or_default();
    let plain = PlainVariables { openai_api_key: &openai_api_key };
    match gateway_config::check(&gateway, &secrets, plain) {
        Ok(summary) if spin_arguments => Ok(report::spin_arguments(&summary, gateway_path, secrets_path)),
        Ok(summary) => Ok(report::summary(&summary, gateway_path, secrets_path)),
        Err(problems) => Err((1, report::problems(&problems, gateway_path, secrets_path))),
    }
}

fn hash_key() -> Result<String, (u8, String)> {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(KEY_MAX_BYTES).read_to_end(&mut input);
    read.map_err(|error| (2, format!("standard input: {error}\n")))?;
    let (sha256, note) = hash::hash_key(&input).map_err(|message| (1, format!("{message}\n")))?;
    if let Some(note) = note {
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    Ok(format!("{sha256}\n"))
}
