#![doc = include_str!("../README.md")]

mod alarm;
mod attempt;
mod decode;
mod failure;
mod heard;
mod meter;
mod open;
mod options;
mod patience;
mod ports;
mod pulse;
mod relay;
mod splice;
mod spoken;

pub use decode::{Coding, Decoded, UnsupportedCoding};
pub use failure::{Failure, Late};
pub use heard::Heard;
pub use open::{Opened, Unopened, open};
pub use options::{Beat, Hold, Limits, MidStream, Options};
pub use patience::{attended, until_heard, within_patience};
pub use ports::{ClientGone, Clock, Joint, NoResume, Resume, Resumed, Sink, Sleep, Source, SourceFailed};
pub use relay::{End, Report, Spent, relay};
pub use spoken::Spoken;

#[cfg(test)]
mod tests;
