//! Reports equal a naive model, whatever the records and the question.

use std::collections::BTreeMap;

use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use usage::{Day, Dimension, Field, Filters, Format, UsageQuery, UsageReport, UsageRow};

use crate::database::Database;

/// 2026-11-29T00:00:00Z.
const FIRST_DAY_MS: u64 = 1_795_910_400_000;
const DAY_MS: u64 = 86_400_000;

fn name() -> impl Strategy<Value = String> {
    select(vec!["", "a", "B", "b'; --", "é", "a%"]).prop_map(str::to_owned)
}

/// Mostly ordinary counts, sometimes the largest that the database holds, and one that it does not.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..10_000u64,
        1 => select(vec![0, u64::from(u32::MAX), 1 << 32, i64::MAX as u64, u64::MAX]),
    ]
}

fn at_ms() -> impl Strategy<Value = u64> {
    // Three days, with both ends of each.
    (0..3u64, prop_oneof![Just(0), Just(DAY_MS - 1), 0..DAY_MS])
        .prop_map(|(day, ms)| FIRST_DAY_MS + day * DAY_MS + ms)
}

prop_compose! {
    fn record()(
        at_ms in at_ms(),
        names in prop::array::uniform8(name()),
        tags in subsequence(vec!["a", "B", "é"], 0..=3),
        observed in subsequence(vec!["a", "b'; --"], 0..=2),
        retried in prop::collection::vec((count(), count()), 0..3),
        outcome in select(vec![Outcome::Completed, Outcome::Refused, Outcome::UpstreamError,
            Outcome::UpstreamFailed, Outcome::ClientGone]),
        cache in select(vec![CacheOutcome::Bypass, CacheOutcome::Miss, CacheOutcome::Exact]),
        counts in prop::array::uniform4(count()),
        [estimated, uncounted, mirror] in prop::array::uniform3(any::<bool>()),
        cost_nano_usd in prop::option::of(count()),
    ) -> UsageRecord {
        let [consumer, team, app, model, deployment, user, pool, route] = names;
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let (tags, observed) = (owned(tags), owned(observed));
        let retried_usage = retried.into_iter().map(|(prompt_tokens, completion_tokens)|
            RetriedUsage { prompt_tokens, completion_tokens, ..RetriedUsage::default() }).collect();
        let [prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens] = counts;
        UsageRecord { at_ms, consumer, team, app, model, deployment, outcome, cache, prompt_tokens, completion_tokens,
            cached_tokens, reasoning_tokens, estimated, uncounted, mirror, cost_nano_usd, user, pool, route, tags, observed, retried_usage,
            ..UsageRecord::default() }
    }
}

/// Distinct ids, so that each record counts; what happens to equal ones is a test of its own.
fn records() -> impl Strategy<Value = Vec<UsageRecord>> {
    prop::collection::vec(record(), 0..60).prop_map(|mut records| {
        for (index, record) in records.iter_mut().enumerate() {
            record.record_id = format!("r-{index}");
        }
        records
    })
}

fn day() -> impl Strategy<Value = Day> {
    select(vec!["2026-11-28", "2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02"])
        .prop_map(|text| Day::parse(text).unwrap())
}

prop_compose! {
    fn query()(
        days in (day(), day()),
        group_by in subsequence(Dimension::ALL.to_vec(), 0..=12).prop_shuffle(),
        filtered in prop::array::uniform11(prop::option::weighted(0.1, name())),
    ) -> UsageQuery {
        let (from, to) = (days.0.min(days.1), days.0.max(days.1));
        // Where few values mean anything, one of those by how long the name is.
        let of = |field, name: String| match field {
            Field::Cache => CacheOutcome::ALL[name.len() % 3].as_str().to_owned(),
            Field::Mirror => name.is_empty().to_string(),
            _ => name,
        };
        let given = Field::ALL.into_iter().zip(filtered).filter_map(|(field, value)| Some((field, of(field, value?)))).collect();
        UsageQuery { from, to, group_by, filters: Filters { given }, format: Format::Json }
    }
}

/// What the database holds of a count: SQLite's integers end at 2^63 - 1.
fn held(count: u64) -> u128 {
    u128::from(count.min(i64::MAX as u64))
}

