//! A body of `POST /records` or `POST /events`: JSON in, what can be kept out.
//!
//! Refuses what only a broken caller can send (not an array of them, too many, no id, no such instant), all of it named.
//! Accepts whatever a client or a provider can cause (long names, absurd token counts): one tenant's odd request must not
//! cost its neighbours in the batch their records.

use std::collections::HashSet;
use std::fmt;

use contracts::event::What;
use contracts::record::{MAX_NAMES, MAX_RETRIED, MAX_ROUTE_BYTES, MAX_USER_BYTES};
use contracts::{Event, UsageRecord, limiter::MAX_BATCH};
use serde::de::DeserializeOwned;

use crate::day::Day;

/// Longest text that is kept of each text field, in bytes of UTF-8; the rest is cut off.
pub const MAX_TEXT_BYTES: usize = 256;

/// Why a batch was refused; nothing of it is kept.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not JSON, or not an array of what it should be.
    #[error("the body is not a JSON array of {what}: {reason}")]
    Malformed {
        /// `records` or `events`.
        what: &'static str,
        /// What the JSON reader says.
        reason: String,
    },
    /// More than one batch may have.
    #[error("the batch has {found} {what}; at most {MAX_BATCH} are allowed")]
    TooMany {
        /// `records` or `events`.
        what: &'static str,
        /// How many it has.
        found: usize,
    },
    /// Some that cannot be kept.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<ItemProblem>),
}

/// What is wrong with one record or event.
#[derive(Debug, PartialEq, Eq)]
pub struct ItemProblem {
    what: &'static str,
    index: usize,
    field: &'static str,
    wrong: &'static str,
}

impl fmt::Display for ItemProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}].{} {}", self.what, self.index, self.field, self.wrong)
    }
}

/// Reads a batch of records. Fields that are not known are ignored, so that an older logger serves a newer router.
///
/// # Errors
/// [`BatchError`]; a batch is accepted whole or not at all.
pub fn parse_batch(body: &[u8]) -> Result<Vec<UsageRecord>, BatchError> {
    parse(body)
}

/// Reads a batch of events, by the same rules.
///
/// # Errors
/// [`BatchError`]; a batch is accepted whole or not at all.
pub fn parse_events(body: &[u8]) -> Result<Vec<Event>, BatchError> {
    parse(body)
}

/// What a batch holds.
trait Item: DeserializeOwned {
    /// What several of them are called.
    const PLURAL: &'static str;
    /// Name of the field with the id.
    const ID: &'static str;
    fn id(&self) -> &str;
    fn at_ms(&self) -> u64;
    /// Entries of one of its lists, by the list's name, of which there may be [`MAX_RETRIED`].
    fn list(&self) -> (&'static str, usize);
    /// Cuts short what is long; not the id, for cut short, two ids could become one.
    fn shorten(&mut self);
}

impl Item for UsageRecord {
    const PLURAL: &'static str = "records";
    const ID: &'static str = "record_id";

    fn id(&self) -> &str {
        &self.record_id
    }

    fn at_ms(&self) -> u64 {
        self.at_ms
    }

    fn list(&self) -> (&'static str, usize) {
        // Cut short, it would lose money.
        ("retried_usage", self.retried_usage.len())
    }

    fn shorten(&mut self) {
        let UsageRecord { request_id, consumer, team, app, model, pool, deployment, error_code, .. } = self;
        for text in [request_id, consumer, team, app, model, pool, deployment, error_code] {
            cut(text, MAX_TEXT_BYTES);
        }
        cut(&mut self.route, MAX_ROUTE_BYTES);
        cut(&mut self.user, MAX_USER_BYTES);
        shorten_names(&mut self.tags);
        shorten_names(&mut self.observed);
        for retried in &mut self.retried_usage {
            cut(&mut retried.deployment, MAX_TEXT_BYTES);
            cut(&mut retried.pool, MAX_TEXT_BYTES);
        }
    }
}

impl Item for Event {
    const PLURAL: &'static str = "events";
    const ID: &'static str = "event_id";

    fn id(&self) -> &str {
        &self.event_id
    }

    fn at_ms(&self) -> u64 {
        self.at_ms
    }

    fn list(&self) -> (&'static str, usize) {
        ("", 0)
    }

