//! Sentence embeddings with all-MiniLM-L6-v2 on the CPU, as Spin's local LLM engine computes them.
//!
//! Decides how a text becomes a vector: WordPiece tokens, BERT, mean over the tokens, length 1. It does not
//! decide where the weights live, how many texts run at a time or on which thread: `embed` occupies its caller
//! for tens of milliseconds.
//!
//! Invariant: same weights and same text, same vector as `spin_sdk::llm::generate_embeddings` gives for that
//! text alone, up to rounding. Hence three choices that are Spin's and not the model card's, all from
//! <https://github.com/spinframework/spin/tree/main/crates/llm-local/src>: the tanh approximation of GELU
//! (`bert.rs`), truncation at 128 tokens and not 256 (Spin keeps what `tokenizer.json` says), and no padding
//! (`lib.rs` pads a batch to its longest text, which for one text is none).

mod bert;
mod error;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use ndarray::Axis;
use tokenizers::{Tokenizer, TruncationParams};

use bert::{Activation, Bert, VOCABULARY, gelu_tanh};
pub use error::{Error, WeightsError};

/// Length of every embedding: the model's hidden size.
pub const DIMENSIONS: usize = 384;

/// Tokens of a text that count, the two markers around it included; what follows them is ignored.
///
/// It is the limit written in the published `tokenizer.json`, set again here so that the file cannot change it.
pub const MAX_TOKENS: usize = 128;

/// The model and its tokenizer, loaded: some 100 MB, to be shared between threads.
pub struct Embedder {
    tokenizer: Tokenizer,
    model: Bert,
}

impl Embedder {
    /// Loads `tokenizer.json` and `model.safetensors` from `dir`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Tokenizer`] or [`Error::Weights`], each naming the file.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        Self::load_with(dir, gelu_tanh)
    }

    fn load_with(dir: &Path, activation: Activation) -> Result<Self, Error> {
        Ok(Self {
            tokenizer: load_tokenizer(&dir.join("tokenizer.json"))?,
            model: load_model(&dir.join("model.safetensors"), activation)?,
        })
    }

    /// The embedding of `text`: [`DIMENSIONS`] floats whose Euclidean norm is 1.
    ///
    /// Any text has one, the empty text too. The cosine of two texts is the dot product of their embeddings.
    ///
    /// # Errors
    /// [`Error::Tokenize`] or [`Error::UnknownToken`]; neither is known to happen with the published files.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, Error> {
        let known =
            |id| if (id as usize) < VOCABULARY { Ok(id as usize) } else { Err(Error::UnknownToken(id)) };
        let ids = self.token_ids(text)?.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        // There is no padding, hence nothing to mask in the mean.
        let mean = self.model.forward(&ids).sum_axis(Axis(0)) / ids.len() as f32;
        Ok(normalised(mean.to_vec()))
    }

    /// How many tokens of `text` the model reads, both markers included: 2 to [`MAX_TOKENS`].
    ///
    /// # Errors
    /// [`Error::Tokenize`].
    pub fn token_count(&self, text: &str) -> Result<usize, Error> {
        self.token_ids(text).map(|ids| ids.len())
    }

    fn token_ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(Error::Tokenize)?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn load_tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    let invalid = |source| Error::Tokenizer { path: path.into(), source };
    let mut tokenizer = Tokenizer::from_bytes(read(path)?).map_err(invalid)?;
    // The published file pads every text to 128 tokens, which costs a full run and changes the mean.
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(invalid)?;
    Ok(tokenizer)
}

fn load_model(path: &Path, activation: Activation) -> Result<Bert, Error> {
    Bert::load(&read(path)?, activation).map_err(|source| Error::Weights { path: path.into(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    for x in &mut vector {
        *x /= norm;
    }
    vector
}
