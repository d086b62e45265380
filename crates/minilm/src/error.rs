//! Why a model did not load or a text got no embedding. A cause that lies in a file names its path.

use std::io;
use std::path::PathBuf;

use safetensors::SafeTensorError;
use safetensors::tensor::Dtype;

/// Everything that can go wrong here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model file is missing or unreadable.
    #[error("cannot read the model file {}", path.display())]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// The operating system's reason; `NotFound` where the file is missing.
        source: io::Error,
    },
    /// The tokenizer file was read but is not a tokenizer.
    #[error("{} is not a valid tokenizer", path.display())]
    Tokenizer {
        /// The file read.
        path: PathBuf,
        /// What the tokenizer library objects to.
        source: tokenizers::Error,
    },
    /// The weights file was read but does not hold this model.
    #[error("{} does not hold the weights of all-MiniLM-L6-v2", path.display())]
    Weights {
        /// The file read.
        path: PathBuf,
        /// What is wrong in it.
        source: WeightsError,
    },
    /// The text could not be cut into tokens.
    #[error("cannot tokenize the text")]
    Tokenize(#[source] tokenizers::Error),
    /// The tokenizer is another model's: it gave a token that this one does not have.
    #[error("the tokenizer gave token {0}, which the model does not have")]
    UnknownToken(u32),
}

/// Why a weights file does not hold this model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// It is not in the safetensors format, or lacks a tensor.
    #[error(transparent)]
    File(#[from] SafeTensorError),
    /// A tensor is not of this model's type or size.
    #[error("{name} is {dtype} of shape {shape:?}, not F32 of shape {wanted:?}")]
    Tensor {
        /// Its name in the file.
        name: String,
        /// Its type there.
        dtype: Dtype,
        /// Its shape there.
        shape: Vec<usize>,
        /// Its shape in all-MiniLM-L6-v2.
        wanted: Vec<usize>,
    },
    /// A tensor holds fewer numbers than its shape says; the format rules it out.
    #[error(transparent)]
    Layout(#[from] ndarray::ShapeError),
}
