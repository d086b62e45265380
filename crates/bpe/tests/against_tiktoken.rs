//! The counts beside those of `tiktoken-rs`, to the token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bpe::{Counter, Encoding, MAX_PIECE_BYTES};
use proptest::prelude::*;
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

fn encodings() -> [(Encoding, &'static CoreBPE); 2] {
    [(Encoding::O200kBase, o200k_base_singleton()), (Encoding::Cl100kBase, cl100k_base_singleton())]
}

fn check(text: &str) -> Result<(), TestCaseError> {
    for (ours, theirs) in encodings() {
        let expected = theirs.encode_ordinary(text).len() as u64;
        prop_assert_eq!(ours.count(text), expected, "{:?} {:?}", ours, text);
    }
    Ok(())
}

#[test]
fn texts_of_every_kind_count_as_tiktoken_counts_them() {
    for text in [
        "",
        " ",
        "a",
        "hello world",
        "It's I'LL we'Ve he'd you'RE '\u{17F} d'S l'Ll 'lx 'rX",
        "'s 't 're 've 'm 'll 'd",
        "  leading, trailing  ",
        "\n\n\n",
        "a\n\n  b \r\n\t c\u{a0}\u{2003}d  \n",
        "x   \n   y   ",
        "1 12 123 1234 12345 ٣٤٥٦ Ⅷ ½½½½",
        "camelCaseHTTPServer XMLHttpRequest fooBAR BARfoo ǅungla ʰʰA Aʰ",
        "e\u{301}cole A\u{301}B \u{301}x \u{301}\u{301}A A\u{301}\u{302}",
        "!!!??? ...// \u{301}! !\u{301} a/b//c/\n/\n http://x.y/z?q=1#f\n\n",
        "日本語のテキスト。 中文，测试 한국어 문장 ไทยภาษา हिन्दी العربية עברית",
        "👩‍👩‍👧‍👦 🇩🇪 ☃️ 🤷🏽‍♀️",
        "<|endoftext|><|im_start|>user",
        "\u{0}\u{1}\u{7f}\u{80}\u{feff}\u{fffd}\u{10ffff}",
        "fn main() {\n    println!(\"{}\", 1 + 1);\n}\n",
    ] {
        check(text).unwrap();
    }
}

#[test]
fn every_character_splits_as_tiktoken_splits_it() {
    // Between letters, digits, symbols and spaces, so that each class shows.
    for first in (0..=u32::from(char::MAX)).step_by(64) {
        let mut text = String::new();
        for c in (first..first + 64).filter_map(char::from_u32) {
            text.extend(['a', c, 'B', c, 'b', '1', c, ' ', c, '!', c, c, '\n']);
        }
        check(&text).unwrap();
    }
}

#[test]
fn long_pieces_count_the_same() {
    for (unit, times) in [
        ("a", 9_000),
        ("ab", 300),
        ("=", 5_000),
        (" ", 9_000),
        ("\n ", 900),
        ("ACGTTGCA", 2_000),
        ("日本", 2_000),
    ] {
        check(&format!("x {} y", unit.repeat(times))).unwrap();
    }
}

#[test]
fn a_run_that_is_cut_counts_two_tokens_more_a_cut_at_most() {
    for unit in ["a", "A", "=", "-", "*", "_", "ab", "ACGTTGCA", "日本", "lorem"] {
        let text = unit.repeat(4 * MAX_PIECE_BYTES / unit.len());
        for (ours, theirs) in encodings() {
            let expected = theirs.encode_ordinary(&text).len() as u64;
            let count = ours.count(&text);
            assert!(
                (expected - 1..=expected + 2 * 4).contains(&count),
                "{ours:?} {unit}: {count}, not {expected}"
            );
        }
    }
}

#[test]
fn no_text_takes_much_longer_than_another_and_none_long_without_a_pause() {
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(u32::from(b'a') + (state >> 16) % 20).unwrap()
    };
    let letters: String = (0..1_000_000).map(|_| letter()).collect();
    let words: String =
        letters.chars().enumerate().map(|(at, c)| if at % 99 == 0 { ' ' } else { c }).collect();
    let line_ends = " \n".repeat(500_000);
    for text in
        [&"a".repeat(1_000_000), &" ".repeat(1_000_000), &"=".repeat(1_000_000), &letters, &words, &line_ends]
    {
        let mut counter = Counter::new(Encoding::O200kBase, text);
        let mut work = 0;
        while let Some(step) = counter.step() {
            assert!(step <= MAX_PIECE_BYTES);
            work += step;
        }
        let start = text.get(..10).unwrap();
        assert!((1_000_000..5_000_000).contains(&work), "{start:?}: {work}");
    }
}

/// Characters that the splitting treats differently, and words of several tokens.
fn snippet() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "'",
        "'s",
        "'LL",
        "'\u{17F}",
        "a",
        "b",
        "A",
        "B",
        "ʰ",
        "ª",
        "ǅ",
        "日",
        "\u{301}",
        "\u{94d}",
        "1",
        "23",
        "٣",
        "½",
        "!",
        "/",
        "_",
        "—",
        "😀",
        "\u{200d}",
        "the",
        "Straße",
        "internationalisation",
        "ไทย",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_mixture_counts_as_tiktoken_counts_it(snippets in prop::collection::vec(snippet(), 0..40)) {
        check(&snippets.concat())?;
    }

    #[test]
    fn any_long_word_counts_as_tiktoken_counts_it(letters in "[a-zäß日本]{90,400}") {
        check(&letters)?;
    }
}
