//! Secrets are found, and never seen.

use super::*;
use crate::RouterConfig;

const HUSH: &str = "hush-hush";

#[test]
fn no_problem_shows_what_could_be_a_secret() {
    let backend = |rest: &str| format!("[[backends]]\nid = \"b\"\n{rest}\n");
    for (gateway, secrets, plain) in [
        (backend("api_key = \"hush-hush\""), "", ""),
        (backend("api_key = { secret = \"sk-hush-hush\" }"), "", ""),
        (backend("api_key = { secret = \"a\" }"), "a = \"hush hush-hush\"", ""),
        (backend("api_key = { secret = \"a\" }"), "a = [\"hush-hush\"]", ""),
        (backend("api_key = { secret = \"a\" }"), "a = hush-hush", ""),
        (backend("api_key = { secret = \"a\" }"), "a = \"hush-hush", ""),
        (backend("api_key = { secret = \"a\" }"), "a = { b = \"hush-hush\" }", ""),
        (backend("api_keys = \"hush-hush\""), "", ""),
        (backend("base_url = \"https://hush-hush@x/\""), "", ""),
        (backend("base_url = \"https://x/?key=hush-hush\""), "", ""),
        (backend("base_url = \"sk-hush-hush\""), "", ""),
        ("[[consumers]]\nid = \"c\"\nkeys_sha256 = [\"hush-hush\"]".to_owned(), "", ""),
        ("[[consumers]]\nid = \"sk-hush-hush \"".to_owned(), "", ""),
        (String::new(), "openai_api_key = \"hush-hush\"", "hush-hush-2"),
        (String::new(), "", "hush-hush\n"),
        ("x = hush-hush".to_owned(), "y = hush-hush", ""),
    ] {
        let plain = PlainVariables { openai_api_key: plain };
        let problems = check(&gateway, secrets, plain).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains(HUSH), "{gateway}\n{secrets}\n{problems}");
    }
}

#[test]
fn a_configuration_prints_neither_secrets_nor_digests() {
    let config = RouterConfig::parse(FULL, SECRETS, PlainVariables::default()).unwrap();
    let printed = format!("{config:?}");
    assert!(printed.contains("openai") && printed.contains("***") && printed.contains("alice"), "{printed}");
    assert!(!printed.contains("value-of-openai"), "{printed}");
    assert!(!printed.contains("17, 17") && !printed.contains("1111"), "{printed}");
    assert_eq!(config.backends[0].api_key.as_ref().unwrap().expose(), "value-of-openai");
    assert_eq!(config.backends[1].api_key, None);
}

#[test]
fn a_secret_that_nothing_refers_to_is_fine() {
    let more = format!("{SECRETS}\nspare = \"any thing\"\nempty = \"\"");
    assert!(check(FULL, &more, PlainVariables::default()).is_ok());
}

#[test]
fn a_secret_that_could_not_be_sent_is_a_problem() {
    for (value, expected) in
        [("", "is empty"), ("a b", "holds a space"), ("a\\n", "line break"), ("é", "outside ASCII")]
    {
        let problems = check(FULL, &format!("openai = \"{value}\""), PlainVariables::default()).unwrap_err();
        assert_eq!(problems.len(), 1, "{value:?}: {problems}");
        assert!(problems.to_string().starts_with("backends[0].api_key.secret: "), "{value:?}: {problems}");
        assert!(problems.to_string().contains(expected), "{value:?}: {problems}");
    }
}

#[test]
fn the_plain_variable_is_a_secret_of_its_name() {
    let document = FULL.replace("secret = \"openai\"", "secret = \"openai_api_key\"");
    let plain = PlainVariables { openai_api_key: "k" };
    let config = RouterConfig::parse(&document, "", plain).unwrap();
    assert_eq!(config.backends[0].api_key.as_ref().unwrap().expose(), "k");
    for (secrets, is_fine) in [("openai_api_key = \"k\"", true), ("openai_api_key = \"other\"", false)] {
        assert_eq!(RouterConfig::parse(&document, secrets, plain).is_ok(), is_fine, "{secrets}");
    }
}
