//! A record as a row of the table `usage_records`, both ways.
//!
//! One row per request. A row is never changed. Its key is `(at_ms, record_id)`: the router's own id of the record, never the
//! request id, which a client may choose and repeat. The key begins with the time, and the table is stored in key order (`WITHOUT ROWID`): writing appends, and
//! reading a range of days or the newest records is one sequential scan.

use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::day::Day;
use crate::sql::{Cells, MAX_PARAMETERS, RowError, Statement, Value, wrong};

/// The columns of a record, in the order in which they are written and read. `day` comes on top: it follows from `at_ms`.
const COLUMNS: [&str; 32] = [
    "record_id",
    "request_id",
    "at_ms",
    "consumer",
    "team",
    "app",
    "model",
    "deployment",
    "attempts",
    "stream",
    "status",
    "outcome",
    "error_code",
    "cache",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "estimated",
    "cost_nano_usd",
    "latency_ms",
    "ttft_ms",
    "tags",
    "user",
    "pool",
    "route",
    "observed",
    "retried_usage",
    "retried_prompt_tokens",
    "retried_completion_tokens",
    "uncounted",
    "mirror",
];

const MAX_ROWS_PER_INSERT: usize = MAX_PARAMETERS / (COLUMNS.len() + 1);

// A batch as the contract allows it is one statement, and so is written whole or not at all.
const _: () = assert!(contracts::limiter::MAX_BATCH <= MAX_ROWS_PER_INSERT);

/// Writes records; one that is already there is left as it is.
///
/// One statement for up to 992 records, so for any batch that [`crate::parse_batch`] accepts; none for no records.
pub fn insert_statements(records: &[UsageRecord]) -> Vec<Statement> {
    let row = format!("({}?)", "?,".repeat(COLUMNS.len()));
    records
        .chunks(MAX_ROWS_PER_INSERT)
        .map(|chunk| Statement {
            sql: format!(
                "INSERT INTO usage_records ({},day) VALUES {} ON CONFLICT (at_ms, record_id) DO NOTHING",
                COLUMNS.join(","),
                vec![row.as_str(); chunk.len()].join(","),
            ),
            parameters: chunk.iter().flat_map(values).collect(),
        })
        .collect()
}

/// The column list of a `SELECT` whose rows [`record_from`] reads.
pub(crate) fn select_list() -> String {
    COLUMNS.join(",")
}

fn values(record: &UsageRecord) -> [Value; COLUMNS.len() + 1] {
    let text = |text: &str| Value::Text(text.to_owned());
    // Strings and numbers: serialising cannot fail; an empty text is found out when it is read.
    fn list<T: Serialize>(list: &[T]) -> Value {
        Value::Text(serde_json::to_string(list).unwrap_or_default())
    }
    let retried = |tokens: fn(&RetriedUsage) -> u64| {
        Value::count(record.retried_usage.iter().map(tokens).fold(0, u64::saturating_add))
    };
    // An instant without a day cannot pass `parse_batch`.
    let day = Day::of_ms(record.at_ms).map(|day| day.to_string()).unwrap_or_default();
    [
        text(&record.record_id),
        text(&record.request_id),
        Value::count(record.at_ms),
        text(&record.consumer),
        text(&record.team),
        text(&record.app),
        text(&record.model),
        text(&record.deployment),
        Value::count(u64::from(record.attempts)),
        Value::flag(record.stream),
        Value::count(u64::from(record.status)),
        text(record.outcome.as_str()),
        text(&record.error_code),
        text(record.cache.as_str()),
        Value::count(record.prompt_tokens),
        Value::count(record.completion_tokens),
        Value::count(record.cached_tokens),
        Value::count(record.reasoning_tokens),
        Value::flag(record.estimated),
        record.cost_nano_usd.map_or(Value::Null, Value::count),
        Value::count(record.latency_ms),
        record.ttft_ms.map_or(Value::Null, Value::count),
        list(&record.tags),
        text(&record.user),
        text(&record.pool),
        text(&record.route),
        list(&record.observed),
        list(&record.retried_usage),
        retried(|attempt| attempt.prompt_tokens),
        retried(|attempt| attempt.completion_tokens),
        Value::flag(record.uncounted),
        Value::flag(record.mirror),
        Value::Text(day),
    ]
}

