//! The door: what a request may bring in, and what it may carry further.
//!
//! Decides which credential a request presents, whether it is an operator's, what its id is, where it really comes from,
//! and which headers pass in each direction. Who the credential belongs to is the configuration's business.
//!
//! Invariant: no header of ours, of the platform's, or of the connection that a client sent ever passes the door.

mod admin_token;
mod client;
mod credential;
mod headers;
mod request_id;

pub use admin_token::{NoOperator, check_admin_token};
pub use client::{client_ip, is_loopback_client};
pub use credential::{Credential, key_digest, presented_key};
pub use headers::{for_client, for_upstream};
pub use request_id::choose as choose_request_id;
