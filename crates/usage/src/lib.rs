//! What a request cost, how its record is kept, and how the records are summed.
//!
//! Everything here is pure: SQL is built, never run; the time of day is an argument; a request's query string comes
//! in and a typed query, or the list of everything wrong with it, comes out. Whoever holds a database runs the
//! [`Statement`]s and hands the rows back; where several depend on each other's rows, that is a function it hands in. The crate's own tests run them on SQLite.
//!
//! ```text
//! POST /records        parse_batch ─▶ price_records ─▶ json_line, insert_statements
//! GET  /admin/usage    UsageQuery::parse ─▶ statement ─▶ UsageReport::from_rows ─▶ to_json, to_csv
//! GET  /admin/requests RequestsQuery::parse ─▶ statement ─▶ RequestList::from_rows ─▶ to_json
//! POST /events         parse_events ─▶ event_line, insert_events_statement
//! GET  /admin/events   EventsQuery::parse ─▶ statement ─▶ EventList::from_rows ─▶ to_json
//! now and then         prepare (the tables), sweep (what is too old)
//! ```

mod batch;
mod cost;
mod day;
mod dimension;
mod event_row;
mod events;
mod filters;
mod parameters;
mod query;
mod report;
mod requests;
mod retention;
mod row;
mod schema;
mod sql;
mod view;

pub use batch::{BatchError, ItemProblem, MAX_TEXT_BYTES, parse_batch, parse_events};
pub use cost::{cost_nano_usd, price_records};
pub use day::Day;
pub use dimension::Dimension;
pub use event_row::insert_events_statement;
pub use events::{Cursor, EventList, EventsQuery};
pub use filters::{Field, Filters};
pub use parameters::{QueryError, QueryProblem};
pub use query::{Format, MAX_ROWS, UsageQuery};
pub use report::{UsageReport, UsageRow};
pub use requests::{MAX_LIMIT, RequestList, RequestsQuery};
pub use retention::{INTERVAL_MS, Sweep, sweep};
pub use row::insert_statements;
pub use schema::{SCHEMA_VERSION, SchemaError, prepare};
pub use sql::{RowError, Statement, Value};
pub use view::{event_line, json_line, record_line};
