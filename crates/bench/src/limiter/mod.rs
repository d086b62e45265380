//! The token limiter alone: what a reservation and its settlement take, by store, number of matching limits and number
//! of distinct consumers. The component is asked as the router asks it, over HTTP, in an app of its own.

mod cell;
mod client;
mod load;
mod memory;
mod report;
mod rig;

pub use cell::{CONSUMERS, Cell, LIMITS, LimiterStore};
pub use load::{Figures, measure};
pub use memory::{Held, PROMPTS, held};
pub use report::text;
pub use rig::Rig;
