//! What may be cached, under which key, and how a cached answer is given back.
//!
//! Pure: it sees no clock, no store and no host. The time is an argument, the store is the port [`Entries`], and what
//! comes out is data for whoever speaks HTTP. The semantic half has its place here too: it would be asked by [`lookup`]
//! between an exact miss and the answer, and told by [`store`] after an entry was written.

pub mod assemble;
pub mod cacheable;
mod entries;
mod entry;
#[cfg(test)]
mod flow_tests;
pub mod json;
mod key;
mod lookup;
pub mod replay;
mod request;
mod store;
mod sweep;

pub use assemble::assemble;
pub use cacheable::NotCacheable;
pub use entries::{Entries, StoreError};
pub use entry::Entry;
pub use key::{CacheKey, IGNORED_FIELDS, Tenant};
pub use lookup::{Found, Hit, Question, lookup};
pub use replay::replay;
pub use request::{Bypass, CacheControl, MAX_REQUEST_BYTES, Request};
pub use store::{AnswerKind, MAX_STREAM_BYTES, Prepared, Terms, prepare, store};
pub use sweep::{Sweepable, Swept, sweep};
