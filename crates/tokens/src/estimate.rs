//! Tokens by bytes: what a text will roughly be, for a model whose tokenizer is not at hand.
//!
//! A byte-pair tokenizer makes about one token of four bytes of English, and about one of each character of a
//! script that takes three bytes each (Chinese, Japanese, Korean). So an ASCII byte counts as a quarter of a token, any
//! other byte as a third. Digits, code and base64 take more than that, other alphabets less; the settlement corrects
//! it to the provider's own figure.

use serde_json::value::RawValue;

/// A quarter and a third of a token, in twelfths.
const TWELFTHS_PER_ASCII_BYTE: u64 = 3;
const TWELFTHS_PER_OTHER_BYTE: u64 = 4;

/// Tokens of the text that a JSON string holds, escapes undone.
pub fn string_tokens(string: &RawValue) -> u64 {
    let quotes = 2;
    let weight = weigh(string.get());
    tokens(Weight { ascii_bytes: weight.ascii_bytes.saturating_sub(quotes), ..weight })
}

/// Tokens of a JSON value as text, white space between its parts left out.
pub fn json_tokens(value: &RawValue) -> u64 {
    tokens(weigh(value.get()))
}

#[derive(Clone, Copy, Default)]
struct Weight {
    ascii_bytes: u64,
    other_bytes: u64,
}

fn tokens(weight: Weight) -> u64 {
    let twelfths = (weight.ascii_bytes.saturating_mul(TWELFTHS_PER_ASCII_BYTE))
        .saturating_add(weight.other_bytes.saturating_mul(TWELFTHS_PER_OTHER_BYTE));
    twelfths.div_ceil(12)
}

/// UTF-8 bytes that the value stands for: an escape counts as the character that it means, because some clients
/// write all but ASCII as `\u…`.
fn weigh(json: &str) -> Weight {
    let mut weight = Weight::default();
    let mut in_string = false;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => match bytes.next() {
                Some(b'u') => match utf8_bytes_of_escape(&mut bytes) {
                    1 => weight.ascii_bytes += 1,
                    n => weight.other_bytes += n,
                },
                _ => weight.ascii_bytes += 1,
            },
            b'"' => {
                in_string = !in_string;
                weight.ascii_bytes += 1;
            }
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {}
            0x80.. => weight.other_bytes += 1,
            _ => weight.ascii_bytes += 1,
        }
    }
    weight
}

/// Reads the four hex digits after `\u`. Each half of a surrogate pair is two of its character's four bytes.
fn utf8_bytes_of_escape(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let digits = bytes.take(4).filter_map(|digit| char::from(digit).to_digit(16));
    match digits.fold(0, |code, digit| code * 16 + digit) {
        0..0x80 => 1,
        0x80..0x800 | 0xD800..0xE000 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    /// Every character beyond ASCII written as `\u…`, as Python's `json.dumps` does by default.
    fn ascii_only(text: &str) -> String {
        serde_json::to_string(text)
            .unwrap()
            .chars()
            .map(|c| {
                if c.is_ascii() {
                    return c.to_string();
                }
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
            })
            .collect()
    }

    #[test]
    fn an_ascii_byte_is_a_quarter_of_a_token_and_any_other_a_third() {
        for (json, tokens) in [
            (r#""""#, 0),
            (r#""a""#, 1),
            (r#""abcd""#, 1),
            (r#""abcde""#, 2),
            (r#""日本語""#, 3),
            (r#""\u65e5\u672c\u8a9e""#, 3),
            (r#""\n\"\\\/""#, 1),
        ] {
            assert_eq!(string_tokens(&raw(json)), tokens, "{json}");
        }
    }

    #[test]
    fn layout_between_values_is_free_but_text_is_not() {
        let compact = raw(r#"{"a":["b  c",1]}"#);
        let pretty = raw("{\n    \"a\": [\n        \"b  c\",\n        1\n    ]\n}");
        assert_eq!(json_tokens(&compact), json_tokens(&pretty));
        assert_eq!(json_tokens(&compact), 4, "16 bytes");
    }

    proptest! {
        #[test]
        fn a_text_counts_the_same_however_it_is_escaped(text in any::<String>()) {
            let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
            let other = text.len() as u64 - ascii;
            let expected = (3 * ascii + 4 * other).div_ceil(12);
            prop_assert_eq!(string_tokens(&raw(&serde_json::to_string(&text).unwrap())), expected);
            prop_assert_eq!(string_tokens(&raw(&ascii_only(&text))), expected);
        }
    }
}
