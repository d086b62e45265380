//! The answer to `GET /admin/usage`: sums by group, as JSON or CSV.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::cost::usd;
use crate::query::{MAX_ROWS, UsageQuery};
use crate::sql::{Cells, RowError, Value};

/// Sums of one group of requests. A sum that does not fit is `u64::MAX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The group: one value per dimension of the query, in its order.
    pub keys: Vec<String>,
    /// Requests, whatever became of them.
    pub requests: u64,
    /// Tokens in prompts, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens generated, reasoning included.
    pub completion_tokens: u64,
    /// Part of the prompt tokens that providers read from their own caches.
    pub cached_tokens: u64,
    /// Part of the completion tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// Cost of the requests whose cost is known, in nano-dollars.
    pub cost_nano_usd: u64,
    /// Requests answered from the cache.
    pub cache_hits: u64,
    /// Requests that the provider answered with an error or not at all.
    pub errors: u64,
    /// Requests that we refused.
    pub refused: u64,
    /// Requests whose tokens we counted because the provider did not.
    pub estimated: u64,
    /// Requests whose cost is not known, because their model has no price.
    pub unpriced: u64,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport<'a> {
    /// What was asked.
    pub query: &'a UsageQuery,
    /// In ascending order of their keys, compared byte by byte; at most [`MAX_ROWS`].
    pub rows: Vec<UsageRow>,
    /// Whether there are more rows than these.
    pub truncated: bool,
}

impl<'a> UsageReport<'a> {
    /// Reads the rows that [`UsageQuery::statement`] returned.
    ///
    /// # Errors
    /// When the rows do not have the statement's shape.
    pub fn from_rows(query: &'a UsageQuery, rows: Vec<Vec<Value>>) -> Result<Self, RowError> {
        let truncated = rows.len() > MAX_ROWS;
        let rows = rows.into_iter().take(MAX_ROWS).map(|row| UsageRow::from_cells(query, row));
        Ok(UsageReport { query, rows: rows.collect::<Result<_, _>>()?, truncated })
    }

    /// One JSON object: the query as understood, `truncated`, and `rows`.
    pub fn to_json(&self) -> String {
        // Strings, numbers and booleans: serialising cannot fail; an empty object would still be valid JSON.
        serde_json::to_string(&Json(self)).unwrap_or_else(|_| "{}".to_owned())
    }

    /// RFC 4180: a header line, then one line per row; CRLF after each.
    ///
    /// A key that a spreadsheet would take for a formula is preceded by an apostrophe
    /// (<https://owasp.org/www-community/attacks/CSV_Injection>): model names come from clients.
    pub fn to_csv(&self) -> String {
        let dimensions = self.query.group_by.iter().map(|dimension| dimension.as_str());
        let header: Vec<&str> = dimensions.chain(MEASURES).collect();
        let mut csv = header.join(",") + "\r\n";
        for row in &self.rows {
            let keys = row.keys.iter().map(|key| csv_field(key));
            let fields: Vec<String> = keys.chain(row.measures().map(|measure| measure.to_text())).collect();
            csv.push_str(&fields.join(","));
            csv.push_str("\r\n");
        }
        csv
    }
}

/// Names of the sums, in the order of [`UsageRow::measures`].
const MEASURES: [&str; 12] = [
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "cost_usd",
    "cache_hits",
    "errors",
    "refused",
    "estimated",
    "unpriced",
];

/// One sum, as it is shown.
#[derive(Serialize)]
#[serde(untagged)]
enum Measure {
    Whole(u64),
    /// A decimal string, exact where a floating-point number would not be.
    Usd(String),
}

impl Measure {
    fn to_text(&self) -> String {
        match self {
            Measure::Whole(number) => number.to_string(),
            Measure::Usd(text) => text.clone(),
        }
    }
}

impl UsageRow {
    fn from_cells(query: &UsageQuery, row: Vec<Value>) -> Result<Self, RowError> {
        let mut cells = Cells::new(row);
        let keys = query.group_by.iter().map(|dimension| cells.text(dimension.as_str()));
        Ok(UsageRow {
            keys: keys.collect::<Result<_, _>>()?,
            requests: cells.number("requests")?,
            prompt_tokens: sum_of_halves(&mut cells, "prompt_tokens")?,
            completion_tokens: sum_of_halves(&mut cells, "completion_tokens")?,
            cached_tokens: sum_of_halves(&mut cells, "cached_tokens")?,
            reasoning_tokens: sum_of_halves(&mut cells, "reasoning_tokens")?,
            cost_nano_usd: sum_of_halves(&mut cells, "cost_nano_usd")?,
            cache_hits: cells.number("cache_hits")?,
            errors: cells.number("errors")?,
            refused: cells.number("refused")?,
            estimated: cells.number("estimated")?,
            unpriced: cells.number("unpriced")?,
        })
    }

    fn measures(&self) -> impl Iterator<Item = Measure> {
        [
            Measure::Whole(self.requests),
            Measure::Whole(self.prompt_tokens),
            Measure::Whole(self.completion_tokens),
            Measure::Whole(self.cached_tokens),
            Measure::Whole(self.reasoning_tokens),
            Measure::Whole(self.cost_nano_usd),
            Measure::Usd(usd(self.cost_nano_usd)),
            Measure::Whole(self.cache_hits),
            Measure::Whole(self.errors),
            Measure::Whole(self.refused),
            Measure::Whole(self.estimated),
            Measure::Whole(self.unpriced),
        ]
        .into_iter()
    }
}

