//! The public wire of the OpenAI API, as far as a gateway must understand it.
//!
//! Requests and answers are handed on byte for byte wherever possible; what is parsed here is only what a decision
//! needs. Nothing is re-serialised, so a field that we do not know survives unchanged.

pub mod answer;
pub mod characters;
pub mod error;
pub mod prefill;
pub mod raw_object;
pub mod reported;
pub mod request;
pub mod sse;
pub mod usage;

pub use answer::{Answer, Lane, Said};
pub use characters::Characters;
pub use error::ApiError;
pub use prefill::Prefill;
pub use raw_object::RawObject;
pub use reported::ReportedError;
pub use request::ChatRequest;
pub use usage::Usage;
