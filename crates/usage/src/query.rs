//! `GET /admin/usage`: the query string, typed, and the statement that answers it.

use crate::day::Day;
use crate::dimension::{Dimension, group_by_form, parse_group_by};
use crate::filters::{Filters, known};
use crate::parameters::{Parameters, QueryError};
use crate::sql::{Statement, Value};

/// Most rows in one answer; the rest is cut off and the answer says so.
pub const MAX_ROWS: usize = 10_000;

/// Days before today where a query without `from` begins: 30 days, today included.
const DEFAULT_DAYS_BACK: u32 = 29;

const KNOWN: [&str; 4] = ["from", "to", "group_by", "format"];

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// RFC 4180 with a header line.
    Csv,
}

impl Format {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }

    /// CSV if `accept` (the header's value) names it before it names JSON or anything goes; weights are not read.
    fn accepted(accept: &str) -> Self {
        accept
            .split(',')
            .map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
            .find_map(|media| match media.as_str() {
                "text/csv" => Some(Format::Csv),
                "application/json" | "application/*" | "*/*" => Some(Format::Json),
                _ => None,
            })
            .unwrap_or(Format::Json)
    }
}

/// What the operator wants summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// First day, inclusive.
    pub from: Day,
    /// Last day, inclusive; not before `from`.
    pub to: Day,
    /// No dimension twice; in the order asked for, which is also the order of the rows. Empty: one row for everything.
    pub group_by: Vec<Dimension>,
    /// Which records count.
    pub filters: Filters,
    /// The form of the answer.
    pub format: Format,
}

impl UsageQuery {
    /// Reads `query` (without `?`); `accept` is the header's value, or empty.
    ///
    /// Defaults: the last 30 days up to `today`, or up to `to`; grouped by team, app, model and day.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, unknown ones included.
    pub fn parse(query: &str, accept: &str, today: Day) -> Result<Self, QueryError> {
        let mut parameters = Parameters::of(query);
        let (from, to) = take_days(&mut parameters, today);
        let group_by = parameters
            .take_parsed("group_by", &group_by_form(), parse_group_by)
            .unwrap_or_else(|| vec![Dimension::Team, Dimension::App, Dimension::Model, Dimension::Day]);
        let format = parameters
            .take_parsed("format", "json or csv", Format::parse)
            .unwrap_or_else(|| Format::accepted(accept));
        let filters = Filters::take(&mut parameters);
        parameters.finish(UsageQuery { from, to, group_by, filters, format }, &known(&KNOWN))
    }

    /// The statement whose rows [`crate::UsageReport::from_rows`] reads: at most [`MAX_ROWS`] and one more.
    pub fn statement(&self) -> Statement {
        let mut columns: Vec<String> = self.group_by.iter().map(|d| d.column().to_owned()).collect();
        columns.push("count(*)".to_owned());
        for column in [
            "prompt_tokens",
            "completion_tokens",
            "cached_tokens",
            "reasoning_tokens",
            "retried_prompt_tokens",
            "retried_completion_tokens",
            "cost_nano_usd",
        ] {
            // Halves of 32 bits, put together by the reader: SQLite's sum() fails above 2^63, and one absurd figure
            // from a provider must not take every report with it that it appears in.
            columns.push(format!("coalesce(sum({column} >> 32), 0)"));
            columns.push(format!("coalesce(sum({column} & 4294967295), 0)"));
        }
        for condition in [
            "cache = 'exact'",
            "outcome IN ('upstream_error', 'upstream_failed')",
            "outcome = 'refused'",
            "mirror",
            "estimated",
            "uncounted",
            "cost_nano_usd IS NULL",
        ] {
            columns.push(format!("coalesce(sum({condition}), 0)"));
        }

        let (mut conditions, mut parameters) = within(self.from, self.to);
        self.filters.apply(&mut conditions, &mut parameters);
        parameters.push(Value::count(MAX_ROWS as u64 + 1));

        // By position: a name could mean a column of the table as well.
        let keys = (1..=self.group_by.len()).map(|key| key.to_string()).collect::<Vec<_>>().join(", ");
        let grouping =
            if keys.is_empty() { String::new() } else { format!(" GROUP BY {keys} ORDER BY {keys}") };
        let tags = if self.group_by.contains(&Dimension::Tag) {
            " LEFT JOIN json_each(usage_records.tags) AS one_tag"
        } else {
            ""
        };
        let (columns, conditions) = (columns.join(", "), conditions.join(" AND "));
        Statement {
            sql: format!("SELECT {columns} FROM usage_records{tags} WHERE {conditions}{grouping} LIMIT ?"),
            parameters,
        }
    }
}

/// The conditions that a record arrived on one of these days, and their parameters: what bounds how much of the table is read.
pub(crate) fn within(from: Day, to: Day) -> (Vec<String>, Vec<Value>) {
    let conditions = vec!["at_ms >= ?".to_owned(), "at_ms < ?".to_owned()];
    (conditions, vec![Value::Integer(from.start_ms()), Value::Integer(to.end_ms())])
}

