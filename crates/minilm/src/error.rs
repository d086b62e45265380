//! Why a model did not load or a text got no embedding. A cause that lies in a file names its path.

use std::io;
use std::path::PathBuf;

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
        /// What candle objects to.
        source: candle_core::Error,
    },
    /// The text could not be cut into tokens.
    #[error("cannot tokenize the text")]
    Tokenize(#[source] tokenizers::Error),
    /// The model could not be run.
    #[error("cannot run the embedding model")]
    Forward(#[source] candle_core::Error),
}
