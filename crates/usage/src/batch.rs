//! A body of `POST /records`: JSON in, records that can be kept out.
//!
//! Refuses what only a broken caller can send (not an array of records, too many, no request id, no such instant), all
//! of it named. Accepts whatever a client or a provider can cause (long names, absurd token counts): one tenant's odd
//! request must not cost its neighbours in the batch their records.

use std::fmt;

use contracts::{UsageRecord, limiter::MAX_BATCH};

use crate::day::Day;

/// Longest text that is kept of each text field, in bytes of UTF-8; the rest is cut off.
pub const MAX_TEXT_BYTES: usize = 256;

/// Why a batch was refused; nothing of it is kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not JSON, or not an array of usage records.
    #[error("the body is not a JSON array of usage records: {0}")]
    Malformed(String),
    /// More records than one batch may have.
    #[error("the batch has {found} records; at most {MAX_BATCH} are allowed")]
    TooMany {
        /// How many it has.
        found: usize,
    },
    /// Records that cannot be kept.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<RecordProblem>),
}

/// What is wrong with one record.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordProblem {
    index: usize,
    field: &'static str,
    allowed: &'static str,
}

impl fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records[{}].{} {}", self.index, self.field, self.allowed)
    }
}

/// Reads a batch. Fields that are not known are ignored, so that an older logger serves a newer router.
///
/// # Errors
/// [`BatchError`]; a batch is accepted whole or not at all.
pub fn parse_batch(body: &[u8]) -> Result<Vec<UsageRecord>, BatchError> {
    let mut records: Vec<UsageRecord> =
        serde_json::from_slice(body).map_err(|error| BatchError::Malformed(error.to_string()))?;
    if records.len() > MAX_BATCH {
        return Err(BatchError::TooMany { found: records.len() });
    }
    let problems: Vec<_> =
        records.iter().enumerate().flat_map(|(index, record)| problems(index, record)).collect();
    if !problems.is_empty() {
        return Err(BatchError::Invalid(problems));
    }
    for record in &mut records {
        shorten(record);
    }
    Ok(records)
}

fn problems(index: usize, record: &UsageRecord) -> impl Iterator<Item = RecordProblem> {
    let problem = move |field, allowed| RecordProblem { index, field, allowed };
    let record_id = if record.record_id.is_empty() {
        Some(problem("record_id", "is empty"))
    } else if record.record_id.len() > MAX_TEXT_BYTES {
        // Cut short, two ids could become one.
        Some(problem("record_id", "is longer than 256 bytes"))
    } else {
        None
    };
    let at_ms = Day::of_ms(record.at_ms).is_none().then(|| problem("at_ms", "is after the year 9999"));
    record_id.into_iter().chain(at_ms)
}

fn shorten(record: &mut UsageRecord) {
    let UsageRecord { request_id, consumer, team, app, model, deployment, error_code, .. } = record;
    for text in [request_id, consumer, team, app, model, deployment, error_code] {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(records: &[UsageRecord]) -> Vec<u8> {
        serde_json::to_vec(records).unwrap()
    }

    fn record(record_id: &str) -> UsageRecord {
        UsageRecord { record_id: record_id.to_owned(), ..UsageRecord::default() }
    }

    #[test]
    fn a_batch_of_up_to_256_records_is_accepted() {
        for count in [0, 1, 256] {
            let records = vec![record("r"); count];
            assert_eq!(parse_batch(&body(&records)).unwrap(), records, "{count}");
        }
        assert_eq!(parse_batch(&body(&vec![record("r"); 257])), Err(BatchError::TooMany { found: 257 }));
    }

    #[test]
    fn what_is_not_an_array_of_records_is_refused() {
        for body in ["", "{}", "null", "[{}]", "[1]", "[", r#"{"records":[]}"#, "[] []", "\u{0}"] {
            assert!(matches!(parse_batch(body.as_bytes()), Err(BatchError::Malformed(_))), "{body:?}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let body =
            String::from_utf8(body(&[record("r")])).unwrap().replace("[{", r#"[{"from_the_future":1,"#);
        assert_eq!(parse_batch(body.as_bytes()).unwrap(), [record("r")]);
    }

    #[test]
    fn every_record_that_cannot_be_kept_is_named() {
        let records =
            [record("good"), record(""), UsageRecord { at_ms: u64::MAX, ..record(&"x".repeat(257)) }];
        let error = parse_batch(&body(&records)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "records[1].record_id is empty; records[2].record_id is longer than 256 bytes; \
             records[2].at_ms is after the year 9999"
        );
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let long = UsageRecord { model: format!("{}é", "m".repeat(255)), ..record("r") };
        let kept = parse_batch(&body(&[long, record("neighbour")])).unwrap();
        assert_eq!(kept[0].model, "m".repeat(255));
        assert_eq!(kept.len(), 2);
    }
}
