//! `GET /admin/events`: alerts and audits, the newest first, page by page.

use contracts::Event;
use serde::Serialize;

use crate::day::{Day, parse_instant};
use crate::event_row::event_from;
use crate::parameters::{Parameters, QueryError};
use crate::requests::take_limit;
use crate::sql::{RowError, Statement, Value};
use crate::view::EventView;

const KINDS: [&str; 2] = ["alert", "audit"];
const KNOWN: [&str; 7] = ["kind", "limit_name", "counter", "team", "since", "before", "limit"];

/// Which events the operator wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsQuery {
    /// Of this kind only.
    pub kind: Option<&'static str>,
    /// Of this limit only.
    pub limit_name: Option<String>,
    /// Of this counter only.
    pub counter: Option<String>,
    /// Of this team only; empty: those without one.
    pub team: Option<String>,
    /// Not older than this: milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The page after the one that ended with this event.
    pub before: Option<Cursor>,
    /// How many at most: 1 to [`crate::MAX_LIMIT`].
    pub limit: u32,
}

/// An event's place in the order, written `<at_ms>:<event_id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    at_ms: u64,
    event_id: String,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (at_ms, event_id) = text.split_once(':')?;
        let digits = !at_ms.is_empty() && at_ms.bytes().all(|byte| byte.is_ascii_digit());
        let at_ms = at_ms.parse().ok().filter(|_| digits && !event_id.is_empty())?;
        Some(Cursor { at_ms, event_id: event_id.to_owned() })
    }

    fn of(event: &Event) -> String {
        format!("{}:{}", event.at_ms, event.event_id)
    }
}

impl EventsQuery {
    /// Reads `query` (without `?`). Default: the newest 100 of all.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, unknown ones included.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parameters = Parameters::of(query);
        let kind = parameters
            .take_parsed("kind", &KINDS.join(" or "), |text| KINDS.into_iter().find(|kind| *kind == text));
        let since_ms = parameters.take_parsed(
            "since",
            "a day or an instant, as in 2026-11-30 or 2026-11-30T12:00:00Z",
            since,
        );
        let before = parameters.take_parsed("before", "the `next` of another answer", Cursor::parse);
        let limit = take_limit(&mut parameters);
        let [limit_name, counter, team] = ["limit_name", "counter", "team"].map(|name| parameters.take(name));
        parameters.finish(EventsQuery { kind, limit_name, counter, team, since_ms, before, limit }, &KNOWN)
    }

    /// The statement whose rows [`EventList::from_rows`] reads: the newest first; within one millisecond, by id. One row
    /// more than asked for, if there is one.
    pub fn statement(&self) -> Statement {
        let mut conditions: Vec<String> = Vec::new();
        let mut parameters = Vec::new();
        let texts = [
            ("kind", self.kind),
            ("limit_name", self.limit_name.as_deref()),
            ("counter", self.counter.as_deref()),
            ("team", self.team.as_deref()),
        ];
        for (column, text) in texts {
            if let Some(text) = text {
                conditions.push(format!("{column} = ?"));
                parameters.push(Value::Text(text.to_owned()));
            }
        }
        if let Some(since_ms) = self.since_ms {
            conditions.push("at_ms >= ?".to_owned());
            parameters.push(Value::Integer(since_ms));
        }
        if let Some(Cursor { at_ms, event_id }) = &self.before {
            conditions.push("(at_ms, event_id) < (?, ?)".to_owned());
            parameters.extend([Value::count(*at_ms), Value::Text(event_id.clone())]);
        }
        parameters.push(Value::count(u64::from(self.limit) + 1));
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        Statement {
            sql: format!("SELECT event FROM events{filter} ORDER BY at_ms DESC, event_id DESC LIMIT ?"),
            parameters,
        }
    }
}

/// A day means its first millisecond.
fn since(text: &str) -> Option<i64> {
    match Day::parse(text) {
        Some(day) => Some(day.start_ms()),
        None => parse_instant(text),
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventList {
    /// The newest first.
    pub events: Vec<Event>,
    /// Where the next page begins, when there are more than these.
    pub next: Option<String>,
}

impl EventList {
    /// Reads the rows that `query`'s statement returned.
    ///
    /// # Errors
    /// When the rows do not have the statement's shape.
    pub fn from_rows(query: &EventsQuery, rows: Vec<Vec<Value>>) -> Result<Self, RowError> {
        let most = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let is_cut = rows.len() > most;
        let events: Vec<Event> = rows.into_iter().take(most).map(event_from).collect::<Result<_, _>>()?;
        let next = events.last().filter(|_| is_cut).map(Cursor::of);
        Ok(EventList { events, next })
    }

    /// `{"events":[{"at":"2026-11-30T…Z",…the event…}],"truncated":true,"next":"…"}`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            events: Vec<EventView<'a>>,
            truncated: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<&'a str>,
        }
        let body = Body {
            events: self.events.iter().map(EventView::new).collect(),
            truncated: self.next.is_some(),
            next: self.next.as_deref(),
        };
        // Strings, numbers and booleans: serialising cannot fail; an empty object would still be valid JSON.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let query = EventsQuery::parse(
            "kind=alert&limit_name=per-team&team=&since=2026-11-30&before=17:a%3Ab&limit=5",
        )
        .unwrap();
        let expected = EventsQuery {
            kind: Some("alert"),
            limit_name: Some("per-team".to_owned()),
            counter: None,
            team: Some(String::new()),
            since_ms: Some(1_795_996_800_000),
            before: Some(Cursor { at_ms: 17, event_id: "a:b".to_owned() }),
            limit: 5,
        };
        assert_eq!(query, expected);
        assert_eq!(EventsQuery::parse("").unwrap().limit, 100);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let error = EventsQuery::parse("kind=alarm&since=noon&before=x&limit=0&from=1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "kind: is \"alarm\"; must be alert or audit; since: is \"noon\"; must be a day or an instant, as in 2026-11-30 \
             or 2026-11-30T12:00:00Z; before: is \"x\"; must be the `next` of another answer; limit: is \"0\"; must be a \
             whole number from 1 to 1000; from: is unknown; known are kind, limit_name, counter, team, since, before, limit"
        );
        for before in ["", ":", "1:", ":a", "+1:a", "-1:a", "99999999999999999999:a"] {
            assert!(Cursor::parse(before).is_none(), "{before:?}");
        }
    }
}
