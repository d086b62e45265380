//! How many tokens a chat request will take, before it is sent.
//!
//! Decides the size of a prompt and what the client allows the completion to be; it does not decide what may be
//! spent ([`quota`](../quota/index.html) does). The body is read in place; only texts with escapes are copied, one at a time.

mod count;
mod estimate;
mod image;
mod image_size;
mod json;
mod model;
mod prompt;
mod tools;
mod view;

pub use count::{Count, count_prompt, estimate_prompt};
pub use estimate::estimate_tokens;
pub use view::{ChatRequestView, InvalidRequest};