/// The values of a record in one dimension: one, or as many as it has tags.
fn keys(record: &UsageRecord, dimension: Dimension) -> Vec<String> {
    let one = match dimension {
        Dimension::Team => &record.team,
        Dimension::App => &record.app,
        Dimension::Consumer => &record.consumer,
        Dimension::Model => &record.model,
        Dimension::Deployment => &record.deployment,
        Dimension::Pool => &record.pool,
        Dimension::Route => &record.route,
        Dimension::User => &record.user,
        Dimension::Cache => record.cache.as_str(),
        Dimension::Day => &Day::of_ms(record.at_ms).unwrap().to_string(),
        Dimension::Outcome => record.outcome.as_str(),
        Dimension::Tag if record.tags.is_empty() => "",
        Dimension::Tag => return record.tags.clone(),
    };
    vec![one.to_owned()]
}

/// The record's places in the report: every combination of its values.
fn places(record: &UsageRecord, group_by: &[Dimension]) -> Vec<Vec<String>> {
    group_by.iter().fold(vec![vec![]], |places, dimension| {
        let keys = keys(record, *dimension);
        places
            .iter()
            .flat_map(|place| keys.iter().map(|key| [&place[..], std::slice::from_ref(key)].concat()))
            .collect()
    })
}

fn matches(query: &UsageQuery, record: &UsageRecord) -> bool {
    let day = Day::of_ms(record.at_ms).unwrap();
    let has = |list: &[String], value: &String| {
        if value.is_empty() { list.is_empty() } else { list.contains(value) }
    };
    let is_met = |(field, value): &(Field, String)| match field {
        Field::Team => record.team == *value,
        Field::App => record.app == *value,
        Field::Model => record.model == *value,
        Field::Consumer => record.consumer == *value,
        Field::User => record.user == *value,
        Field::Pool => record.pool == *value,
        Field::Route => record.route == *value,
        Field::Cache => record.cache.as_str() == value,
        Field::Mirror => record.mirror.to_string() == *value,
        Field::Tag => has(&record.tags, value),
        Field::Observed => has(&record.observed, value),
    };
    query.from <= day && day <= query.to && query.filters.given.iter().all(is_met)
}

/// The same report, by a sorted map and additions.
fn model(query: &UsageQuery, records: &[UsageRecord]) -> Vec<UsageRow> {
    let mut groups: BTreeMap<Vec<String>, Vec<&UsageRecord>> = BTreeMap::new();
    if query.group_by.is_empty() {
        groups.insert(vec![], vec![]);
    }
    for record in records.iter().filter(|record| matches(query, record)) {
        for place in places(record, &query.group_by) {
            groups.entry(place).or_default().push(record);
        }
    }
    groups.into_iter().map(|(keys, group)| row(keys, &group)).collect()
}

fn row(keys: Vec<String>, group: &[&UsageRecord]) -> UsageRow {
    let sum = |count: fn(&UsageRecord) -> u64| {
        let sum: u128 = group.iter().map(|record| held(count(record))).sum();
        u64::try_from(sum).unwrap_or(u64::MAX)
    };
    let count = |is: fn(&UsageRecord) -> bool| group.iter().filter(|record| is(record)).count() as u64;
    UsageRow {
        keys,
        requests: group.len() as u64,
        prompt_tokens: sum(|r| r.prompt_tokens),
        completion_tokens: sum(|r| r.completion_tokens),
        cached_tokens: sum(|r| r.cached_tokens),
        reasoning_tokens: sum(|r| r.reasoning_tokens),
        retried_prompt_tokens: sum(|r| {
            r.retried_usage.iter().map(|attempt| attempt.prompt_tokens).fold(0, u64::saturating_add)
        }),
        retried_completion_tokens: sum(|r| {
            r.retried_usage.iter().map(|attempt| attempt.completion_tokens).fold(0, u64::saturating_add)
        }),
        cost_nano_usd: sum(|r| r.cost_nano_usd.unwrap_or(0)),
        cache_hits: count(|r| r.cache == CacheOutcome::Exact),
        errors: count(|r| matches!(r.outcome, Outcome::UpstreamError | Outcome::UpstreamFailed)),
        refused: count(|r| r.outcome == Outcome::Refused),
        mirrored: count(|r| r.mirror),
        estimated: count(|r| r.estimated),
        uncounted: count(|r| r.uncounted),
        unpriced: count(|r| r.cost_nano_usd.is_none()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_report_equals_the_naive_one(records in records(), query in query()) {
        let database = Database::new();
        database.insert(&records);
        let rows = database.run(&query.statement());
        let report = UsageReport::from_rows(&query, rows).unwrap();
        prop_assert_eq!(report.rows, model(&query, &records));
        prop_assert!(!report.truncated);
    }
}
