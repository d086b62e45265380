//! The command line.

/// What to print when asked, or when the command line is not understood.
pub const USAGE: &str = "\
check-config GATEWAY.toml [--secrets SECRETS.toml] [--spin-arguments]
    Checks the document as every component will: all problems, or a summary and the command that runs it.
    With --spin-arguments prints only the arguments of that command, one a line, for a script.
    The variable openai_api_key is read from SPIN_VARIABLE_OPENAI_API_KEY, as Spin does.

check-config --hash-key < FILE
    Reads an API key from standard input and prints its SHA-256 for keys_sha256.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`USAGE`].
    Help,
    /// Read a key, print its hash.
    HashKey,
    /// Check a document.
    Check {
        /// Path of the `gateway` document.
        gateway: String,
        /// Path of the `secrets` document.
        secrets: Option<String>,
        /// Print the arguments for `spin up` rather than a summary.
        spin_arguments: bool,
    },
}

/// Understands the arguments, the program's own name left out.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let (mut gateway, mut secrets, mut hash_key, mut spin_arguments) = (None, None, false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "--hash-key" => hash_key = true,
            "--spin-arguments" => spin_arguments = true,
            "--secrets" if secrets.is_none() => {
                secrets = Some(arguments.next().ok_or("--secrets needs the path of a file")?);
            }
            option if option.starts_with('-') => return Err(format!("unknown or repeated option {option}")),
            _ if gateway.is_some() => return Err(format!("one document at a time, {argument} is another")),
            _ => gateway = Some(argument),
        }
    }
    match (gateway, hash_key) {
        (None, true) if secrets.is_none() && !spin_arguments => Ok(Command::HashKey),
        (Some(gateway), false) => Ok(Command::Check { gateway, secrets, spin_arguments }),
        (None, false) => Err("which document?".to_owned()),
        _ => Err("--hash-key stands alone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_understood_or_refused() {
        let check_for = |gateway: &str, secrets: Option<&str>, spin_arguments| {
            let (gateway, secrets) = (gateway.to_owned(), secrets.map(str::to_owned));
            Some(Command::Check { gateway, secrets, spin_arguments })
        };
        let check = |gateway, secrets| check_for(gateway, secrets, false);
        for (line, expected) in [
            ("g.toml", check("g.toml", None)),
            ("g.toml --secrets s.toml", check("g.toml", Some("s.toml"))),
            ("--secrets s.toml g.toml", check("g.toml", Some("s.toml"))),
            ("g.toml --spin-arguments", check_for("g.toml", None, true)),
            ("--hash-key", Some(Command::HashKey)),
            ("--hash-key --spin-arguments", None),
            ("g.toml --help", Some(Command::Help)),
            ("", None),
            ("a.toml b.toml", None),
            ("a.toml --secrets", None),
            ("a.toml --secrets s --secrets t", None),
            ("a.toml --verbose", None),
            ("--hash-key the-key", None),
            ("--hash-key --secrets s", None),
        ] {
            assert_eq!(parse(line.split_whitespace().map(str::to_owned)).ok(), expected, "{line:?}");
        }
    }
}
