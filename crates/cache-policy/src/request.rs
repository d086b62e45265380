//! What of a request decides whether the cache may be asked, and in which form it answers.
//!
//! It does not judge whether the request is a good one: the provider does. What cannot be read with certainty is
//! passed by, never guessed.

use crate::json::{Json, JsonError, Object};

/// A chat request as far as the cache must understand it.
#[derive(Debug)]
pub struct Request<'a> {
    /// All of its fields, for the key.
    pub fields: Object<'a>,
    /// Whether the client asked for SSE.
    pub stream: bool,
    /// Whether the client asked for a usage chunk at the end of its stream; never true without `stream`.
    pub include_usage: bool,
}

/// Why the cache is passed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bypass {
    /// `cache-control: no-store`: neither read nor stored.
    #[error("the client asked for no-store")]
    NoStore,
    /// `cache-control: no-cache`: not read, but the fresh answer is stored.
    #[error("the client asked for no-cache")]
    NoCache,
    /// The body is larger than [`MAX_REQUEST_BYTES`].
    #[error("the request is larger than {MAX_REQUEST_BYTES} bytes")]
    TooLarge,
    /// The body is not a JSON object that has one meaning.
    #[error("the request cannot be read with certainty: {0}")]
    Unreadable(#[from] JsonError),
    /// The body is JSON, but not a chat request: no object, or `stream` or `stream_options` of another type.
    #[error("the request is not a chat request")]
    NotChat,
    /// `"store": true`: the client wants the provider to keep this very completion.
    #[error("the client asked the provider to store the completion")]
    ProviderStores,
}

/// Largest request body that is looked up, in bytes. Agents' requests are 0.2 to 2 MB; above that they carry files,
/// and reading and hashing one would hold up the other requests of the instance for tens of milliseconds.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

impl<'a> Request<'a> {
    /// Reads a request body.
    ///
    /// # Errors
    /// Why the cache must be passed by.
    pub fn parse(body: &'a [u8]) -> Result<Self, Bypass> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Bypass::TooLarge);
        }
        let fields = Json::parse(body)?.into_object().ok_or(Bypass::NotChat)?;
        if fields.get("store") == Some(&Json::Bool(true)) {
            return Err(Bypass::ProviderStores);
        }
        let stream = flag(&fields, "stream")?;
        let include_usage = match fields.present("stream_options") {
            None => false,
            Some(Json::Object(options)) => flag(options, "include_usage")?,
            Some(_) => return Err(Bypass::NotChat),
        };
        Ok(Request { fields, stream, include_usage: include_usage && stream })
    }
}

fn flag(object: &Object<'_>, name: &str) -> Result<bool, Bypass> {
    match object.present(name) {
        None => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(_) => Err(Bypass::NotChat),
    }
}

/// The directives of the client's `cache-control` that matter here (RFC 9111 section 5.2.1); all others have no
/// effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-store`: neither read nor stored.
    pub no_store: bool,
    /// `no-cache`: not read, but stored; so a client can replace an answer it does not like.
    pub no_cache: bool,
}

impl CacheControl {
    /// Reads the values of all `cache-control` headers of a request.
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut control = CacheControl::default();
        for directive in values.into_iter().flat_map(|value| value.split(',')) {
            let directive = directive.trim();
            control.no_store |= directive.eq_ignore_ascii_case("no-store");
            control.no_cache |= directive.eq_ignore_ascii_case("no-cache");
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_answer_is_read() {
        for (body, stream, include_usage) in [
            (r#"{}"#, false, false),
            (r#"{"stream":null,"stream_options":null}"#, false, false),
            (r#"{"stream":true}"#, true, false),
            (r#"{"stream":true,"stream_options":{}}"#, true, false),
            (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, true, true),
            (r#"{"stream":false,"stream_options":{"include_usage":true}}"#, false, false),
            (r#"{"store":false,"stream":true}"#, true, false),
        ] {
            let request = Request::parse(body.as_bytes()).expect(body);
            assert_eq!((request.stream, request.include_usage), (stream, include_usage), "{body}");
        }
    }

    #[test]
    fn what_is_not_certain_is_passed_by() {
        for (body, reason) in [
            (r#"{"store":true}"#, Bypass::ProviderStores),
            (r#"[]"#, Bypass::NotChat),
            (r#"{"stream":1}"#, Bypass::NotChat),
            (r#"{"stream":true,"stream_options":[]}"#, Bypass::NotChat),
            (r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#, Bypass::NotChat),
            (r#"{"#, Bypass::Unreadable(JsonError::Syntax { at: 1 })),
            (r#"{"n":1,"n":2}"#, Bypass::Unreadable(JsonError::DuplicateName { at: 13 })),
        ] {
            assert_eq!(Request::parse(body.as_bytes()).expect_err(body), reason, "{body}");
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_REQUEST_BYTES));
        assert_eq!(Request::parse(large.as_bytes()).expect_err("large"), Bypass::TooLarge);
    }

    #[test]
    fn cache_control_is_read_as_http_means_it() {
        for (values, no_store, no_cache) in [
            (&[][..], false, false),
            (&["max-age=0"], false, false),
            (&["No-Store"], true, false),
            (&["max-age=0, no-cache"], false, true),
            (&["no-cache ,no-store"], true, true),
            (&["no-cache", "no-store"], true, true),
            (&["no-storex", "x-no-cache", "no-cache=x"], false, false),
        ] {
            let expected = CacheControl { no_store, no_cache };
            assert_eq!(CacheControl::parse(values.iter().copied()), expected, "{values:?}");
        }
    }
}
