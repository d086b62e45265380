//! The table `events`: its schema, and an event as a row of it, both ways.
//!
//! The event is kept whole, as JSON, beside the columns that it is found by: another kind of event needs no other table.
//! The key is the id alone, so that an alert which several replicas report, each at its own moment, is kept once.

use contracts::Event;

use crate::sql::{Cells, RowError, Statement, Value, wrong};

/// In the order in which they are written.
const COLUMNS: [&str; 7] = ["event_id", "at_ms", "kind", "limit_name", "team", "counter", "event"];

/// Creates what is missing.
pub(crate) const CREATE: [&str; 2] = [
    "\
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT NOT NULL PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    team TEXT NOT NULL,
    counter TEXT NOT NULL,
    event TEXT NOT NULL
) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS events_by_time ON events (at_ms, event_id)",
];

// A batch as the contract allows it is one statement, and so is written whole or not at all.
const _: () = assert!(contracts::limiter::MAX_BATCH * COLUMNS.len() <= crate::sql::MAX_PARAMETERS);

/// Writes events, at most as many as one batch holds; one that is already there is left as it is. `None` for no events.
pub fn insert_events_statement(events: &[Event]) -> Option<Statement> {
    if events.is_empty() {
        return None;
    }
    let row = format!("({}?)", "?,".repeat(COLUMNS.len() - 1));
    Some(Statement {
        sql: format!(
            "INSERT INTO events ({}) VALUES {} ON CONFLICT (event_id) DO NOTHING",
            COLUMNS.join(","),
            vec![row.as_str(); events.len()].join(","),
        ),
        parameters: events.iter().flat_map(values).collect(),
    })
}

fn values(event: &Event) -> [Value; COLUMNS.len()] {
    let text = |text: &str| Value::Text(text.to_owned());
    [
        text(&event.event_id),
        Value::count(event.at_ms),
        text(event.kind()),
        text(&event.limit),
        text(&event.team),
        text(&event.counter),
        // Strings and numbers: serialising cannot fail; an empty text is found out when it is read.
        Value::Text(serde_json::to_string(event).unwrap_or_default()),
    ]
}

/// Reads a row whose only cell is the column `event`.
pub(crate) fn event_from(row: Vec<Value>) -> Result<Event, RowError> {
    let text = Cells::new(row).text("event")?;
    serde_json::from_str(&text).map_err(|_| wrong("event", "an event as JSON", Some(&Value::Text(text))))
}
