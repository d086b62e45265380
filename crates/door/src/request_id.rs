//! The request id: the client's own if it is sane, else a new one.

use http::HeaderMap;

/// Header in which a client may send an id, and in which it always gets one back.
const REQUEST_ID: &str = "x-request-id";

/// Longest id that is taken over, in bytes.
const MAX_BYTES: usize = 128;

/// The id of a request: the client's `x-request-id` when it is 1 to 128 characters of `A-Z a-z 0-9 . _ : / = + -`,
/// else one made of `random`.
pub fn choose(headers: &HeaderMap, random: u128) -> String {
    let mut sent = headers.get_all(REQUEST_ID).iter();
    match (sent.next().and_then(|v| v.to_str().ok()), sent.next()) {
        (Some(id), None) if is_sane(id) => id.to_owned(),
        _ => generate(random),
    }
}

/// A new id from 128 random bits: `req_` and 32 hexadecimal digits.
fn generate(random: u128) -> String {
    format!("req_{random:032x}")
}

/// Safe to log, to store and to send as a header: no quotes, spaces or controls.
fn is_sane(id: &str) -> bool {
    (1..=MAX_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/=+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(ids: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for id in ids {
            headers.append(REQUEST_ID, http::HeaderValue::from_bytes(id.as_bytes()).unwrap());
        }
        choose(&headers, 7)
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let fresh = generate(7);
        let long = "x".repeat(129);
        for (ids, expected) in [
            (&["abc-1.2_3:4/5=6+7"][..], "abc-1.2_3:4/5=6+7"),
            (&[&long[..128]], &long[..128]),
            (&[&long], &fresh),
            (&[""], &fresh),
            (&["a b"], &fresh),
            (&["a\"b"], &fresh),
            (&["\u{e9}"], &fresh),
            (&["a", "b"], &fresh),
            (&[], &fresh),
        ] {
            assert_eq!(chosen(ids), expected, "{ids:?}");
        }
    }

    proptest! {
        #[test]
        fn a_generated_id_is_itself_sane(random in any::<u128>()) {
            prop_assert!(is_sane(&generate(random)));
        }
    }
}
