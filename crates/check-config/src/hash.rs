//! An API key's SHA-256, as a document has it.

use sha2::{Digest as _, Sha256};

/// A shorter key can be found from its hash by trying: 16 letters and digits at random are about 95 bits.
const KEY_MIN_CHARACTERS: usize = 16;

/// The hash of a key that was read as a line, and a note if the key is weak.
pub fn hash_key(input: &[u8]) -> Result<(String, Option<String>), String> {
    let key = input.strip_suffix(b"\n").unwrap_or(input);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(
            "standard input is empty; give the key there, as in: printf %s \"$KEY\" | … --hash-key".into()
        );
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(
            "the key holds a space, a line break or a character outside ASCII: no client could send it"
                .into(),
        );
    }
    let note = (key.len() < KEY_MIN_CHARACTERS)
        .then(|| format!("note: this key has {} characters; make one with: openssl rand -hex 24", key.len()));
    Ok((hex::encode(Sha256::digest(key)), note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_the_key() {
        let demo = "c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c";
        for (input, expected) in [
            ("demo-key", Some(demo)),
            ("demo-key\n", Some(demo)),
            ("demo-key\r\n", Some(demo)),
            ("demo-key\n\n", None),
            (" demo-key", None),
            ("", None),
            ("\n", None),
            ("clé", None),
        ] {
            let sha256 = hash_key(input.as_bytes()).ok().map(|(sha256, _)| sha256);
            assert_eq!(sha256.as_deref(), expected, "{input:?}");
        }
    }

    #[test]
    fn a_short_key_gets_a_note() {
        for (key, is_noted) in [("0123456789abcde", true), ("0123456789abcdef", false)] {
            assert_eq!(hash_key(key.as_bytes()).unwrap().1.is_some(), is_noted, "{key}");
        }
    }
}
