//! Several answers for the cache in one body.
//!
//! For each answer a line of JSON that says whose and how long it is ([`StoreHead`]), a line feed, and its bytes as they
//! are, whatever they are: nothing is escaped, copied twice or searched for an end. A body that does not add up is
//! refused as a whole.

use serde::{Deserialize, Serialize};

/// Largest body, in bytes: what the router lets wait, the largest answer that it offers, and the lines between.
pub const MAX_STORE_BATCH_BYTES: usize = 2 << 20;

/// Longest line, in bytes: a key has 73 letters at most, a content type a few.
const MAX_LINE_BYTES: usize = 1_024;

/// What precedes each answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreHead {
    /// [`crate::headers::CACHE_KEY`] as returned by the lookup.
    pub key: String,
    /// `application/json` or `text/event-stream`.
    pub content_type: String,
    /// Length of the answer that follows, in bytes.
    pub bytes: usize,
}

/// The body is no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A line is no [`StoreHead`].
    Head,
    /// An answer is shorter than its line says.
    Short,
}

/// Adds an answer to a body.
pub fn append(body: &mut Vec<u8>, key: &str, content_type: &str, answer: &[u8]) {
    let head = StoreHead { key: key.to_owned(), content_type: content_type.to_owned(), bytes: answer.len() };
    // Two texts and a number: serialising cannot fail.
    body.extend_from_slice(&serde_json::to_vec(&head).unwrap_or_default());
    body.push(b'\n');
    body.extend_from_slice(answer);
}

/// The answers of a body, in their order.
///
/// # Errors
/// [`Malformed`] at the first that does not add up.
pub fn split(mut body: &[u8]) -> Result<Vec<(StoreHead, &[u8])>, Malformed> {
    let mut answers = Vec::new();
    while !body.is_empty() {
        let line_end = body.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n');
        let (line, rest) = line_end.and_then(|end| body.split_at_checked(end)).ok_or(Malformed::Head)?;
        let head: StoreHead = serde_json::from_slice(line).map_err(|_| Malformed::Head)?;
        let rest = rest.get(1..).unwrap_or_default();
        let (answer, rest) = rest.split_at_checked(head.bytes).ok_or(Malformed::Short)?;
        answers.push((head, answer));
        body = rest;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_answers_are_they_come_apart_as_they_were_joined(
            answers in prop::collection::vec(("[0-9a-f]{64}", prop::collection::vec(any::<u8>(), 0..200)), 0..8)
        ) {
            let mut body = Vec::new();
            for (key, answer) in &answers {
                append(&mut body, key, "application/json", answer);
            }
            let split = split(&body).unwrap();
            prop_assert_eq!(split.len(), answers.len());
            for ((head, found), (key, answer)) in split.iter().zip(&answers) {
                prop_assert_eq!((&head.key, *found, head.bytes), (key, answer.as_slice(), answer.len()));
            }
        }

        #[test]
        fn a_batch_that_is_cut_short_is_refused_as_a_whole(cut in 1_usize..100) {
            let mut body = Vec::new();
            append(&mut body, "a", "application/json", b"{}");
            let first = body.len();
            append(&mut body, "b", "text/event-stream", &[b'\n'; 50]);
            let left = body.len().saturating_sub(cut);
            prop_assume!(left != first && left != 0);
            prop_assert!(split(&body[..left]).is_err());
        }
    }

    #[test]
    fn what_is_no_batch_is_named() {
        assert_eq!(split(b""), Ok(vec![]));
        for (body, expected) in [
            (&b"x"[..], Malformed::Head),
            (b"{}\n", Malformed::Head),
            (b"{\"key\":\"k\",\"content_type\":\"t\",\"bytes\":2}", Malformed::Head),
            (b"{\"key\":\"k\",\"content_type\":\"t\",\"bytes\":2}\nx", Malformed::Short),
            (b"{\"key\":\"k\",\"content_type\":\"t\",\"bytes\":-1}\nx", Malformed::Head),
        ] {
            assert_eq!(split(body), Err(expected), "{}", String::from_utf8_lossy(body));
        }
    }
}
