//! Messages of this component that are held whole.

use crate::body::End;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use spin_sdk::wasip3::http::types::{Fields, Response};
use spin_sdk::wasip3::{spawn, wit_future, wit_stream};
use spin_sdk::wit_bindgen::StreamReader;

/// A body for the host, for a message that declares its length in `content-length`.
///
/// It is written in one piece by a task of its own. Whether it arrived whole the reader knows by its length, so its end
/// says nothing more, and a writer that is cut off needs not say so. An empty body is none.
pub fn whole_body(body: Bytes) -> (Option<StreamReader<u8>>, End) {
    let (end, trailers) = wit_future::new(|| Ok(None));
    if body.is_empty() {
        return (None, trailers);
    }
    let (mut writer, stream) = wit_stream::new();
    spawn(async move {
        // A reader that has left needs neither the rest nor an end.
        let _unwritten = writer.write_all(body.into()).await;
        drop(writer);
        // Written only now that the host waits for it, which takes no turn of its own.
        drop(end);
    });
    (Some(stream), trailers)
}

/// An answer for the host, held whole. Unless it is empty, `headers` declare its length.
pub fn respond(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Response {
    let (stream, trailers) = whole_body(body);
    let (response, _sent) = Response::new(fields(headers), stream, trailers);
    // Refused only outside 100..=599, where no status of ours is, and 200 would be a lie.
    if response.set_status_code(status.as_u16()).is_err() {
        let _taken = response.set_status_code(500);
    }
    response
}

/// Headers for the host, without those that it takes from nobody (`connection`, say).
pub fn fields(headers: &HeaderMap) -> Fields {
    let entries: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    // It refuses a list as a whole for one of them.
    Fields::from_list(&entries).unwrap_or_else(|_| {
        let fields = Fields::new();
        for (name, value) in &entries {
            let _refused = fields.append(name, value);
        }
        fields
    })
}
