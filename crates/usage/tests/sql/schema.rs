//! Databases of any age come to have this build's tables, and keep what they hold.

use std::cell::RefCell;

use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use futures::executor::block_on;
use usage::{
    RequestList, RequestsQuery, SCHEMA_VERSION, SchemaError, Statement, UsageQuery, UsageReport, Value,
};

use crate::database::Database;

const VERSION_1: &str = include_str!("schema-1.sql");
const VERSION_2: &str = include_str!("schema-2.sql");
const VERSION_3: &str = include_str!("schema-3.sql");

fn old_records() -> [UsageRecord; 2] {
    let first = UsageRecord {
        record_id: "old-1".to_owned(),
        request_id: "r-1".to_owned(),
        at_ms: 1_000,
        consumer: "ci".to_owned(),
        team: "search".to_owned(),
        app: "indexer".to_owned(),
        model: "gpt-4o".to_owned(),
        deployment: "openai/gpt-4o".to_owned(),
        attempts: 1,
        status: 200,
        cache: CacheOutcome::Miss,
        prompt_tokens: 11,
        completion_tokens: 12,
        cached_tokens: 5,
        reasoning_tokens: 6,
        cost_nano_usd: Some(77),
        latency_ms: 900,
        ttft_ms: Some(80),
        ..UsageRecord::default()
    };
    let second = UsageRecord {
        record_id: "old-2".to_owned(),
        request_id: "r-2".to_owned(),
        at_ms: 2_000,
        consumer: "ci".to_owned(),
        model: "gpt-4o".to_owned(),
        stream: true,
        status: 429,
        outcome: Outcome::Refused,
        error_code: "rate_limit_exceeded".to_owned(),
        cost_nano_usd: Some(0),
        latency_ms: 3,
        ..UsageRecord::default()
    };
    [second, first]
}

fn newest(database: &Database) -> Vec<UsageRecord> {
    let query = RequestsQuery::parse("from=1970-01-01", usage::Day::LAST).unwrap();
    RequestList::from_rows(database.run(&query.statement())).unwrap().records
}

fn version(database: &Database) -> Vec<Vec<Value>> {
    database.run(&Statement { sql: "SELECT version FROM usage_schema".to_owned(), parameters: vec![] })
}

