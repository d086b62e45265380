//! Who may see the operator's pages: whoever sends the token in the variable `admin_token`.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Cause;

/// Admits a request that carries `Authorization: Bearer <admin_token>`.
///
/// White space around the token is no part of it (RFC 6750, section 2.1, has none in tokens; a file that a variable
/// is read from often ends with a line feed). An empty token admits nobody. Both sides are hashed first, so that the
/// time of the comparison tells nothing about the token, its length included.
pub fn check(headers: &HeaderMap, admin_token: &str) -> Result<(), Cause> {
    let admin_token = admin_token.trim();
    if admin_token.is_empty() {
        return Err(Cause::AdminDisabled);
    }
    let sent = bearer(headers).ok_or(Cause::NoAdminToken)?;
    let equal = Sha256::digest(sent).ct_eq(&Sha256::digest(admin_token));
    if bool::from(equal) { Ok(()) } else { Err(Cause::WrongAdminToken) }
}

/// The token of the one `Authorization` header; the scheme's name has no case (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn outcome(sent: &[&str], admin_token: &str) -> u16 {
        let mut headers = HeaderMap::new();
        for value in sent {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        check(&headers, admin_token).map_or_else(|cause| cause.to_api_error().status, |()| 200)
    }

    #[test]
    fn only_the_token_itself_opens_the_pages() {
        for (sent, status) in [
            ("Bearer s3cret", 200),
            ("bearer s3cret", 200),
            ("BEARER  s3cret ", 200),
            ("Bearer s3cre", 401),
            ("Bearer s3crets", 401),
            ("Bearer S3cret", 401),
            ("Bearer ", 401),
            ("Bearer", 401),
            ("Basic s3cret", 401),
            ("s3cret", 401),
            ("Bearers3cret", 401),
            ("Bearer s3cret s3cret", 401),
            ("", 401),
        ] {
            assert_eq!(outcome(&[sent], "s3cret"), status, "{sent:?}");
        }
        assert_eq!(outcome(&[], "s3cret"), 401);
        assert_eq!(outcome(&["Bearer s3cret", "Bearer s3cret"], "s3cret"), 401);
        assert_eq!(outcome(&["Bearer s3cret"], "s3cret\n"), 200);
    }

    #[test]
    fn without_a_token_the_pages_are_closed_to_everybody() {
        for admin_token in ["", " ", "\n"] {
            for sent in ["", "Bearer ", "Bearer x"] {
                assert_eq!(outcome(&[sent], admin_token), 403, "{admin_token:?} {sent:?}");
            }
        }
    }
}
