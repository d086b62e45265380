//! Gzipped bodies (RFC 1952): whole, or event by event so that nothing waits in the encoder.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::script::{Script, Step};

/// All of `bytes`, gzipped.
pub fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// A script whose bytes go out gzipped, flushed with every step. An early end leaves the gzip stream unfinished.
pub struct Gzipped {
    script: Script,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Gzipped {
    /// Gzips what `script` sends.
    pub fn new(script: Script) -> Self {
        Self { script, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl Iterator for Gzipped {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        match self.script.next() {
            Some(Step::Send { bytes, is_content }) => {
                let encoder = self.encoder.as_mut()?;
                let _ = encoder.write_all(&bytes);
                let _ = encoder.flush();
                Some(Step::Send { bytes: Bytes::from(std::mem::take(encoder.get_mut())), is_content })
            }
            None => self.encoder.take().and_then(|encoder| encoder.finish().ok()).map(Step::send),
            step => step,
        }
    }
}
