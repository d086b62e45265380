//! `GET /admin/requests`: the newest records, one by one.

use contracts::UsageRecord;
use serde::Serialize;

use crate::filters::{Filters, known};
use crate::parameters::{Parameters, QueryError};

use crate::row::{record_from, select_list};
use crate::sql::{RowError, Statement, Value};
use crate::view::RecordView;

/// Most records in one answer.
pub const MAX_LIMIT: u32 = 1_000;

const DEFAULT_LIMIT: u32 = 100;
const KNOWN: [&str; 1] = ["limit"];

/// Which records the operator wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsQuery {
    /// How many at most: 1 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Which ones.
    pub filters: Filters,
}

impl RequestsQuery {
    /// Reads `query` (without `?`). Default: 100 records.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, unknown ones included.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let mut parameters = Parameters::of(query);
        let limit = take_limit(&mut parameters);
        let filters = Filters::take(&mut parameters);
        parameters.finish(RequestsQuery { limit, filters }, &known(&KNOWN))
    }

    /// The statement whose rows [`RequestList::from_rows`] reads: the newest first; within one millisecond, by id.
    pub fn statement(&self) -> Statement {
        let mut conditions: Vec<String> = Vec::new();
        let mut parameters = Vec::new();
        self.filters.apply(&mut conditions, &mut parameters);
        parameters.push(Value::count(u64::from(self.limit)));
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let columns = select_list();
        Statement {
            sql: format!(
                "SELECT {columns} FROM usage_records{filter} \
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

    #[test]
    fn the_limit_is_a_number_from_1_to_1000() {
        assert_eq!(RequestsQuery::parse("").unwrap().limit, 100);
        for limit in [1, 1000] {
            assert_eq!(RequestsQuery::parse(&format!("limit={limit}")).unwrap().limit, limit);
        }
        for limit in ["0", "1001", "-1", "", "ten", "1e2", "99999999999999999999"] {
            let error = RequestsQuery::parse(&format!("limit={limit}")).unwrap_err();
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
        let error = RequestsQuery::parse("from=2026-11-01&format=csv").unwrap_err();
        let named: Vec<_> = error.problems.iter().map(|p| p.parameter.as_str()).collect();
        assert_eq!(named, ["from", "format"]);
    }
}
