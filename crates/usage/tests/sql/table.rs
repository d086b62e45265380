//! What the table keeps, refuses to keep twice, and how it is read.

use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use usage::{Day, RequestList, RequestsQuery, Statement, UsageQuery, UsageReport, Value};

use crate::database::Database;

fn record(record_id: &str, at_ms: u64) -> UsageRecord {
    UsageRecord {
        record_id: record_id.to_owned(),
        request_id: "chosen-by-the-client".to_owned(),
        at_ms,
        consumer: "ci".to_owned(),
        team: "search".to_owned(),
        app: "indexer".to_owned(),
        model: "gpt-4o".to_owned(),
        deployment: "openai/gpt-4o".to_owned(),
        attempts: 2,
        stream: true,
        status: 200,
        outcome: Outcome::UpstreamFailed,
        error_code: "upstream_failed".to_owned(),
        cache: CacheOutcome::Miss,
        prompt_tokens: 11,
        completion_tokens: 12,
        cached_tokens: 5,
        reasoning_tokens: 6,
        estimated: true,
        cost_nano_usd: Some(77),
        latency_ms: 900,
        ttft_ms: Some(80),
        tags: vec!["beta".to_owned(), "it's \"odd\" — é".to_owned()],
        user: "user-7".to_owned(),
        pool: "gpt-4o".to_owned(),
        route: "rule eu-only -> gpt-4o".to_owned(),
        observed: vec!["per-team".to_owned()],
        uncounted: true,
        mirror: true,
        retried_usage: vec![RetriedUsage {
            pool: "gpt-4o".to_owned(),
            deployment: "azure/gpt-4o".to_owned(),
            prompt_tokens: 11,
            cached_tokens: 9,
            completion_tokens: 3,
            reasoning_tokens: 2,
        }],
    }
}

fn newest(database: &Database, query: &str) -> Vec<UsageRecord> {
    let query = RequestsQuery::parse(&format!("from=1970-01-01&{query}"), Day::LAST).unwrap();
    RequestList::from_rows(database.run(&query.statement())).unwrap().records
}

fn ids(records: &[UsageRecord]) -> Vec<&str> {
    records.iter().map(|record| record.record_id.as_str()).collect()
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let database = Database::new();
    let full = record("full", 1_796_083_199_007);
    let bare = UsageRecord { record_id: "bare".to_owned(), ..UsageRecord::default() };
    database.insert(&[full.clone(), bare.clone()]);
    assert_eq!(newest(&database, ""), [full, bare]);
}

#[test]
fn a_record_that_arrives_twice_is_kept_once_as_it_first_came() {
    let database = Database::new();
    let first = record("a", 1_000);
    let again = UsageRecord { prompt_tokens: 99, ..first.clone() };
    database.insert(&[first.clone(), again.clone()]);
    database.insert(&[again, record("b", 1_000)]);
    assert_eq!(newest(&database, ""), [record("b", 1_000), first]);
}

#[test]
fn a_request_id_used_again_hides_no_request() {
    let database = Database::new();
    database.insert(&[record("a", 1_000), record("b", 1_000), record("c", 1_000)]);
    assert_eq!(
        ids(&newest(&database, "")),
        ["c", "b", "a"],
        "one request id, one millisecond, three requests"
    );
}