/// The first and the last day that a page is about; by default 30 days up to `today`, or up to `to`.
pub(crate) fn take_days(parameters: &mut Parameters, today: Day) -> (Day, Day) {
    let day_form = "a day as in 2026-11-30";
    let from = parameters.take_parsed("from", day_form, Day::parse);
    let to = parameters.take_parsed("to", day_form, Day::parse).unwrap_or(today);
    let from = from.unwrap_or_else(|| to.minus_days(DEFAULT_DAYS_BACK));
    if from > to {
        parameters.refuse("from", format!("is {from}, after the last day, {to}"));
    }
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::Field;

    fn parse(query: &str) -> Result<UsageQuery, QueryError> {
        UsageQuery::parse(query, "", Day::parse("2026-11-30").unwrap())
    }

    #[test]
    fn without_parameters_it_is_the_last_thirty_days() {
        let query = parse("").unwrap();
        assert_eq!(
            (query.from.to_string(), query.to.to_string()),
            ("2026-11-01".into(), "2026-11-30".into())
        );
        assert_eq!(query.group_by, [Dimension::Team, Dimension::App, Dimension::Model, Dimension::Day]);
        assert_eq!((query.filters, query.format), (Filters::default(), Format::Json));
        assert_eq!(parse("to=2026-03-30").unwrap().from.to_string(), "2026-03-01");
        assert_eq!(parse("from=2026-11-30").unwrap().to.to_string(), "2026-11-30");
    }

    #[test]
    fn parameters_are_decoded() {
        let query = parse(
            "group_by=outcome%2C+day&team=R%26D&model=gpt-4o+mini&consumer=&from=2026-11-02&to=2026-11-02",
        )
        .unwrap();
        assert_eq!(query.group_by, [Dimension::Outcome, Dimension::Day]);
        assert_eq!(
            query.filters,
            Filters {
                given: vec![
                    (Field::Team, "R&D".to_owned()),
                    (Field::Model, "gpt-4o mini".to_owned()),
                    (Field::Consumer, String::new()),
                ]
            }
        );
        assert_eq!(parse("group_by=").unwrap().group_by, []);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let error = parse("from=2026-11-31&to=yesterday&group_by=team,team&format=xml&team=a&team=b&tean=c")
            .unwrap_err();
        let named: Vec<_> = error.problems.iter().map(|p| p.parameter.as_str()).collect();
        assert_eq!(named, ["from", "to", "group_by", "format", "team", "tean"], "{error}");
        for (query, message) in [
            ("from=2026-12-01", "from: is 2026-12-01, after the last day, 2026-11-30"),
            ("from=x", "from: is \"x\"; must be a day as in 2026-11-30"),
            (
                "group_by=tenant",
                "group_by: is \"tenant\"; must be empty, or a comma-separated list of team, app, consumer, model, \
                 deployment, day, outcome, pool, route, user, cache, tag, each at most once",
            ),
            ("team=a&team=a", "team: is given more than once"),
            (
                "x=1",
                "x: is unknown; known are from, to, group_by, format, team, app, model, consumer, user, pool, route, cache, mirror, tag, observed",
            ),
        ] {
            assert_eq!(parse(query).unwrap_err().to_string(), message, "{query}");
        }
    }

    #[test]
    fn the_accept_header_chooses_the_format_unless_the_query_does() {
        let today = Day::parse("2026-11-30").unwrap();
        for (query, accept, expected) in [
            ("", "", Format::Json),
            ("", "*/*", Format::Json),
            ("", "text/csv", Format::Csv),
            ("", "Text/CSV; charset=utf-8", Format::Csv),
            ("", "text/html, text/csv;q=0.9, */*;q=0.1", Format::Csv),
            ("", "application/json, text/csv", Format::Json),
            ("", "image/png", Format::Json),
            ("format=json", "text/csv", Format::Json),
            ("format=csv", "application/json", Format::Csv),
        ] {
            assert_eq!(UsageQuery::parse(query, accept, today).unwrap().format, expected, "{query} {accept}");
        }
    }

    #[test]
    fn a_filter_of_few_values_takes_no_other() {
        let error = parse("cache=hit&mirror=").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cache: is \"hit\"; must be bypass or miss or exact; mirror: is \"\"; must be true or false"
        );
        for value in ["exact", "miss", "bypass"] {
            let given = vec![(Field::Cache, value.to_owned())];
            assert_eq!(parse(&format!("cache={value}")).unwrap().filters, Filters { given });
        }
    }

    #[test]
    fn a_value_from_the_request_never_becomes_sql() {
        for field in Field::ALL.into_iter().filter(|field| !matches!(field, Field::Cache | Field::Mirror)) {
            let query = parse(&format!("{}=%27%3B+DROP+TABLE+usage_records%3B--", field.as_str())).unwrap();
            let statement = query.statement();
            assert!(!statement.sql.contains("DROP"));
            assert!(statement.parameters.contains(&Value::Text("'; DROP TABLE usage_records;--".to_owned())));
            assert_eq!(statement.sql.matches('?').count(), statement.parameters.len());
        }
    }
}
