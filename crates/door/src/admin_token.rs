//! Who is an operator: whoever sends the token in the variable `admin_token`.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Why a request opens none of the operator's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOperator {
    /// No admin token is set, so nobody is an operator.
    Disabled,
    /// The request carries no token.
    NoToken,
    /// The request carries another token.
    WrongToken,
}

impl NoOperator {
    /// The HTTP status: 403 or 401, the latter to be sent with `www-authenticate: Bearer`.
    pub fn status(self) -> u16 {
        match self {
            NoOperator::Disabled => 403,
            NoOperator::NoToken | NoOperator::WrongToken => 401,
        }
    }

    /// The error's code.
    pub fn code(self) -> &'static str {
        match self {
            NoOperator::Disabled => "admin_disabled",
            NoOperator::NoToken | NoOperator::WrongToken => "invalid_admin_token",
        }
    }

    /// What the caller is told.
    pub fn message(self) -> &'static str {
        match self {
            NoOperator::Disabled => {
                "The operator's pages are off. To turn them on, set the variable `admin_token` to a long random text \
                 (spin up --variable admin_token=...) and send it as `Authorization: Bearer <admin_token>`."
            }
            NoOperator::NoToken => {
                "This page needs the admin token, sent as `Authorization: Bearer <admin_token>`."
            }
            NoOperator::WrongToken => {
                "This is not the admin token. It is the value of the variable `admin_token`; an API key does not work here."
            }
        }
    }
}

/// Admits a request that carries `Authorization: Bearer <admin_token>`.
///
/// White space around the token is no part of it (RFC 6750, section 2.1, has none in tokens; a file that a variable
/// is read from often ends with a line feed). An empty token admits nobody. Both sides are hashed first, so that the
/// time of the comparison tells nothing about the token, its length included.
///
/// # Errors
/// Why it is not admitted.
pub fn check_admin_token(headers: &HeaderMap, admin_token: &str) -> Result<(), NoOperator> {
    let admin_token = admin_token.trim();
    if admin_token.is_empty() {
        return Err(NoOperator::Disabled);
    }
    let sent = bearer(headers).ok_or(NoOperator::NoToken)?;
    let equal = Sha256::digest(sent).ct_eq(&Sha256::digest(admin_token));
    if bool::from(equal) { Ok(()) } else { Err(NoOperator::WrongToken) }
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
        check_admin_token(&headers, admin_token).map_or_else(NoOperator::status, |()| 200)
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
