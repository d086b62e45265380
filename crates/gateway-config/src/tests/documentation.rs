//! `docs/configuration.md` names every section and key, and nothing else.

use super::*;
use crate::document::SECTIONS;
use crate::{
    backends, bounds, breaker, cache, consumers, deployments, fallbacks, health_check, limits, models,
    pricing, retries, routes, settings, timeouts, usage,
};
use std::collections::{BTreeMap, BTreeSet};

const MANUAL: &str = include_str!("../../../../docs/configuration.md");

/// Headings of the manual and the keys that each table must list.
fn keys() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    [
        ("[[backends]]", backends::KEYS),
        ("[[models]]", models::KEYS),
        ("[[models.deployments]]", deployments::KEYS),
        ("[[models.fallbacks]]", fallbacks::KEYS),
        ("[models.timeouts]", timeouts::KEYS),
        ("[models.retries]", retries::KEYS),
        ("[models.breaker]", breaker::KEYS),
        ("[models.health_check]", health_check::KEYS),
        ("[defaults]", settings::KEYS),
        ("[[routes]]", routes::KEYS),
        ("[routes.mirror]", routes::MIRROR_KEYS),
        ("[regions]", &[]),
        ("[[consumers]]", consumers::KEYS),
        ("[[limits]]", limits::rule::KEYS),
        ("[limits.match]", limits::rule::MATCH_KEYS),
        ("[limits.counts]", limits::weights::KEYS),
        ("[limiter]", limits::LIMITER_KEYS),
        ("[limiter.headers]", limits::headers::KEYS),
        ("[cache]", cache::KEYS),
        ("[pricing.\"name\"]", pricing::KEYS),
        ("[logging]", usage::LOGGING_KEYS),
        ("[bounds]", bounds::KEYS),
    ]
    .into_iter()
    .map(|(heading, keys)| (heading, keys.iter().copied().collect()))
    .collect()
}

/// Keys in the first column of the tables under each heading of a section.
fn documented() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut documented: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut section = None;
    for line in MANUAL.lines() {
        if line.starts_with('#') {
            section = line.split('`').nth(1).filter(|heading| heading.starts_with('['));
            if let Some(section) = section {
                documented.entry(section).or_default();
            }
        } else if let (Some(section), Some(row)) = (section, line.strip_prefix("| `")) {
            documented.entry(section).or_default().extend(row.split('`').next());
        }
    }
    documented
}

#[test]
fn the_manual_lists_every_key_and_no_other() {
    assert_eq!(documented(), keys());
    for section in SECTIONS {
        assert!(
            keys().keys().any(|heading| heading.trim_matches(['[', ']']).starts_with(section)),
            "{section}"
        );
    }
}

#[test]
fn what_stands_in_defaults_stands_in_a_model_too() {
    for key in settings::KEYS {
        assert!(models::KEYS.contains(key), "{key}");
    }
}

#[test]
fn every_key_is_in_the_full_document() {
    for key in keys().into_values().flatten() {
        assert!(
            FULL.lines().any(|line| line.starts_with(key)
                || line.starts_with(&format!("[[models.{key}"))
                || ["models", "limits", "limiter"].iter().any(|s| line.starts_with(&format!("[{s}.{key}")))),
            "{key}"
        );
    }
}

/// The manual's own blocks together are one document.
#[test]
fn the_manuals_examples_are_a_valid_document() {
    let mut gateway = String::new();
    let mut is_inside = false;
    for line in MANUAL.lines() {
        match line {
            "```toml" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => {
                gateway.push_str(line);
                gateway.push('\n');
            }
            _ => {}
        }
    }
    let summary = check_with_secrets(&gateway).unwrap_or_else(|problems| panic!("{problems}\n{gateway}"));
    assert_eq!(summary.notes, Vec::<String>::new());
}

#[test]
fn the_built_in_document_stands_in_the_manual() {
    assert!(MANUAL.contains(&format!("```\n{}```\n", crate::BUILT_IN)), "copy built_in.toml");
}
