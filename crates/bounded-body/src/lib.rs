//! Reads a whole HTTP body into memory, up to a cap.
//!
//! Every body that Tollgate holds in memory goes through here, so that no peer can make it grow without bound.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The body is larger than the cap; nothing of it is kept.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The cap that was exceeded, in bytes.
        max_bytes: usize,
    },
    /// The peer failed or left before the body ended.
    #[error("the body ended early: {0}")]
    Transport(E),
}

/// Reads `body` to its end.
///
/// A body of one frame is returned as it is, without a copy. The declared length is checked first, so that an
/// honest oversized body is refused before any of it is read.
///
/// # Errors
/// [`ReadError::TooLarge`] over `max_bytes`, [`ReadError::Transport`] when the body fails before its end.
pub async fn read<B>(body: B, max_bytes: usize) -> Result<Bytes, ReadError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > max_bytes {
        return Err(ReadError::TooLarge { max_bytes });
    }
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Transport)?.into_data() else {
            continue; // trailers carry no body
        };
        let held = rest.as_ref().map_or(first.len(), BytesMut::len);
        if held.saturating_add(data.len()) > max_bytes {
            return Err(ReadError::TooLarge { max_bytes });
        }
        match &mut rest {
            Some(buffer) => buffer.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let mut buffer = BytesMut::with_capacity(declared.max(first.len() + data.len()));
                buffer.extend_from_slice(&first);
                buffer.extend_from_slice(&data);
                rest = Some(buffer);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{executor::block_on, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    fn frames(parts: &[&'static str]) -> impl Body<Data = Bytes, Error = &'static str> {
        let parts: Vec<_> = parts.iter().map(|p| Ok(Frame::data(Bytes::from_static(p.as_bytes())))).collect();
        StreamBody::new(stream::iter(parts))
    }

    #[test]
    fn a_body_of_one_frame_is_returned_as_it_is() {
        let data = Bytes::from_static(b"hello");
        let read = block_on(read(Full::new(data.clone()), 5)).unwrap();
        assert_eq!(read.as_ptr(), data.as_ptr());
    }

    #[test]
    fn frames_are_joined_in_order() {
        assert_eq!(block_on(read(frames(&["a", "", "bc", "d"]), 4)).unwrap(), "abcd");
        assert_eq!(block_on(read(frames(&[]), 0)).unwrap(), "");
    }

    #[test]
    fn one_byte_over_the_cap_is_refused_declared_or_not() {
        for max in 0..4 {
            assert!(
                matches!(block_on(read(frames(&["ab", "cd"]), max)), Err(ReadError::TooLarge { max_bytes }) if max_bytes == max)
            );
            assert!(matches!(
                block_on(read(Full::new(Bytes::from_static(b"abcd")), max)),
                Err(ReadError::TooLarge { .. })
            ));
        }
    }

    #[test]
    fn a_body_that_fails_is_an_error_not_a_short_body() {
        let parts = vec![Ok(Frame::data(Bytes::from_static(b"ab"))), Err("reset")];
        let result = block_on(read(StreamBody::new(stream::iter(parts)), 100));
        assert!(matches!(result, Err(ReadError::Transport("reset"))));
    }
}
