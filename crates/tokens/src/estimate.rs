//! Tokens by bytes: what a text will roughly be where no tokenizer is at hand.
//!
//! A byte-pair tokenizer makes about one token of four bytes of English, and about one of each character of a
//! script that takes three bytes each (Chinese, Japanese, Korean). So an ASCII byte counts as a quarter of a token, any
//! other byte as a third.

/// A quarter and a third of a token, in twelfths.
const TWELFTHS_PER_ASCII_BYTE: u64 = 3;
const TWELFTHS_PER_OTHER_BYTE: u64 = 4;

/// Tokens of a text, roughly.
pub fn by_bytes(text: &str) -> u64 {
    let bytes = text.len() as u64;
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let twelfths = (ascii.saturating_mul(TWELFTHS_PER_ASCII_BYTE))
        .saturating_add((bytes - ascii).saturating_mul(TWELFTHS_PER_OTHER_BYTE));
    twelfths.div_ceil(12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ascii_byte_is_a_quarter_of_a_token_and_any_other_a_third() {
        for (text, tokens) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本語", 3), ("\n\"\\/", 1)]
        {
            assert_eq!(by_bytes(text), tokens, "{text}");
        }
    }
}
