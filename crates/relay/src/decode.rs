//! Undoes an upstream's `content-encoding` (RFC 9110 section 8.4.1), piece by piece.
//!
//! We ask for none, but some servers compress all the same. Invariant: what one [`Source::next`] gives is bounded, so
//! that a small body cannot become a large one in memory; the bounds on whole streams count what comes out here.

use crate::{Source, SourceFailed};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use std::io::Write;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls `deflate`.
    Deflate,
}

/// A coding that is not undone here; the answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer is compressed in a way that was not asked for")]
pub struct UnsupportedCoding;

impl Coding {
    /// Reads a `content-encoding` header; without one it is the identity.
    ///
    /// # Errors
    /// For any other coding, and for several at once.
    pub fn of(content_encoding: Option<&str>) -> Result<Self, UnsupportedCoding> {
        match content_encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Coding::Identity),
            "gzip" | "x-gzip" => Ok(Coding::Gzip),
            "deflate" => Ok(Coding::Deflate),
            _ => Err(UnsupportedCoding),
        }
    }
}

/// Compressed bytes decoded at once. DEFLATE makes at most 1,032 bytes out of one
/// (<https://zlib.net/zlib_tech.html>), so one step gives at most 264 KiB, and the decoder's own 32 KiB.
const STEP_BYTES: usize = 256;

/// A source whose bytes are decompressed.
pub struct Decoded<S> {
    source: S,
    decoder: Option<Decoder>,
    /// Compressed bytes not yet decoded.
    waiting: Vec<u8>,
    at: usize,
}

enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl<S> Decoded<S> {
    /// Undoes `coding`.
    pub fn new(source: S, coding: Coding) -> Self {
        let decoder = match coding {
            Coding::Identity => None,
            Coding::Gzip => Some(Decoder::Gzip(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Some(Decoder::Deflate(ZlibDecoder::new(Vec::new()))),
        };
        Decoded { source, decoder, waiting: Vec::new(), at: 0 }
    }
}

impl<S: Source> Source for Decoded<S> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        let Some(decoder) = &mut self.decoder else { return self.source.next().await };
        loop {
            while self.at < self.waiting.len() {
                let end = self.at.saturating_add(STEP_BYTES).min(self.waiting.len());
                let step = self.waiting.get(self.at..end).unwrap_or_default();
                self.at = end;
                let decoded = decoder.decode(step)?;
                if !decoded.is_empty() {
                    return Ok(Some(decoded));
                }
            }
            match self.source.next().await? {
                Some(data) => (self.waiting, self.at) = (data, 0),
                None => return decoder.end().map(|()| None),
            }
        }
    }
}

impl Decoder {
    fn decode(&mut self, step: &[u8]) -> Result<Vec<u8>, SourceFailed> {
        let name = self.name();
        let decoded = match self {
            // The flush hands out all that can be had of what came, however the server cut its blocks.
            Decoder::Gzip(decoder) => {
                decoder.write_all(step).and_then(|()| decoder.flush()).map(|()| decoder.get_mut())
            }
            Decoder::Deflate(decoder) => {
                decoder.write_all(step).and_then(|()| decoder.flush()).map(|()| decoder.get_mut())
            }
        };
        decoded.map(std::mem::take).map_err(|_| SourceFailed::Undecodable(name))
    }

    /// The body has ended; whether the compressed stream in it has, with the right checksum.
    fn end(&mut self) -> Result<(), SourceFailed> {
        let name = self.name();
        let ended = match self {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
        };
        ended.map_err(|_| SourceFailed::Undecodable(name))
    }

    fn name(&self) -> &'static str {
        match self {
            Decoder::Gzip(_) => "gzip",
            Decoder::Deflate(_) => "deflate",
        }
    }
}
