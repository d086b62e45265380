//! Old records and events go, a few at a time and by one hand; newer ones stay.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use contracts::UsageRecord;
use futures::executor::block_on;
use usage::{EventList, EventsQuery, RequestList, RequestsQuery, Statement, Sweep, Value};

use crate::database::Database;
use crate::events::alert;

const DAY_MS: u64 = 86_400_000;
/// 2026-11-30T00:00:00Z.
const NOW_MS: u64 = 1_795_996_800_000;

fn record(id: usize, at_ms: u64) -> UsageRecord {
    UsageRecord { record_id: format!("{id:06}"), at_ms, ..UsageRecord::default() }
}

fn sweep(database: &Database, retain_days: u32, now_ms: u64) -> Option<Sweep> {
    block_on(usage::sweep(retain_days, now_ms, async |statement| database.try_run(&statement), async || {}))
        .unwrap()
}

fn records(database: &Database) -> Vec<u64> {
    let rows = database
        .run(&RequestsQuery::parse("from=1970-01-01&limit=1000", usage::Day::LAST).unwrap().statement());
    RequestList::from_rows(rows).unwrap().records.into_iter().map(|record| record.at_ms).collect()
}

fn events(database: &Database) -> Vec<u64> {
    let query = EventsQuery::parse("").unwrap();
    let rows = database.run(&query.statement());
    EventList::from_rows(&query, rows).unwrap().events.into_iter().map(|event| event.at_ms).collect()
}

fn count(database: &Database) -> Value {
    let sql = "SELECT count(*) FROM usage_records".to_owned();
    database.run(&Statement { sql, parameters: vec![] })[0][0].clone()
}

#[test]
fn what_is_older_than_the_days_goes_to_the_millisecond() {
    let database = Database::new();
    let edge_ms = NOW_MS - 30 * DAY_MS;
    let times = [0, edge_ms - 1, edge_ms, NOW_MS, NOW_MS + DAY_MS];
    database.insert(&times.map(|at_ms| record(0, at_ms)));
    let alerts = times.map(|at_ms| alert(&at_ms.to_string(), at_ms));
    database.run(&usage::insert_events_statement(&alerts).unwrap());
    assert_eq!(sweep(&database, 30, NOW_MS), Some(Sweep { deleted: 4, is_backlog: false }));
    let left = [NOW_MS + DAY_MS, NOW_MS, edge_ms];
    assert_eq!((records(&database), events(&database)), (left.into(), left.into()));
}

#[test]
fn an_old_database_is_swept_too() {
    let database = Database::empty();
    database.script(include_str!("schema-1.sql"));
    database.prepare().unwrap();
    assert_eq!(sweep(&database, 400, NOW_MS), Some(Sweep { deleted: 2, is_backlog: false }));
    assert_eq!(records(&database), [0; 0]);
}

#[test]
fn nothing_is_deleted_when_it_is_to_be_kept_for_ever_or_longer_than_there_is_time() {
    let database = Database::new();
    database.insert(&[record(0, 0)]);
    assert_eq!(sweep(&database, 0, NOW_MS), None);
    assert_eq!(sweep(&database, 36_500, NOW_MS), Some(Sweep { deleted: 0, is_backlog: false }));
    assert_eq!(records(&database), [0]);
}

#[test]
fn one_of_many_instances_sweeps_in_an_hour() {
    const HOUR_MS: u64 = 3_600_000;
    let database = Database::new();
    let is_swept = |now_ms| sweep(&database, 30, now_ms).is_some();
    assert!(is_swept(NOW_MS));
    for (after_ms, expected) in
        [(0, false), (1, false), (HOUR_MS - 1, false), (HOUR_MS, true), (HOUR_MS + 1, false)]
    {
        assert_eq!(is_swept(NOW_MS + after_ms), expected, "{after_ms}");
    }
    assert!(is_swept(NOW_MS - DAY_MS), "a claim of a clock that was a day ahead does not hold for a day");
    assert!(!is_swept(NOW_MS - DAY_MS));
}

#[test]
fn a_long_backlog_is_taken_in_small_steps_with_pauses_and_gone_on_with_a_minute_later() {
    let database = Database::new();
    for chunk in (0..100_700).collect::<Vec<_>>().chunks(1_000) {
        database.insert(&chunk.iter().map(|id| record(*id, *id as u64)).collect::<Vec<_>>());
    }
    database.insert(&[record(0, NOW_MS)]);
    let (largest, pauses) = (Rc::new(RefCell::new(0)), Cell::new(0));
    let run = async |statement: Statement| {
        let rows = database.try_run(&statement)?;
        let mut largest = largest.borrow_mut();
        *largest = rows.len().max(*largest);
        Ok::<_, String>(rows)
    };
    let pause = async || pauses.set(pauses.get() + 1);
    let done = block_on(usage::sweep(30, NOW_MS, run, pause)).unwrap();
    assert_eq!(done, Some(Sweep { deleted: 100_000, is_backlog: true }));
    assert_eq!((*largest.borrow(), pauses.get()), (500, 200));
    assert_eq!(count(&database), Value::Integer(701));

    assert_eq!(sweep(&database, 30, NOW_MS + 59_999), None);
    assert_eq!(sweep(&database, 30, NOW_MS + 60_000), Some(Sweep { deleted: 700, is_backlog: false }));
    assert_eq!(sweep(&database, 30, NOW_MS + 120_000), None);
    assert_eq!(records(&database), [NOW_MS]);
}

#[test]
fn finding_what_is_too_old_reads_no_more_than_that() {
    let database = Database::new();
    let seen = RefCell::new(Vec::new());
    let run = async |statement: Statement| {
        seen.borrow_mut().push(statement.clone());
        database.try_run(&statement)
    };
    block_on(usage::sweep(30, NOW_MS, run, async || {})).unwrap();
    let deletes: Vec<_> = seen.into_inner().into_iter().filter(|s| s.sql.starts_with("DELETE")).collect();
    assert_eq!(deletes.len(), 2);
    for statement in deletes {
        let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let plan = format!("{:?}", database.run(&Statement { sql, ..statement }));
        assert!(!plan.contains("SCAN usage_records") && !plan.contains("SCAN events"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        assert!(plan.contains("at_ms<?"), "{plan}");
    }
}
