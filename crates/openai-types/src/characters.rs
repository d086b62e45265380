//! Characters of a text, by what they are to a tokenizer: what a count of tokens can be guessed from while a text passes by,
//! without keeping it.

use serde_json::value::RawValue;

/// How many characters of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Characters {
    /// ASCII letters and white space: of these, words are made.
    pub letters: u64,
    /// Other ASCII: digits and signs.
    pub signs: u64,
    /// Characters of two bytes of UTF-8: accented letters; Greek, Cyrillic, Arabic and other alphabets.
    pub two_bytes: u64,
    /// Characters of three bytes; each of four, most of them emoji, counts as three of these.
    pub wide: u64,
}

impl Characters {
    /// Those of a text.
    pub fn of(text: &str) -> Self {
        let mut characters = Characters::default();
        text.chars().for_each(|character| characters.add(character.into()));
        characters
    }

    /// Those of a JSON string's text; none of whatever is no string. Nothing is copied: this is asked of every chunk of every
    /// stream. Half a surrogate pair, which some servers send when they cut a text between the two, is a part of its character.
    pub fn of_json(raw: &RawValue) -> Self {
        let mut characters = Characters::default();
        let Some(mut rest) = raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            return characters;
        };
        while let Some((plain, escape)) = rest.split_once('\\') {
            characters = characters.plus(Characters::of(plain));
            let mut meant = escape.chars();
            rest = match meant.next() {
                Some('u') => {
                    let hex = escape.get(1..5).unwrap_or_default();
                    characters.add(u32::from_str_radix(hex, 16).unwrap_or(0));
                    escape.get(5..).unwrap_or_default()
                }
                Some(sign @ ('"' | '\\' | '/')) => {
                    characters.add(sign.into());
                    meant.as_str()
                }
                // A line end or another control character.
                _ => {
                    characters.add(u32::from(b'\n'));
                    meant.as_str()
                }
            };
        }
        characters.plus(Characters::of(rest))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Characters::default()
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Characters) -> Self {
        Characters {
            letters: self.letters.saturating_add(more.letters),
            signs: self.signs.saturating_add(more.signs),
            two_bytes: self.two_bytes.saturating_add(more.two_bytes),
            wide: self.wide.saturating_add(more.wide),
        }
    }

    fn add(&mut self, code: u32) {
        let is_word = |ascii: u8| ascii.is_ascii_alphabetic() || ascii <= b' ';
        let (kind, count) = match code {
            0..0x80 if u8::try_from(code).is_ok_and(is_word) => (&mut self.letters, 1),
            0..0x80 => (&mut self.signs, 1),
            0x80..0x800 => (&mut self.two_bytes, 1),
            0xd800..0xdc00 => (&mut self.wide, 2), // the first half of a pair; the other is one more
            0x800..0x1_0000 => (&mut self.wide, 1),
            _ => (&mut self.wide, 3),
        };
        *kind = kind.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_says_however_it_is_escaped() {
        let of = |letters, signs, two_bytes, wide| Characters { letters, signs, two_bytes, wide };
        for (json, expected) in [
            (r#""""#, of(0, 0, 0, 0)),
            (r#""abc d""#, of(5, 0, 0, 0)),
            (r#""h\u00e9llo""#, of(4, 0, 1, 0)),
            (r#""1é漢😀""#, of(0, 1, 1, 4)),
            (r#""\u6f22\ud83d\ude00\n\"\\""#, of(1, 2, 0, 4)),
            (r#""\\u0041""#, of(1, 5, 0, 0)),
            (r#""\ud83d""#, of(0, 0, 0, 2)),
            ("null", of(0, 0, 0, 0)),
            ("7", of(0, 0, 0, 0)),
            (r#"["abc"]"#, of(0, 0, 0, 0)),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(Characters::of_json(&raw), expected, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_the_same_characters_however_it_is_escaped(text in "\\PC{0,20}[\u{0}-\u{20}\"\\\\]{0,5}\\PC{0,9}") {
            let plain = serde_json::to_string(&text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for json in [plain, format!("\"{escaped}\"")] {
                let raw = RawValue::from_string(json).unwrap();
                proptest::prop_assert_eq!(Characters::of_json(&raw), Characters::of(&text));
            }
        }
    }
}
