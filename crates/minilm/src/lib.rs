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

mod error;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, HiddenAct};
use tokenizers::{Tokenizer, TruncationParams};

pub use error::Error;

/// Length of every embedding: the model's hidden size.
pub const DIMENSIONS: usize = 384;

/// Tokens of a text that count, the two markers around it included; what follows them is ignored.
///
/// It is the limit written in the published `tokenizer.json`, set again here so that the file cannot change it.
pub const MAX_TOKENS: usize = 128;

/// The model and its tokenizer, loaded: some 100 MB, to be shared between threads.
pub struct Embedder {
    tokenizer: Tokenizer,
    model: BertModel,
}

impl Embedder {
    /// Loads `tokenizer.json` and `model.safetensors` from `dir`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Tokenizer`] or [`Error::Weights`], each naming the file.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        Self::load_with(dir, HiddenAct::GeluApproximate)
    }

    fn load_with(dir: &Path, activation: HiddenAct) -> Result<Self, Error> {
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
    /// [`Error::Tokenize`] or [`Error::Forward`]; neither is known to happen with the published weights.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, Error> {
        let ids = self.token_ids(text)?;
        self.mean_of_tokens(&ids).map(normalised).map_err(Error::Forward)
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

    /// The model's output averaged over all tokens: there is no padding, hence nothing to mask.
    fn mean_of_tokens(&self, ids: &[u32]) -> candle_core::Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let output = self.model.forward(&ids, &ids.zeros_like()?, None)?;
        output.mean(1)?.squeeze(0)?.to_vec1()
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

fn load_model(path: &Path, activation: HiddenAct) -> Result<BertModel, Error> {
    let bytes = read(path)?;
    VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)
        .and_then(|weights| BertModel::load(weights, &config(activation)))
        .map_err(|source| Error::Weights { path: path.into(), source })
}

/// <https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/blob/main/config.json>; the fields left to
/// the default have the same value there.
fn config(activation: HiddenAct) -> Config {
    Config {
        hidden_size: DIMENSIONS,
        num_hidden_layers: 6,
        intermediate_size: 1536,
        hidden_act: activation,
        ..Config::default()
    }
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
