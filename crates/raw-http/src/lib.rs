//! HTTP messages as the host gives and takes them: raw `wasi:http`, without the SDK's request and response types.
//!
//! Every crossing between a component and its host costs CPU: each header that is copied, each read of a stream, each
//! future that is written. The SDK's types copy all headers both ways (the host adds seven of its own to each request)
//! and read every body to its trailers. Here headers are asked for by name, and a body of declared length is whole when
//! that many bytes have come. It decides nothing about what a message means.
//!
//! Invariant: a body that was cut short is an error, never a shorter body, in both directions. Without a declared
//! length only the trailers tell, so then they are read.
//!
//! The one crate beside the components that names `spin_sdk`: it is the same few host calls in all of them.

mod body;
mod call;
mod whole;

pub use body::{End, Frames, IncomingBody, declared_length};
pub use call::{Call, CallHeaders};
pub use whole::{fields, respond, whole_body};

pub use spin_sdk::wasip3::http::types::{ErrorCode, Fields, Request, Response};