#[test]
fn the_newest_records_come_first_and_filters_apply() {
    let database = Database::new();
    let of_team = |id, at_ms, team: &str| UsageRecord { team: team.to_owned(), ..record(id, at_ms) };
    database.insert(&[of_team("1", 1, "x"), of_team("4", 4, "y"), of_team("3", 3, "x"), of_team("2", 2, "")]);
    assert_eq!(ids(&newest(&database, "")), ["4", "3", "2", "1"]);
    assert_eq!(ids(&newest(&database, "limit=2")), ["4", "3"]);
    assert_eq!(ids(&newest(&database, "team=x")), ["3", "1"]);
    assert_eq!(ids(&newest(&database, "team=")), ["2"]);
    assert_eq!(ids(&newest(&database, "model=other")), [""; 0]);
    let bare = UsageRecord { record_id: "5".to_owned(), at_ms: 5, ..UsageRecord::default() };
    database.insert(&[bare]);
    for (query, found) in [
        ("user=user-7&limit=1", "4"),
        ("pool=gpt-4o&limit=1", "4"),
        ("route=rule+eu-only+-%3E+gpt-4o&limit=1", "4"),
        ("tag=beta&limit=1", "4"),
        ("observed=per-team&limit=1", "4"),
        ("tag=it%27s+%22odd%22+%E2%80%94+%C3%A9&limit=1", "4"),
        ("cache=miss&limit=1", "4"),
        ("cache=bypass", "5"),
        ("mirror=true&limit=1", "4"),
        ("mirror=false", "5"),
        ("request_id=chosen-by-the-client&limit=1", "4"),
        ("request_id=chosen", ""),
        ("tag=bet", ""),
        ("observed=beta", ""),
    ] {
        assert_eq!(ids(&newest(&database, query)).join(""), found, "{query}");
    }
    for list in ["user", "pool", "route", "tag", "observed"] {
        assert_eq!(ids(&newest(&database, &format!("{list}="))), ["5"], "{list}");
    }
    assert_eq!(ids(&newest(&database, "team=x&consumer=ci&app=indexer&model=gpt-4o&limit=1")), ["3"]);
}

#[test]
fn only_the_days_asked_for_are_listed() {
    let database = Database::new();
    let day_ms = 86_400_000;
    database.insert(&[
        record("1", day_ms - 1),
        record("2", day_ms),
        record("3", 2 * day_ms - 1),
        record("4", 2 * day_ms),
    ]);
    let query = RequestsQuery::parse("from=1970-01-02&to=1970-01-02", Day::LAST).unwrap();
    let listed = RequestList::from_rows(database.run(&query.statement())).unwrap().records;
    assert_eq!(ids(&listed), ["3", "2"]);
}

#[test]
fn a_full_batch_is_written_by_one_statement() {
    let database = Database::new();
    let records: Vec<_> = (0..256).map(|index| record(&index.to_string(), index)).collect();
    let statements = usage::insert_statements(&records);
    assert_eq!(statements.len(), 1);
    database.run(&statements[0]);
    assert_eq!(newest(&database, "limit=1000").len(), 256);
}

#[test]
fn more_groups_than_an_answer_may_have_are_cut_off() {
    let database = Database::new();
    let records: Vec<_> = (0..10_002)
        .map(|index| UsageRecord { model: format!("m-{index:05}"), ..record(&index.to_string(), 0) })
        .collect();
    database.insert(&records);
    let query = UsageQuery::parse("group_by=model&from=1970-01-01", "", Day::LAST).unwrap();
    let report = UsageReport::from_rows(&query, database.run(&query.statement())).unwrap();
    assert!(report.truncated);
    assert_eq!(report.rows.len(), 10_000);
    assert_eq!(report.rows[9_999].keys, ["m-09999"]);
}

/// A table that only grows must not be read from end to end for a day or for the last hundred records.
#[test]
fn no_page_scans_the_whole_table_or_sorts_it() {
    let database = Database::new();
    let usage = |query| UsageQuery::parse(query, "", Day::LAST).unwrap().statement();
    let requests = |query| RequestsQuery::parse(query, Day::LAST).unwrap().statement();
    let (by_time, by_team) = (
        "SEARCH usage_records USING PRIMARY KEY (at_ms>? AND at_ms<?)",
        "SEARCH usage_records USING INDEX usage_records_by_team (team=? AND at_ms>? AND at_ms<?)",
    );
    for (statement, plan) in [
        (usage(""), by_time),
        (usage("team=x"), by_team),
        (usage("model=x&cache=miss"), by_time),
        (requests(""), by_time), // backwards, until the limit
        (requests("model=x&mirror=false"), by_time),
        (requests("request_id=x"), by_time),
        (requests("team=x"), by_team),
    ] {
        let explained = database
            .run(&Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement.clone() });
        let steps: Vec<_> = explained
            .into_iter()
            .filter_map(|row| match row.into_iter().next_back() {
                Some(Value::Text(step)) => Some(step),
                _ => None,
            })
            .collect();
        assert_eq!(steps.first().map(String::as_str), Some(plan), "{}: {steps:?}", statement.sql);
        assert!(
            !steps.iter().any(|step| step.contains("FOR ORDER BY") && statement.sql.contains("DESC")),
            "{steps:?}"
        );
    }
}
