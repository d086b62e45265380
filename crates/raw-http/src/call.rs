//! Requests to this component.

use crate::body::{Frames, IncomingBody, declared_length};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request};

/// A request to this component. Nothing of it is copied until it is asked for.
pub struct Call {
    request: Request,
    /// Its headers.
    pub headers: CallHeaders,
}

impl Call {
    /// The request that the host gave.
    pub fn new(request: Request) -> Self {
        let headers = CallHeaders(request.get_headers());
        Call { request, headers }
    }

    /// The method; what is none by the letter is `TRACE`, which nothing here serves.
    pub fn method(&self) -> Method {
        self.request.get_method().try_into().unwrap_or(Method::TRACE)
    }

    /// Path and query; `/` when there is none.
    pub fn path_and_query(&self) -> String {
        self.request.get_path_with_query().unwrap_or_else(|| "/".to_owned())
    }

    /// All headers, copied, and the body to be read.
    ///
    /// # Errors
    /// If a header is none by the letter, which the host does not let happen.
    pub fn into_parts(self) -> Result<(HeaderMap, IncomingBody), ErrorCode> {
        let headers = HeaderMap::try_from(self.headers.0)?;
        let body = IncomingBody::of_request(self.request, declared_length(&headers));
        Ok((headers, body))
    }

    /// The same as an [`http::Request`], everything copied, for routes where that does not count.
    ///
    /// # Errors
    /// If a part is none by the letter, which the host does not let happen.
    pub fn into_http(self) -> Result<http::Request<Frames>, ErrorCode> {
        let (method, target) = (self.method(), self.path_and_query());
        let (headers, body) = self.into_parts()?;
        let mut request = http::Request::new(body.into_frames());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The headers, which stay with the host, and the body to be read.
    pub fn split(self) -> (CallHeaders, IncomingBody) {
        let declared = self.headers.text(header::CONTENT_LENGTH.as_str());
        let body = IncomingBody::of_request(self.request, declared.and_then(|length| length.parse().ok()));
        (self.headers, body)
    }
}

/// The headers of a request; they stay with the host.
pub struct CallHeaders(Fields);

impl CallHeaders {
    /// The first value of a header, if it is text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).into_iter().next().and_then(|value| String::from_utf8(value).ok())
    }

    /// The headers of these names, all values of each.
    pub fn named(&self, names: &[HeaderName]) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(names.len());
        for name in names {
            for value in self.0.get(name.as_str()) {
                if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
                    map.append(name.clone(), value);
                }
            }
        }
        map
    }
}
