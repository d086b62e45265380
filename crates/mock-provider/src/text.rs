//! What a token is here, and the text of an answer.
//!
//! A token is four bytes of UTF-8, rounded up. [`piece`] cuts a text so that its pieces are never empty, never
//! split a character, and number exactly [`token_count`]: what is streamed and what is billed cannot disagree.

use crate::behaviour::{Alphabet, AnswerShape};
use crate::stable_hash::stable_hash;

/// Bytes per token: the rule of thumb for English in OpenAI's tokenizers.
pub const TOKEN_BYTES: usize = 4;
/// How much of the last user message the answer repeats.
const ECHO_BYTES: usize = 96;

const ASCII_FILLER: &str = "The gate is open and the road runs on past the mill. A cart waits for its toll, the \
keeper counts the coins twice, and nobody is in a hurry. Rain is expected before the evening bell. ";
const MULTIBYTE_FILLER: &str =
    "Grüße aus Köln, naïve café, Ελληνικά, Привет мир, 日本語のテキスト, 世界你好, 한국어 문장, ไทย, €5. ";
const EMOJI_FILLER: &str = "👩‍💻🚀🎉 🇪🇺 👍🏽🧑‍🚒 ❤️‍🔥🦀😀 ";

/// Tokens of a text of so many bytes.
pub fn token_count(text_bytes: usize) -> u64 {
    text_bytes.div_ceil(TOKEN_BYTES) as u64
}

/// The `index`th token of `text` (from 0), or `None` past its end.
///
/// The piece lies between the character boundaries at or below `4 × index` and `4 × (index + 1)`. Characters have
/// at most four bytes, so any four consecutive positions hold a boundary and no piece is empty.
pub fn piece(text: &str, index: usize) -> Option<&str> {
    let start = index.checked_mul(TOKEN_BYTES).filter(|start| *start < text.len())?;
    text.get(text.floor_char_boundary(start)..text.floor_char_boundary(start + TOKEN_BYTES))
}

/// Shortens `text` to at most `max_tokens`; true if anything was lost.
pub fn truncate_to_tokens(text: &mut String, max_tokens: u64) -> bool {
    if token_count(text.len()) <= max_tokens {
        return false;
    }
    let bytes = usize::try_from(max_tokens).unwrap_or(usize::MAX).saturating_mul(TOKEN_BYTES);
    text.truncate(text.floor_char_boundary(bytes));
    true
}

/// The beginning of a message, short enough to be repeated in an answer.
pub fn excerpt(message: &str) -> &str {
    message.get(..message.floor_char_boundary(ECHO_BYTES)).unwrap_or_default()
}

/// The text of choice `choice` (from 0): a function of the last user message and the shape alone.
pub fn answer_text(shape: &AnswerShape, last_user_message: &str, choice: u64) -> String {
    let digest = stable_hash(last_user_message.as_bytes()) >> 32;
    let echo = excerpt(last_user_message);
    let mut text = String::with_capacity(shape.text_bytes.unwrap_or(0).max(echo.len() + 64));
    if choice > 0 {
        text.push_str(&format!("Choice {}: ", choice + 1));
    }
    text.push_str(&format!("Mock answer [{digest:08x}] to: {echo}"));
    let filler = match shape.alphabet {
        Alphabet::Ascii => ASCII_FILLER,
        Alphabet::Multibyte => MULTIBYTE_FILLER,
        Alphabet::Emoji => EMOJI_FILLER,
    };
    match shape.text_bytes {
        Some(bytes) => fill(&mut text, filler, bytes),
        None if shape.alphabet == Alphabet::Ascii => {}
        None => {
            text.push(' ');
            text.push_str(filler.trim_end());
        }
    }
    if let Some(token) = shape.differs_from {
        differ(&mut text, usize::try_from(token).unwrap_or(usize::MAX).saturating_mul(TOKEN_BYTES));
    }
    text
}

/// Makes `text` another one from this byte on, of the same size.
fn differ(text: &mut String, from: usize) {
    let (size, kept) = (text.len(), text.floor_char_boundary(from));
    text.truncate(kept);
    while text.len() < size {
        text.push('~');
    }
}

/// Makes `text` exactly `bytes` long, with dots where the next character would not fit.
fn fill(text: &mut String, filler: &str, bytes: usize) {
    if text.len() < bytes {
        text.push(' ');
    }
    while text.len() < bytes {
        text.push_str(filler);
    }
    text.truncate(text.floor_char_boundary(bytes));
    while text.len() < bytes {
        text.push('.');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_rebuild_the_text_and_number_as_its_tokens(text in "\\PC{0,60}") {
            let pieces: Vec<&str> = (0..).map_while(|index| piece(&text, index)).collect();
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.len() as u64, token_count(text.len()));
        }

        #[test]
        fn a_truncated_text_is_a_prefix_within_the_limit(text in "\\PC{0,60}", max in 0u64..20) {
            let mut short = text.clone();
            let lost = truncate_to_tokens(&mut short, max);
            prop_assert!(text.starts_with(&short));
            prop_assert!(token_count(short.len()) <= max);
            prop_assert_eq!(lost, short != text);
            prop_assert_eq!(token_count(short.len()), max.min(token_count(text.len())));
        }

        #[test]
        fn a_sized_answer_has_exactly_that_size(bytes in 1usize..3000, message in "\\PC{0,40}") {
            for alphabet in [Alphabet::Ascii, Alphabet::Multibyte, Alphabet::Emoji] {
                let shape = AnswerShape { alphabet, text_bytes: Some(bytes), ..AnswerShape::default() };
                prop_assert_eq!(answer_text(&shape, &message, 0).len(), bytes);
            }
        }
    }

    #[test]
    fn a_text_that_differs_agrees_up_to_that_token() {
        let plain = answer_text(&AnswerShape { text_bytes: Some(400), ..AnswerShape::default() }, "hi", 0);
        let shape = AnswerShape { text_bytes: Some(400), differs_from: Some(5), ..AnswerShape::default() };
        let other = answer_text(&shape, "hi", 0);
        assert_eq!((other.len(), &other[..20]), (400, &plain[..20]));
        assert!(other[20..].chars().all(|c| c == '~'));
    }

    #[test]
    fn different_questions_with_the_same_beginning_get_different_answers() {
        let shape = AnswerShape::default();
        let long = "x".repeat(500);
        assert_ne!(answer_text(&shape, &long, 0), answer_text(&shape, &format!("{long}y"), 0));
        assert_ne!(answer_text(&shape, "hi", 0), answer_text(&shape, "hi", 1));
        assert_eq!(answer_text(&shape, "hi", 0), answer_text(&shape, "hi", 0));
    }
}
