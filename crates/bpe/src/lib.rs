//! How many tokens a text is in OpenAI's encodings, to the token, from the first call on.
//!
//! The vocabularies (from the package `tiktoken-rs`) lie in the program as data that needs no building: tiktoken's own
//! tables take 200 ms to build and 31 MB of every instance's memory, which is why this crate and not `tiktoken-rs` counts.
//! It knows nothing of chats; `tokens` does.
//!
//! What holds: [`Encoding::count`] is the length of tiktoken's `encode_ordinary`, for every text without a piece
//! of more than [`MAX_PIECE_BYTES`]: a run that long of letters alone, of symbols or of white space. Such a run is cut into
//! pieces of that size, and each cut may add a few tokens (measured: at most 2 a cut). Nothing is looked up by a key
//! that takes longer for some texts than for others: the time for a text grows with its length, times the logarithm of
//! [`MAX_PIECE_BYTES`] at worst.

mod class;
mod counter;
mod layout;
mod merge;
mod split;
mod vocabulary;

pub use counter::{Counter, Encoding, MAX_PIECE_BYTES};
