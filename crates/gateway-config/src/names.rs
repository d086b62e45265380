//! What a name may look like, how a value is shown in a problem, and which name was probably meant.

/// Longest id, team, app, tag, limit name or name of a secret, in characters.
pub(crate) const NAME_MAX: usize = 64;
/// Longest model name, in characters.
pub(crate) const MODEL_NAME_MAX: usize = 128;
/// Longest piece of a document that a problem repeats, in characters.
const SHOWN_MAX: usize = 60;
/// Most names that a problem lists or compares; bounds the text and the time.
const CANDIDATES_MAX: usize = 100;

/// Safe in a header, a metric label, a path and a counter's key without escaping.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// What [`is_name`] allows, in words.
pub(crate) const NAME_RULE: &str = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -";

/// Model names as providers have them: `meta-llama/Llama-3.1-8B`, `gpt-oss:20b`, `ft:gpt-4o:acme::7qTVM5AR`.
pub(crate) fn is_model_name(text: &str) -> bool {
    (1..=MODEL_NAME_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/@+=-".contains(&b))
}

/// What [`is_model_name`] allows, in words.
pub(crate) const MODEL_NAME_RULE: &str = "must be 1 to 128 characters of A-Z a-z 0-9 . _ : / @ + = -";

/// A piece of a document, quoted, shortened, and masked when it could be a key that stands in the wrong place.
pub(crate) fn shown(text: &str) -> String {
    if looks_like_a_key(text) {
        return "*** (it looks like a key, so it is not shown)".to_owned();
    }
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// `sk-…` as OpenAI, Anthropic and many others write their keys, or one long word of letters and digits.
fn looks_like_a_key(text: &str) -> bool {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words().any(|word| word == "sk") && text.contains("sk-")
        || words().any(|word| word.len() >= 24 && word.bytes().any(|b| b.is_ascii_digit()))
}

/// `; did you mean "…"?` or nothing: a name that begins with the text, or differs from it in one letter of three.
pub(crate) fn did_you_mean<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let text = text.to_lowercase();
    let length = text.chars().count();
    let nearness = |name: &str| {
        let name = name.to_lowercase();
        let is_beginning = length >= 3 && name.starts_with(&text);
        if is_beginning { 0 } else { distance(&text, &name) }
    };
    names
        .into_iter()
        .take(CANDIDATES_MAX)
        .map(|name| (nearness(name), name))
        .filter(|(nearness, _)| *nearness <= ((length + 1) / 3).min(3))
        .min()
        .map_or_else(String::new, |(_, name)| format!("; did you mean {}?", shown(name)))
}

/// The names, quoted and separated by commas; `none` when there is none.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let some: Vec<String> = names.by_ref().take(CANDIDATES_MAX).map(shown).collect();
    match (some.is_empty(), names.next()) {
        (true, _) => "none".to_owned(),
        (_, None) => some.join(", "),
        (_, Some(_)) => format!("{}, …", some.join(", ")),
    }
}

/// Levenshtein's distance, of at most [`MODEL_NAME_MAX`] characters each.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(MODEL_NAME_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().take(MODEL_NAME_MAX).enumerate() {
        let mut before = i; // the cell above and to the left
        let mut current = i + 1;
        let mut next = vec![current];
        for (r, above) in right.iter().zip(row.iter().skip(1)) {
            current = (before + usize::from(l != *r)).min(above + 1).min(current + 1);
            before = *above;
            next.push(current);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("opnai", "openai", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left:?} {right:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        for (text, expected) in [
            ("opnai", "; did you mean \"openai\"?"),
            ("OpenAI", "; did you mean \"openai\"?"),
            ("azur", "; did you mean \"azure\"?"),
            ("ope", "; did you mean \"openai\"?"),
            ("op", ""),
            ("bedrock", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(text, ["openai", "azure"]), expected, "{text:?}");
        }
    }

    #[test]
    fn what_could_be_a_key_is_not_shown() {
        for (text, is_shown) in [
            ("gpt-4o-mini-2024-07-18", true),
            ("meta-llama/Llama-3.1-70B-Instruct", true),
            ("https://my-company-name.openai.azure.com/openai/v1", true),
            ("task-runner", true),
            ("sk-a", false),
            ("Bearer sk-proj-1", false),
            ("AIzaSyD1x2x3x4x5x6x7x8x9x0x1x2x3x4x5x6", false),
            ("0123456789abcdef0123456789abcdef", false),
        ] {
            assert_eq!(shown(text).contains(text), is_shown, "{text:?}");
        }
    }

    #[test]
    fn long_values_are_shortened_between_characters() {
        let shown = shown(&"é".repeat(100));
        assert_eq!(shown.matches('é').count(), SHOWN_MAX, "{shown}");
        assert!(shown.ends_with('…'), "{shown}");
    }
}
