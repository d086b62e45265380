//! Whatever stands in a document, reading it ends without a panic.

use super::*;
use crate::{CacheConfig, LimiterConfig, RouterConfig, UsageConfig};
use proptest::prelude::*;

/// Pieces that turn one kind of TOML into another.
const PIECES: &[&str] = &[
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "\\u0000",
    "\\",
    "\u{0}",
    "é",
    "-1",
    "0",
    "1e999",
    "inf",
    "nan",
    "0x_",
    "99999999999999999999",
    "true",
    "2026-01-01",
    "[[models]]\n",
    "id = 1\n",
    "[[models.deployments]]\n",
    "\u{feff}",
    "*",
    "/",
    "@",
    "?",
    "[::1]",
    "sk-",
    "..",
];

/// One cut and one insertion, each anywhere.
#[derive(Debug, Clone)]
struct Edit {
    cut: (usize, usize),
    insertion: (usize, &'static str),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<usize>(), 0..40usize, any::<usize>(), proptest::sample::select(PIECES))
        .prop_map(|(start, length, at, piece)| Edit { cut: (start, length), insertion: (at, piece) });
    proptest::collection::vec(edit, 1..6)
}

fn apply(document: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = document.chars().collect();
    for Edit { cut: (start, length), insertion: (at, piece) } in edits {
        let start = start % (chars.len() + 1);
        let end = (start + length).min(chars.len());
        chars.drain(start..end);
        let at = at % (chars.len() + 1);
        chars.splice(at..at, piece.chars());
    }
    chars.into_iter().collect()
}

fn read_all(gateway: &str, secrets: &str) {
    let plain = PlainVariables { openai_api_key: "" };
    let checked = check(gateway, secrets, plain);
    let router = RouterConfig::parse(gateway, secrets, plain);
    let views = [
        router.as_ref().err().cloned(),
        LimiterConfig::parse(gateway).err(),
        CacheConfig::parse(gateway).err(),
        UsageConfig::parse(gateway).err(),
    ];
    if checked.is_ok() {
        assert_eq!(
            views,
            [None, None, None, None],
            "what check accepts, every component accepts:\n{gateway}"
        );
    }
    if let Err(problems) = checked {
        assert!(!problems.is_empty());
        assert_eq!(problems.to_string().lines().count(), problems.len(), "one line each:\n{problems}");
        assert!(!problems.to_string().contains("value-of-"), "{problems}");
    }
    if let Ok(config) = router {
        for model in &config.models {
            assert!(model.deployments.iter().any(|d| d.weight > 0), "{gateway}");
            assert!(model.deployments.is_sorted_by_key(|d| d.priority), "{gateway}");
        }
    }
}

proptest! {
    #[test]
    fn a_mutated_document_is_read_without_a_panic(edits in edits()) {
        read_all(&apply(FULL, &edits), SECRETS);
    }

    #[test]
    fn mutated_secrets_are_read_without_a_panic_and_without_being_shown(edits in edits()) {
        read_all(FULL, &apply(SECRETS, &edits));
    }

    #[test]
    fn any_text_is_read_without_a_panic(gateway in "\\PC*", secrets in "\\PC*") {
        read_all(&gateway, &secrets);
    }
}
