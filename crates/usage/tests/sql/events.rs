//! Events are kept once and found again, page by page.

use contracts::Event;
use contracts::event::{Action, Alert, Amount, Audit, LimitMode, What};
use usage::{EventList, EventsQuery, Statement, Value};

use crate::database::Database;

/// An alert; everything but its id and moment is the same in each.
pub fn alert(event_id: &str, at_ms: u64) -> Event {
    let what = What::Alert(Alert {
        threshold_permille: 800,
        used: 8_000_000_000,
        size: 10_000_000_000,
        window_start_ms: 1_793_491_200_000,
        window_end_ms: 1_796_083_200_000,
        mode: LimitMode::Observe,
    });
    Event {
        event_id: event_id.to_owned(),
        at_ms,
        request_id: "r-1".to_owned(),
        team: "search".to_owned(),
        limit: "team-budget".to_owned(),
        amount: Amount::CostQuotaUsd,
        counter: "team=search".to_owned(),
        what,
    }
}

fn audit(event_id: &str, at_ms: u64) -> Event {
    let what = What::Audit(Audit {
        action: Action::LimitReset,
        by: "admin".to_owned(),
        address: "10.0.0.7".to_owned(),
        before: u64::MAX,
        after: 0,
    });
    Event { team: String::new(), what, ..alert(event_id, at_ms) }
}

fn insert(database: &Database, events: &[Event]) {
    database.run(&usage::insert_events_statement(events).unwrap());
}

fn page(database: &Database, query: &str) -> EventList {
    let query = EventsQuery::parse(query).unwrap();
    EventList::from_rows(&query, database.run(&query.statement())).unwrap()
}

fn ids(database: &Database, query: &str) -> Vec<String> {
    page(database, query).events.into_iter().map(|event| event.event_id).collect()
}

#[test]
fn events_come_back_as_they_were_written() {
    let database = Database::new();
    insert(&database, &[alert("a", 1_796_083_199_007), audit("b", 5)]);
    assert_eq!(
        page(&database, ""),
        EventList { events: vec![alert("a", 1_796_083_199_007), audit("b", 5)], next: None }
    );
    assert_eq!(usage::insert_events_statement(&[]), None);
}

#[test]
fn an_alert_that_several_replicas_report_is_kept_once_as_it_first_came() {
    let database = Database::new();
    insert(&database, &[alert("a", 1_000)]);
    insert(&database, &[alert("a", 1_001), alert("b", 1_001), alert("b", 1_002)]);
    assert_eq!(page(&database, "").events, [alert("b", 1_001), alert("a", 1_000)]);
}

#[test]
fn filters_apply() {
    let database = Database::new();
    let other = Event { limit: "other".to_owned(), counter: String::new(), ..alert("4", 4) };
    insert(&database, &[alert("1", 1), audit("2", 2), alert("3", 3), other]);
    for (query, expected) in [
        ("", "4 3 2 1"),
        ("kind=alert", "4 3 1"),
        ("kind=audit", "2"),
        ("limit_name=team-budget", "3 2 1"),
        ("team=search", "4 3 1"),
        ("team=", "2"),
        ("counter=team%3Dsearch&kind=alert", "3 1"),
        ("counter=", "4"),
        ("since=1970-01-01T00:00:00.003Z", "4 3"),
        ("since=1970-01-01", "4 3 2 1"),
        ("since=1970-01-02", ""),
        ("kind=alert&before=4:4", "3 1"),
    ] {
        assert_eq!(ids(&database, query).join(" "), expected, "{query}");
    }
}

#[test]
fn the_pages_hold_every_event_once_whatever_their_size() {
    let database = Database::new();
    // Pairs in the same millisecond, so that a page may end between two of them.
    let events: Vec<_> = (0..50).map(|index| alert(&format!("e:{index:02}"), index / 2)).collect();
    insert(&database, &events);
    let expected: Vec<_> = (0..50).rev().map(|index| format!("e:{index:02}")).collect();
    for limit in [1, 3, 49, 50, 51] {
        let (mut found, mut before) = (Vec::new(), String::new());
        loop {
            let answer = page(&database, &format!("limit={limit}{before}"));
            found.extend(answer.events.into_iter().map(|event| event.event_id));
            match answer.next {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
}

#[test]
fn no_page_sorts_the_table() {
    let database = Database::new();
    for (query, plan) in [
        ("", "SCAN events USING INDEX events_by_time"), // backwards, until the limit
        ("before=5:x", "SEARCH events USING INDEX events_by_time ((at_ms,event_id)<(?,?))"),
        ("since=2026-11-30&kind=alert", "SEARCH events USING INDEX events_by_time (at_ms>?)"),
    ] {
        let statement = EventsQuery::parse(query).unwrap().statement();
        let explained =
            database.run(&Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement });
        assert_eq!(explained.len(), 1, "{query}: {explained:?}");
        assert_eq!(explained[0].last(), Some(&Value::Text(plan.to_owned())), "{query}");
    }
}
