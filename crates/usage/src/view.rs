//! A record or an event as operators see it: one line of the log, one entry of `/admin/requests` or `/admin/events`.

use contracts::{Event, UsageRecord};
use serde::Serialize;

use crate::day::rfc3339;

/// The record's own fields, after the instant in a form that people and log collectors read.
#[derive(Serialize)]
pub(crate) struct RecordView<'a> {
    at: Option<String>,
    #[serde(flatten)]
    record: &'a UsageRecord,
}

impl<'a> RecordView<'a> {
    pub(crate) fn new(record: &'a UsageRecord) -> Self {
        RecordView { at: rfc3339(record.at_ms), record }
    }
}

/// The event's own fields, likewise.
#[derive(Serialize)]
pub(crate) struct EventView<'a> {
    #[serde(rename = "event", skip_serializing_if = "Option::is_none")]
    marker: Option<&'static str>,
    at: Option<String>,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> EventView<'a> {
    pub(crate) fn new(event: &'a Event) -> Self {
        EventView { marker: None, at: rfc3339(event.at_ms), event }
    }
}

/// The record as one line of JSON with its line feed: `{"event":"usage_record","at":"2026-11-30T…Z",…}`.
pub fn json_line(record: &UsageRecord) -> String {
    // Strings, numbers and booleans: serialising cannot fail.
    record_line(record.at_ms, &serde_json::to_string(record).unwrap_or_default())
}

/// The same line of a record that is JSON already; `at_ms` is its own.
pub fn record_line(at_ms: u64, record: &str) -> String {
    let at = rfc3339(at_ms).map_or("null".to_owned(), |at| format!("\"{at}\""));
    let fields = record.strip_prefix('{').map_or("}".to_owned(), |fields| format!(",{fields}"));
    format!("{{\"event\":\"usage_record\",\"at\":{at}{fields}\n")
}

/// The event as one line of JSON with its line feed: `{"event":"alert","at":"2026-11-30T…Z",…}`, or `"audit"`.
pub fn event_line(event: &Event) -> String {
    let view = EventView { marker: Some(event.kind()), ..EventView::new(event) };
    // Strings, numbers and booleans: serialising cannot fail; an empty object would still be a line of JSON.
    let mut line = serde_json::to_string(&view).unwrap_or_else(|_| "{}".to_owned());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let record = UsageRecord {
            record_id: "0a".to_owned(),
            request_id: "r-1".to_owned(),
            at_ms: 1_796_083_199_007,
            model: "two\nlines \"quoted\" \u{2028}".to_owned(),
            cost_nano_usd: None,
            ..UsageRecord::default()
        };
        let line = json_line(&record);
        assert!(
            line.starts_with(
                r#"{"event":"usage_record","at":"2026-11-30T23:59:59.007Z","record_id":"0a","request_id":"r-1","at_ms":1796083199007,"#
            ),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(serde_json::from_str::<UsageRecord>(&line).unwrap(), record);
    }

    #[test]
    fn an_event_is_a_line_with_its_kind_in_front() {
        let wire = r#"{"event_id":"e-2","at_ms":1,"limit":"per-team","amount":"token_quota","counter":"","kind":"audit","action":"limit_reset","by":"admin","before":9,"after":0}"#;
        let line = event_line(&serde_json::from_str(wire).unwrap());
        assert_eq!(
            line,
            format!("{{\"event\":\"audit\",\"at\":\"1970-01-01T00:00:00.001Z\",{}\n", &wire[1..])
        );
    }
}