/// Two cells: the sum of the values' upper halves, and of their lower 32 bits.
fn sum_of_halves(cells: &mut Cells, column: &'static str) -> Result<u64, RowError> {
    let high: u64 = cells.number(column)?;
    let low: u64 = cells.number(column)?;
    let sum = (u128::from(high) << 32) + u128::from(low);
    Ok(u64::try_from(sum).unwrap_or(u64::MAX))
}

fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{guard}{text}")
    }
}

/// The report in its JSON form, fields in a fixed order.
struct Json<'a>(&'a UsageReport<'a>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let UsageReport { query, rows, truncated } = self.0;
        let group_by: Vec<_> = query.group_by.iter().map(|dimension| dimension.as_str()).collect();
        let filters: std::collections::BTreeMap<_, _> = query.filters.given().collect();
        let rows: Vec<_> = rows.iter().map(|row| JsonRow { query, row }).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("from", &query.from.to_string())?;
        map.serialize_entry("to", &query.to.to_string())?;
        map.serialize_entry("group_by", &group_by)?;
        map.serialize_entry("filters", &filters)?;
        map.serialize_entry("truncated", truncated)?;
        map.serialize_entry("rows", &rows)?;
        map.end()
    }
}

struct JsonRow<'a> {
    query: &'a UsageQuery,
    row: &'a UsageRow,
}

impl Serialize for JsonRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (dimension, key) in self.query.group_by.iter().zip(&self.row.keys) {
            map.serialize_entry(dimension.as_str(), key)?;
        }
        for (name, measure) in MEASURES.iter().zip(self.row.measures()) {
            map.serialize_entry(name, &measure)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Day;

    fn query(text: &str) -> UsageQuery {
        UsageQuery::parse(text, "", Day::parse("2026-11-30").unwrap()).unwrap()
    }

    fn row(keys: &[&str], sums: i64) -> Vec<Value> {
        let keys = keys.iter().map(|key| Value::Text((*key).to_owned()));
        keys.chain((0..16).map(|index| Value::Integer(sums + index))).collect()
    }

    #[test]
    fn json_gives_the_query_as_understood_and_its_rows_in_a_fixed_order() {
        let query = query("group_by=model,team&team=a&from=2026-11-29");
        let report = UsageReport::from_rows(&query, vec![row(&["gpt-4o", "a"], 0)]).unwrap();
        assert_eq!(
            report.to_json(),
            concat!(
                r#"{"from":"2026-11-29","to":"2026-11-30","group_by":["model","team"],"filters":{"team":"a"},"#,
                r#""truncated":false,"rows":[{"model":"gpt-4o","team":"a","requests":0,"prompt_tokens":4294967298,"#,
                r#""completion_tokens":12884901892,"cached_tokens":21474836486,"reasoning_tokens":30064771080,"#,
                r#""cost_nano_usd":38654705674,"cost_usd":"38.654705674","cache_hits":11,"errors":12,"refused":13,"#,
                r#""estimated":14,"unpriced":15}]}"#
            )
        );
    }

    #[test]
    fn csv_quotes_what_needs_quoting_and_defuses_formulas() {
        let query = query("group_by=team,model&format=csv");
        let rows = vec![row(&["R&D, \"core\"", "=cmd|' /C calc'!A0"], 0), row(&["", "-x\n"], 0)];
        let csv = UsageReport::from_rows(&query, rows).unwrap().to_csv();
        let mut lines = csv.split("\r\n");
        assert_eq!(
            lines.next().unwrap(),
            "team,model,requests,prompt_tokens,completion_tokens,cached_tokens,reasoning_tokens,cost_nano_usd,cost_usd,\
             cache_hits,errors,refused,estimated,unpriced"
        );
        assert!(
            lines.next().unwrap().starts_with(r#""R&D, ""core""",'=cmd|' /C calc'!A0,0,4294967298,"#),
            "{csv}"
        );
        assert!(lines.next().unwrap().starts_with(",\"'-x\n\",0,"), "{csv}");
        assert_eq!(lines.next(), Some(""));
    }

    #[test]
    fn rows_beyond_the_limit_are_cut_off_and_the_answer_says_so() {
        let query = query("group_by=team");
        for (found, truncated) in [(MAX_ROWS, false), (MAX_ROWS + 1, true)] {
            let report = UsageReport::from_rows(&query, vec![row(&["a"], 0); found]).unwrap();
            assert_eq!((report.rows.len(), report.truncated), (MAX_ROWS, truncated), "{found}");
        }
    }

    #[test]
    fn a_row_of_another_shape_is_an_error() {
        let query = query("group_by=team");
        for row in [vec![], vec![Value::Null], vec![Value::Text("a".to_owned())], row(&["a"], -1)] {
            assert!(UsageReport::from_rows(&query, vec![row.clone()]).is_err(), "{row:?}");
        }
    }
}
