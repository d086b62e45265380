//! `GET /admin/requests`: the newest records, one by one.

use contracts::UsageRecord;
use serde::Serialize;

use crate::day::Day;
use crate::filters::{Filters, known};
use crate::parameters::{Parameters, QueryError};
use crate::query::{take_days, within};
use crate::row::{record_from, select_list};
use crate::sql::{RowError, Statement, Value};
use crate::view::RecordView;

/// Most records in one answer.
pub const MAX_LIMIT: u32 = 1_000;

const DEFAULT_LIMIT: u32 = 100;
const KNOWN: [&str; 4] = ["from", "to", "request_id", "limit"];

/// Which records the operator wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsQuery {
    /// First day, inclusive.
    pub from: Day,
    /// Last day, inclusive; not before `from`.
    pub to: Day,
    /// Of this request only: one record, and one for each copy of it; more where a client uses an id again.
    pub request_id: Option<String>,
    /// How many at most: 1 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Which ones.
    pub filters: Filters,
}

impl RequestsQuery {
    /// Reads `query` (without `?`). Defaults: the newest 100 of the last 30 days up to `today`, or up to `to`.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, unknown ones included.
    pub fn parse(query: &str, today: Day) -> Result<Self, QueryError> {
        let mut parameters = Parameters::of(query);
        let (from, to) = take_days(&mut parameters, today);
        let request_id = parameters.take("request_id");
        let limit = take_limit(&mut parameters);
        let filters = Filters::take(&mut parameters);
        parameters.finish(RequestsQuery { from, to, request_id, limit, filters }, &known(&KNOWN))
    }

    /// The statement whose rows [`RequestList::from_rows`] reads: the newest first; within one millisecond, by id.
    pub fn statement(&self) -> Statement {
        let (mut conditions, mut parameters) = within(self.from, self.to);
        if let Some(request_id) = &self.request_id {
            conditions.push("request_id = ?".to_owned());
            parameters.push(Value::Text(request_id.clone()));
        }
        self.filters.apply(&mut conditions, &mut parameters);
        parameters.push(Value::count(u64::from(self.limit)));
        let (columns, conditions) = (select_list(), conditions.join(" AND "));
        Statement {
            sql: format!(
                "SELECT {columns} FROM usage_records WHERE {conditions} \
                 ORDER BY at_ms DESC, record_id DESC LIMIT ?"
            ),
            parameters,
        }
    }
}

/// How many entries an answer may have; default 100.
pub(crate) fn take_limit(parameters: &mut Parameters) -> u32 {
    parameters
        .take_parsed("limit", "a whole number from 1 to 1000", |text| {
            text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
        })
        .unwrap_or(DEFAULT_LIMIT)
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestList {
    /// The newest first.
    pub records: Vec<UsageRecord>,
}

impl RequestList {
    /// Reads the rows that [`RequestsQuery::statement`] returned.
    ///
    /// # Errors
    /// When the rows do not have the statement's shape.
    pub fn from_rows(rows: Vec<Vec<Value>>) -> Result<Self, RowError> {
        Ok(RequestList { records: rows.into_iter().map(record_from).collect::<Result<_, _>>()? })
    }

    /// `{"requests":[{"at":"2026-11-30T…Z",…the record…}]}`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            requests: Vec<RecordView<'a>>,
        }
        let body = Body { requests: self.records.iter().map(RecordView::new).collect() };
        // Strings, numbers and booleans: serialising cannot fail; an empty object would still be valid JSON.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<RequestsQuery, QueryError> {
        RequestsQuery::parse(query, Day::parse("2026-11-30").unwrap())
    }

    #[test]
    fn without_parameters_it_is_the_last_thirty_days() {
        let query = parse("").unwrap();
        assert_eq!(
            (query.from.to_string(), query.to.to_string()),
            ("2026-11-01".into(), "2026-11-30".into())
        );
        assert_eq!((query.request_id, query.limit, query.filters), (None, 100, Filters::default()));
        assert_eq!(parse("request_id=a%2Fb").unwrap().request_id.as_deref(), Some("a/b"));
        let error = parse("from=2026-12-01").unwrap_err();
        assert_eq!(error.to_string(), "from: is 2026-12-01, after the last day, 2026-11-30");
    }

    #[test]
    fn the_limit_is_a_number_from_1_to_1000() {
        for limit in [1, 1000] {
            assert_eq!(parse(&format!("limit={limit}")).unwrap().limit, limit);
        }
        for limit in ["0", "1001", "-1", "", "ten", "1e2", "99999999999999999999"] {
            let error = parse(&format!("limit={limit}")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "limit: is \"{}\"; must be a whole number from 1 to 1000",
                    &limit[..limit.len().min(40)]
                )
            );
        }
    }

    #[test]
    fn parameters_of_the_other_page_are_unknown_here() {
        let error = parse("group_by=team&format=csv").unwrap_err();
        let named: Vec<_> = error.problems.iter().map(|p| p.parameter.as_str()).collect();
        assert_eq!(named, ["group_by", "format"]);
    }
}
