//! What a person reads: the summary of a valid document, or its problems.

use gateway_config::{Problems, Summary};
use std::fmt::Write as _;

/// All problems, and what to do next.
pub fn problems(problems: &Problems, gateway_path: &str, secrets_path: Option<&str>) -> String {
    let count = problems.len();
    let mut text = format!("{gateway_path}: {count} problem{}\n", if count == 1 { "" } else { "s" });
    for problem in problems {
        push(&mut text, format_args!("  {problem}\n"));
    }
    let is_secret_missing = problems.iter().any(|problem| problem.path.ends_with(".api_key.secret"));
    if secrets_path.is_none() && is_secret_missing {
        text.push_str("No secrets were given: add --secrets SECRETS.toml.\n");
    }
    text
}

/// What the document amounts to, and the command that runs it.
pub fn summary(summary: &Summary, gateway_path: &str, secrets_path: Option<&str>) -> String {
    let mut text = format!("{gateway_path}: no problem\n");
    if summary.is_built_in {
        text.push_str("  it says nothing, so the built-in document applies\n");
    }
    let backends = summary.backends.iter().map(|(id, origin)| format!("{id} at {origin}"));
    push_list(&mut text, "backends", backends);
    let models = summary.models.iter().map(|(name, labels)| format!("{name}: {}", labels.join(", ")));
    push_list(&mut text, "models", models);
    push_list(&mut text, "consumers", summary.consumers.iter().cloned());
    push_list(&mut text, "limits", summary.limits.iter().cloned());
    push_list(&mut text, "prices", summary.prices.iter().cloned());
    push(&mut text, format_args!("  cache: {}\n", if summary.is_cache_enabled { "on" } else { "off" }));
    for note in &summary.notes {
        push(&mut text, format_args!("  note: {note}\n"));
    }
    push(&mut text, format_args!("\n{}\n", spin_up(summary, gateway_path, secrets_path)));
    text
}

/// How many entries of a list are printed; the rest is counted.
const LISTED_MAX: usize = 20;

fn push_list(text: &mut String, what: &str, entries: impl ExactSizeIterator<Item = String>) {
    let count = entries.len();
    push(text, format_args!("  {what}: {count}\n"));
    for entry in entries.take(LISTED_MAX) {
        push(text, format_args!("    {entry}\n"));
    }
    if count > LISTED_MAX {
        push(text, format_args!("    … and {} more\n", count - LISTED_MAX));
    }
}

/// Stands for an address that no document holds; a note of the summary says what to put there.
const LIMITER_REDIS: &str = "limiter_redis=redis://host:port";

/// The command that runs a gateway with this document.
fn spin_up(summary: &Summary, gateway_path: &str, secrets_path: Option<&str>) -> String {
    let mut command = "spin up".to_owned();
    let placeholder = summary.is_limiter_on_redis.then(|| LIMITER_REDIS.to_owned());
    for variable in variables(summary, gateway_path, secrets_path).into_iter().chain(placeholder) {
        push(&mut command, format_args!(" \\\n  --variable {}", quoted(&variable)));
    }
    command
}

/// The arguments of that command, one a line, unquoted and without placeholders.
pub fn spin_arguments(summary: &Summary, gateway_path: &str, secrets_path: Option<&str>) -> String {
    let mut lines = String::new();
    for variable in variables(summary, gateway_path, secrets_path) {
        push(&mut lines, format_args!("--variable\n{variable}\n"));
    }
    lines
}

fn variables(summary: &Summary, gateway_path: &str, secrets_path: Option<&str>) -> Vec<String> {
    let mut variables = vec![format!("gateway=@{gateway_path}")];
    variables.extend(secrets_path.map(|path| format!("secrets=@{path}")));
    let origins = (1..).zip(&summary.plain_http_origins);
    variables.extend(origins.map(|(number, origin)| format!("http_backend_{number}={origin}")));
    variables
}

/// As one word of a POSIX shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "=@/._-:+,".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments); // writing to a string cannot fail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_each_plain_http_origin_once() {
        let origins = ["http://127.0.0.1:9100", "http://[::1]:8000"].map(str::to_owned).to_vec();
        let summary = Summary { plain_http_origins: origins, ..Summary::default() };
        assert_eq!(
            spin_up(&summary, "my gateway's.toml", Some("secrets.toml")),
            r"spin up \
  --variable 'gateway=@my gateway'\''s.toml' \
  --variable secrets=@secrets.toml \
  --variable http_backend_1=http://127.0.0.1:9100 \
  --variable 'http_backend_2=http://[::1]:8000'"
        );
        assert_eq!(spin_up(&Summary::default(), "g.toml", None), "spin up \\\n  --variable gateway=@g.toml");
    }

    #[test]
    fn the_address_of_the_limiters_redis_is_left_to_be_filled_in() {
        let summary = Summary { is_limiter_on_redis: true, ..Summary::default() };
        assert!(
            spin_up(&summary, "g.toml", None).ends_with(" \\\n  --variable limiter_redis=redis://host:port")
        );
        assert_eq!(spin_arguments(&summary, "g.toml", None), "--variable\ngateway=@g.toml\n");
    }

    #[test]
    fn long_lists_are_counted() {
        let consumers: Vec<String> = (0..25).map(|n| format!("c{n}")).collect();
        let text = summary(&Summary { consumers, ..Summary::default() }, "g.toml", None);
        assert!(text.contains("consumers: 25\n") && text.contains("… and 5 more"), "{text}");
        assert!(text.contains("c19") && !text.contains("c20"), "{text}");
    }
}
