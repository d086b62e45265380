//! The statements, run on SQLite and compared with what plain Rust makes of the same records.

#![cfg(test)]

mod database;
mod events;
mod retention;
mod schema;
mod sums;
mod table;