/// Reads a row of [`select_list`].
pub(crate) fn record_from(row: Vec<Value>) -> Result<UsageRecord, RowError> {
    let mut cells = Cells::new(row);
    let mut record = UsageRecord {
        record_id: cells.text("record_id")?,
        request_id: cells.text("request_id")?,
        at_ms: cells.number("at_ms")?,
        consumer: cells.text("consumer")?,
        team: cells.text("team")?,
        app: cells.text("app")?,
        model: cells.text("model")?,
        deployment: cells.text("deployment")?,
        attempts: cells.number("attempts")?,
        stream: cells.number::<u8>("stream")? != 0,
        status: cells.number("status")?,
        outcome: outcome(&cells.text("outcome")?)?,
        error_code: cells.text("error_code")?,
        cache: cache(&cells.text("cache")?)?,
        prompt_tokens: cells.number("prompt_tokens")?,
        completion_tokens: cells.number("completion_tokens")?,
        cached_tokens: cells.number("cached_tokens")?,
        reasoning_tokens: cells.number("reasoning_tokens")?,
        estimated: cells.number::<u8>("estimated")? != 0,
        cost_nano_usd: cells.optional_number("cost_nano_usd")?,
        latency_ms: cells.number("latency_ms")?,
        ttft_ms: cells.optional_number("ttft_ms")?,
        tags: list(&mut cells, "tags")?,
        user: cells.text("user")?,
        pool: cells.text("pool")?,
        route: cells.text("route")?,
        observed: list(&mut cells, "observed")?,
        retried_usage: list(&mut cells, "retried_usage")?,
        uncounted: false,
        mirror: false,
    };
    // The sums of a list that was just read.
    cells.number::<u64>("retried_prompt_tokens")?;
    cells.number::<u64>("retried_completion_tokens")?;
    record.uncounted = cells.number::<u8>("uncounted")? != 0;
    record.mirror = cells.number::<u8>("mirror")? != 0;
    Ok(record)
}

fn list<T: DeserializeOwned>(cells: &mut Cells, column: &'static str) -> Result<Vec<T>, RowError> {
    let text = cells.text(column)?;
    serde_json::from_str(&text).map_err(|_| wrong(column, "a list as JSON", Some(&Value::Text(text))))
}

fn outcome(text: &str) -> Result<Outcome, RowError> {
    use Outcome::{ClientGone, Completed, Refused, UpstreamError, UpstreamFailed};
    [Completed, Refused, UpstreamError, UpstreamFailed, ClientGone]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| wrong("outcome", "the name of an outcome", Some(&Value::Text(text.to_owned()))))
}

fn cache(text: &str) -> Result<CacheOutcome, RowError> {
    CacheOutcome::ALL
        .into_iter()
        .find(|cache| cache.as_str() == text)
        .ok_or_else(|| wrong("cache", "the name of a cache outcome", Some(&Value::Text(text.to_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_never_holds_more_parameters_than_sqlite_takes() {
        let records = vec![UsageRecord::default(); 2 * MAX_ROWS_PER_INSERT + 1];
        let sizes: Vec<_> = insert_statements(&records)
            .iter()
            .map(|statement| {
                assert_eq!(statement.sql.matches('?').count(), statement.parameters.len());
                statement.parameters.len()
            })
            .collect();
        assert_eq!(sizes, [MAX_ROWS_PER_INSERT * 33, MAX_ROWS_PER_INSERT * 33, 33]);
        assert!(sizes.iter().all(|size| *size <= MAX_PARAMETERS));
        assert_eq!(insert_statements(&[]), []);
    }

    #[test]
    fn a_row_of_another_shape_is_an_error_that_names_the_column() {
        let good: Vec<Value> = values(&UsageRecord::default()).into();
        assert!(record_from(good.clone()).is_ok());
        for (index, column) in COLUMNS.iter().enumerate() {
            let mut row = good.clone();
            row[index] = match row[index] {
                Value::Text(_) => Value::Integer(-1),
                Value::Integer(_) | Value::Null => Value::Integer(-1),
            };
            let error = record_from(row).unwrap_err().to_string();
            assert!(error.contains(column), "{column}: {error}");
        }
        let error = record_from(vec![]).unwrap_err().to_string();
        assert_eq!(error, "the database returned no cell for record_id, where text was expected");
    }

    #[test]
    fn every_outcome_is_read_back() {
        for name in ["completed", "refused", "upstream_error", "upstream_failed", "client_gone"] {
            assert_eq!(outcome(name).unwrap().as_str(), name);
        }
        for name in ["bypass", "miss", "exact"] {
            assert_eq!(cache(name).unwrap().as_str(), name);
        }
        assert!(outcome("Completed").is_err() && cache("semantic").is_err());
    }
}
