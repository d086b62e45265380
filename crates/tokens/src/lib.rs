//! How many tokens a chat request will take, before it is sent.
//!
//! Decides the size of a prompt and what the client allows the completion to be; it does not decide what may be
//! spent ([`quota`](../quota/index.html) does). The body is read in place: nothing is re-serialised, no text is
//! copied, and memory does not grow with the number of messages.

mod count;
mod estimate;
mod view;

pub use count::{Count, count_prompt};
pub use view::{ChatRequestView, InvalidRequest};
