//! Every example runs as it is.

use super::*;
use crate::{RouterConfig, UsageConfig};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

const SECRETS_FILE: &str = "secrets.example.toml";

fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn example(name: &str) -> String {
    examples().into_iter().find(|(file, _)| file == name).unwrap().1
}

#[test]
fn no_example_has_a_problem_or_a_note() {
    let secrets = example(SECRETS_FILE);
    let documents: Vec<_> = examples().into_iter().filter(|(name, _)| name != SECRETS_FILE).collect();
    assert!(documents.len() >= 4, "{documents:?}");
    for (name, gateway) in documents {
        let summary = check(&gateway, &secrets, PlainVariables::default())
            .unwrap_or_else(|problems| panic!("{name}:\n{problems}"));
        assert_eq!(summary.notes, Vec::<String>::new(), "{name}");
        // The command that an example names must be enough for what it calls.
        for origin in &summary.plain_http_origins {
            assert!(gateway.contains(&format!("={origin}\n")), "{name} does not tell to pass {origin}");
        }
    }
}

#[test]
fn every_key_of_an_example_is_the_one_beside_it() {
    for (name, text) in examples() {
        for line in text.lines().filter(|line| line.starts_with("keys_sha256")) {
            let (sha256, key) = line.split_once("\"] # ").unwrap();
            assert!(sha256.ends_with(&hex::encode(Sha256::digest(key))), "{name}: {line}");
        }
    }
}

#[test]
fn the_demo_has_two_consumers_and_prices() {
    let demo = example("demo.toml");
    let config = RouterConfig::parse(&demo, "", PlainVariables::default()).unwrap();
    for (key, id, team, app) in
        [("demo-key", "demo", "demo", "quickstart"), ("batch-key", "batch", "data", "nightly")]
    {
        let consumer = config.consumers.by_key_digest(&Sha256::digest(key).into()).unwrap();
        let found = (consumer.id.as_str(), consumer.team.as_deref(), consumer.app.as_deref());
        assert_eq!(found, (id, Some(team), Some(app)), "{key}");
    }
    let pricing = UsageConfig::parse(&demo).unwrap().pricing;
    for model in ["gpt-4o", "gpt-4o-mini"] {
        assert!(pricing.price(model, &format!("mock/{model}")).is_some(), "{model}");
    }
    assert!(pricing.price("other", "mock/*").is_none());
}