#[test]
fn a_database_of_version_1_is_brought_up_to_date_and_keeps_its_records() {
    let path = std::env::temp_dir().join(format!("usage-schema-1-{}.db", std::process::id()));
    let _absent = std::fs::remove_file(&path);
    Database::open(&path).script(VERSION_1);

    let database = Database::open(&path);
    database.prepare().unwrap();
    assert_eq!(newest(&database), old_records());
    let new = UsageRecord {
        record_id: "new".to_owned(),
        at_ms: 3_000,
        tags: vec!["beta".to_owned()],
        observed: vec!["per-team".to_owned()],
        ..UsageRecord::default()
    };
    database.insert(std::slice::from_ref(&new));
    // What a build of version 1 still writes meanwhile.
    let as_before = VERSION_1.split_once("INSERT INTO usage_records").unwrap().1.replace("old-", "late-");
    let columns = "record_id,request_id,at_ms,consumer,team,app,model,deployment,attempts,stream,status,outcome,error_code,\
                   cache,prompt_tokens,completion_tokens,cached_tokens,reasoning_tokens,estimated,cost_nano_usd,latency_ms,\
                   ttft_ms,day";
    database.script(&format!("INSERT INTO usage_records ({columns}) {as_before}"));
    drop(database);

    let database = Database::open(&path);
    database.prepare().unwrap();
    let ids: Vec<_> = newest(&database).into_iter().map(|record| record.record_id).collect();
    assert_eq!(ids, ["new", "old-2", "late-2", "old-1", "late-1"]);
    assert_eq!(newest(&database)[0], new);
    let query =
        UsageQuery::parse("from=1970-01-01&to=1970-01-01&group_by=tag", "", usage::Day::LAST).unwrap();
    let report = UsageReport::from_rows(&query, database.run(&query.statement())).unwrap();
    let counts: Vec<_> =
        report.rows.iter().map(|row| (&*row.keys[0], row.requests, row.prompt_tokens)).collect();
    assert_eq!(counts, [("", 4, 22), ("beta", 1, 0)]);
    assert_eq!(version(&database), [[Value::Integer(SCHEMA_VERSION)]]);
    drop(database);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_database_of_version_2_is_brought_up_to_date_and_keeps_its_records() {
    let path = std::env::temp_dir().join(format!("usage-schema-2-{}.db", std::process::id()));
    let _absent = std::fs::remove_file(&path);
    Database::open(&path).script(&format!("{VERSION_1}{VERSION_2}"));

    let database = Database::open(&path);
    database.prepare().unwrap();
    let new =
        UsageRecord { record_id: "new".to_owned(), at_ms: 3_000, uncounted: true, ..UsageRecord::default() };
    database.insert(std::slice::from_ref(&new));
    let of_version_2 = UsageRecord {
        record_id: "old-3".to_owned(),
        at_ms: 2_500,
        pool: "gpt-4o".to_owned(),
        retried_usage: vec![RetriedUsage {
            deployment: "eu/gpt-4o".to_owned(),
            prompt_tokens: 3,
            completion_tokens: 4,
            ..RetriedUsage::default()
        }],
        ..old_records()[1].clone()
    };
    let [second, first] = old_records();
    let of_version_2 = UsageRecord { request_id: "r-3".to_owned(), ..of_version_2 };
    assert_eq!(newest(&database), [new, of_version_2, second, first]);
    assert_eq!(version(&database), [[Value::Integer(SCHEMA_VERSION)]]);
    drop(database);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_database_of_version_3_is_brought_up_to_date_and_keeps_its_records() {
    let database = Database::empty();
    database.script(&format!("{VERSION_1}{VERSION_2}{VERSION_3}"));
    let before = version(&database);
    database.prepare().unwrap();
    assert_eq!((before, version(&database)), (vec![vec![Value::Integer(3)]], vec![vec![Value::Integer(4)]]));
    let copy =
        UsageRecord { record_id: "new".to_owned(), at_ms: 3_000, mirror: true, ..UsageRecord::default() };
    database.insert(std::slice::from_ref(&copy));
    let records = newest(&database);
    let kept: Vec<_> =
        records.iter().map(|record| (&*record.record_id, record.uncounted, record.mirror)).collect();
    assert_eq!(
        kept,
        [
            ("new", false, true),
            ("old-4", true, false),
            ("old-3", false, false),
            ("old-2", false, false),
            ("old-1", false, false)
        ]
    );
}

#[test]
fn a_database_that_is_up_to_date_is_asked_once() {
    let database = Database::new();
    let asked = RefCell::new(Vec::new());
    let run = async |statement: Statement| {
        asked.borrow_mut().push(statement.sql.clone());
        database.try_run(&statement)
    };
    block_on(usage::prepare(run)).unwrap();
    assert_eq!(asked.into_inner(), ["SELECT version FROM usage_schema"]);
}

/// Two instances of a new build meet an old database: the second does each step just before the first.
#[test]
fn two_instances_may_bring_it_up_to_date_at_once() {
    let version_2 = format!("{VERSION_1}{VERSION_2}");
    for script in ["", VERSION_1, &version_2, &format!("{version_2}{VERSION_3}")] {
        let database = Database::empty();
        database.script(script);
        let (mut steps, mut overtaken) = (0, 0);
        // One run of the test for each step at which the other instance overtakes.
        while overtaken <= steps {
            let database = Database::empty();
            database.script(script);
            let step = RefCell::new(0);
            let run = async |statement: Statement| {
                if *step.borrow() == overtaken {
                    usage::prepare(async |statement| database.try_run(&statement)).await.unwrap();
                }
                *step.borrow_mut() += 1;
                database.try_run(&statement)
            };
            block_on(usage::prepare(run)).unwrap();
            assert_eq!(version(&database), [[Value::Integer(SCHEMA_VERSION)]]);
            steps = step.into_inner();
            overtaken += 1;
        }
        assert!(steps > 5);
    }
}

#[test]
fn a_database_of_a_later_build_is_left_alone() {
    let database = Database::empty();
    database.script(&VERSION_1.replace("VALUES (1, 1)", "VALUES (1, 5)"));
    assert_eq!(database.prepare(), Err(SchemaError::UnknownVersion(Some(Value::Integer(5)))));
    assert_eq!(version(&database), [[Value::Integer(5)]]);
}