    fn shorten(&mut self) {
        let Event { request_id, team, limit, counter, what, .. } = self;
        for text in [request_id, team, limit, counter] {
            cut(text, MAX_TEXT_BYTES);
        }
        match what {
            What::Alert(_) => {}
            What::Audit(audit) => {
                [&mut audit.by, &mut audit.address].into_iter().for_each(|t| cut(t, MAX_TEXT_BYTES))
            }
        }
    }
}

fn cut(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
}

/// Each name once and none empty, so that a record counts once under each; then the first [`MAX_NAMES`].
fn shorten_names(names: &mut Vec<String>) {
    names.iter_mut().for_each(|name| cut(name, MAX_TEXT_BYTES));
    let mut seen = HashSet::new();
    let mut kept = std::mem::take(names);
    kept.retain(|name| !name.is_empty() && seen.len() < MAX_NAMES && seen.insert(name.clone()));
    *names = kept;
}

fn parse<T: Item>(body: &[u8]) -> Result<Vec<T>, BatchError> {
    let what = T::PLURAL;
    let mut items: Vec<T> = serde_json::from_slice(body)
        .map_err(|error| BatchError::Malformed { what, reason: error.to_string() })?;
    if items.len() > MAX_BATCH {
        return Err(BatchError::TooMany { what, found: items.len() });
    }
    let problems: Vec<_> = items.iter().enumerate().flat_map(|(index, item)| problems(index, item)).collect();
    if !problems.is_empty() {
        return Err(BatchError::Invalid(problems));
    }
    items.iter_mut().for_each(Item::shorten);
    Ok(items)
}

fn problems<T: Item>(index: usize, item: &T) -> impl Iterator<Item = ItemProblem> + use<T> {
    let problem = move |field, wrong| ItemProblem { what: T::PLURAL, index, field, wrong };
    let id = match item.id().len() {
        0 => Some(problem(T::ID, "is empty")),
        1..=MAX_TEXT_BYTES => None,
        _ => Some(problem(T::ID, "is longer than 256 bytes")),
    };
    let at_ms = Day::of_ms(item.at_ms()).is_none().then(|| problem("at_ms", "is after the year 9999"));
    let (list, entries) = item.list();
    let list = (entries > MAX_RETRIED).then(|| problem(list, "has more than 64 entries"));
    id.into_iter().chain(at_ms).chain(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::RetriedUsage;

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
        assert_eq!(
            parse_batch(&body(&vec![record("r"); 257])),
            Err(BatchError::TooMany { what: "records", found: 257 })
        );
    }

    #[test]
    fn what_is_not_an_array_of_records_is_refused() {
        for body in ["", "{}", "null", "[{}]", "[1]", "[", r#"{"records":[]}"#, "[] []", "\u{0}"] {
            assert!(matches!(parse_batch(body.as_bytes()), Err(BatchError::Malformed { .. })), "{body:?}");
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

    #[test]
    fn each_text_and_list_is_kept_up_to_its_own_length() {
        let long = "x".repeat(600);
        let names: Vec<_> = (0..70).flat_map(|n| [n.to_string(), n.to_string(), String::new()]).collect();
        let sent = UsageRecord {
            pool: long.clone(),
            route: long.clone(),
            user: long.clone(),
            tags: names.clone(),
            observed: [vec![long.clone(), format!("{long}y")], names].concat(),
            retried_usage: vec![
                RetriedUsage {
                    deployment: long.clone(),
                    pool: long,
                    ..RetriedUsage::default()
                };
                64
            ],
            ..record("r")
        };
        let kept = parse_batch(&body(std::slice::from_ref(&sent))).unwrap().remove(0);
        assert_eq!((kept.pool.len(), kept.route.len(), kept.user.len()), (256, 512, 128));
        assert_eq!(kept.tags, (0..64).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!((kept.observed.len(), kept.observed[0].len(), &*kept.observed[1]), (64, 256, "0"));
        let [first, ..] = &kept.retried_usage[..] else { panic!("{kept:?}") };
        assert_eq!((kept.retried_usage.len(), first.deployment.len(), first.pool.len()), (64, 256, 256));

        let retried_usage = vec![RetriedUsage::default(); 65];
        let error = parse_batch(&body(&[UsageRecord { retried_usage, ..sent }])).unwrap_err();
        assert_eq!(error.to_string(), "records[0].retried_usage has more than 64 entries");
    }

    #[test]
    fn events_are_read_by_the_same_rules() {
        let event = |id: &str, at_ms: u64, by: &str| {
            format!(
                r#"{{"event_id":"{id}","at_ms":{at_ms},"limit":"l","amount":"token_quota","counter":"c","kind":"audit","action":"limit_reset","by":"{by}","before":1,"after":0,"from_the_future":[]}}"#
            )
        };
        let long = "b".repeat(300);
        let kept = parse_events(format!("[{}]", event("e", 1, &long)).as_bytes()).unwrap();
        assert!(matches!(&kept[0].what, What::Audit(audit) if audit.by == long[..256]), "{kept:?}");
        for (body, message) in [
            (
                format!("[{}]", event("", u64::MAX, "")),
                "events[0].event_id is empty; events[0].at_ms is after the year 9999",
            ),
            (format!("[{}]", event(&long, 1, "")), "events[0].event_id is longer than 256 bytes"),
            (
                format!("[{}]", vec![event("e", 1, ""); 257].join(",")),
                "the batch has 257 events; at most 256 are allowed",
            ),
            ("{}".to_owned(), "the body is not a JSON array of events: "),
            (
                format!("[{}]", event("e", 1, "").replace("audit", "gossip")),
                "the body is not a JSON array of events: unknown variant `gossip`",
            ),
        ] {
            let error = parse_events(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
