//! `POST /records`: prices a batch and keeps it.

use bytes::Bytes;
use contracts::record::MAX_RECORDS_BYTES;
use gateway_config::UsageConfig;
use http_body::Body;

use crate::error::Cause;
use crate::keep::{Batch, keep};
use crate::platform::Platform;
use crate::reply::Reply;

/// Most bytes of a batch, also of events.
pub const MAX_BODY_BYTES: usize = MAX_RECORDS_BYTES;

/// Takes a batch.
pub async fn take<B, P>(body: B, config: &UsageConfig, platform: &P) -> Result<Reply, Cause>
where
    B: Body<Data = Bytes>,
    P: Platform,
{
    let body = bounded_body::read(body, MAX_BODY_BYTES).await?;
    let mut records = usage::parse_batch(&body)?;
    usage::price_records(&mut records, &config.pricing);
    if !config.user_ids {
        records.iter_mut().for_each(|record| record.user.clear());
    }
    let batch = Batch {
        what: "usage records",
        lines: records.iter().map(usage::json_line).collect(),
        statements: usage::insert_statements(&records),
    };
    keep(batch, config.stdout, platform).await?;
    Ok(Reply::empty(204))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::DatabaseFailed;
    use crate::{admin, events};
    use contracts::{Event, UsageRecord};
    use futures::executor::block_on;
    use http_body_util::Full;
    use std::cell::RefCell;
    use usage::{Statement, Value};

    /// Notes what happens, in order.
    #[derive(Default)]
    struct Fake {
        database_fails: bool,
        events: RefCell<Vec<String>>,
    }

    impl Platform for Fake {
        async fn run(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
            let verb = statement.sql.split(' ').next().unwrap_or_default();
            self.events.borrow_mut().push(format!("{verb} {} values", statement.parameters.len()));
            if self.database_fails { Err(DatabaseFailed("disk full".to_owned())) } else { Ok(vec![]) }
        }

        async fn run_apart(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
            self.events.borrow_mut().push("apart".to_owned());
            self.run(statement).await
        }

        async fn pause(&self) {}

        fn print(&self, line: &str) {
            let id = match serde_json::from_str::<Event>(line) {
                Ok(event) => event.event_id,
                Err(_) => serde_json::from_str::<UsageRecord>(line).unwrap().record_id,
            };
            self.events.borrow_mut().push(format!("print {id}"));
        }

        fn log(&self, line: &str) {
            self.events.borrow_mut().push(format!("log {line}"));
        }
    }

    fn take_two(stdout: bool, database_fails: bool) -> (Result<u16, u16>, Vec<String>) {
        let record = |id: &str| UsageRecord { record_id: id.to_owned(), ..UsageRecord::default() };
        let body = serde_json::to_vec(&[record("a"), record("b")]).unwrap();
        take_body(body, stdout, database_fails)
    }

    fn take_body(body: Vec<u8>, stdout: bool, database_fails: bool) -> (Result<u16, u16>, Vec<String>) {
        let fake = Fake { database_fails, ..Fake::default() };
        let config = UsageConfig { stdout, ..UsageConfig::default() };
        let reply = block_on(take(Full::new(Bytes::from(body)), &config, &fake));
        let status = reply.map(|reply| reply.status()).map_err(|cause| cause.to_api_error().status);
        (status, fake.events.into_inner())
    }

    #[test]
    fn a_batch_is_printed_and_then_written_at_once() {
        assert_eq!(
            take_two(true, false),
            (Ok(204), vec!["print a".to_owned(), "print b".to_owned(), "INSERT 66 values".to_owned()])
        );
        assert_eq!(take_two(false, false), (Ok(204), vec!["INSERT 66 values".to_owned()]));
    }

    #[test]
    fn records_that_are_not_written_are_printed_exactly_once_and_said_so() {
        for stdout in [true, false] {
            let (status, events) = take_two(stdout, true);
            assert_eq!(status, Err(503));
            for id in ["print a", "print b"] {
                assert_eq!(events.iter().filter(|event| *event == id).count(), 1, "{stdout}: {events:?}");
            }
            let last = events.last().unwrap();
            assert!(last.starts_with("log ") && last.contains("2 usage records"), "{last}");
            assert!(last.contains("disk full"), "{last}");
        }
    }

    #[test]
    fn an_empty_batch_asks_nothing_of_the_database() {
        assert_eq!(take_body(b"[]".to_vec(), true, true), (Ok(204), vec![]));
    }

    #[test]
    fn a_batch_that_is_refused_leaves_no_trace() {
        for (body, status) in
            [(b"{}".to_vec(), 400), (vec![b' '; MAX_BODY_BYTES], 400), (vec![b' '; MAX_BODY_BYTES + 1], 413)]
        {
            assert_eq!(take_body(body, true, false), (Err(status), vec![]));
        }
    }

    #[test]
    fn an_end_user_is_neither_printed_nor_written_if_the_document_says_so() {
        struct Heard(RefCell<String>);
        impl Platform for Heard {
            async fn run(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
                self.0.borrow_mut().push_str(&format!("{statement:?}"));
                Ok(vec![])
            }

            async fn run_apart(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed> {
                self.run(statement).await
            }

            async fn pause(&self) {}

            fn print(&self, line: &str) {
                self.0.borrow_mut().push_str(line);
            }

            fn log(&self, line: &str) {
                self.print(line);
            }
        }
        let record = UsageRecord {
            record_id: "a".to_owned(),
            user: "ann@example.org".to_owned(),
            ..UsageRecord::default()
        };
        for (user_ids, times) in [(true, 2), (false, 0)] {
            let heard = Heard(RefCell::default());
            let config = UsageConfig { user_ids, ..UsageConfig::default() };
            let body = Bytes::from(serde_json::to_vec(&[&record]).unwrap());
            block_on(take(Full::new(body), &config, &heard)).unwrap();
            assert_eq!(heard.0.into_inner().matches("ann@example.org").count(), times, "{user_ids}");
        }
    }

    #[test]
    fn events_are_kept_by_the_same_rules() {
        let event = |id: &str| {
            format!(
                r#"{{"event_id":"{id}","at_ms":1,"limit":"l","amount":"token_quota","counter":"c","kind":"audit","action":"limit_reset","by":"admin","before":1,"after":0}}"#
            )
        };
        let take = |body: String, stdout, database_fails| {
            let fake = Fake { database_fails, ..Fake::default() };
            let config = UsageConfig { stdout, ..UsageConfig::default() };
            let reply = block_on(events::take(Full::new(Bytes::from(body)), &config, &fake));
            let status = reply.map(|reply| reply.status()).map_err(|cause| cause.to_api_error().status);
            (status, fake.events.into_inner())
        };
        let two = format!("[{},{}]", event("a"), event("b"));
        let (printed, written) =
            (["print a".to_owned(), "print b".to_owned()], "INSERT 14 values".to_owned());
        assert_eq!(
            take(two.clone(), true, false),
            (Ok(204), [&printed[..], std::slice::from_ref(&written)].concat())
        );
        assert_eq!(take(two.clone(), false, false), (Ok(204), vec![written.clone()]));
        let (status, log) = take(two, false, true);
        assert_eq!((status, &log[..3]), (Err(503), &[&[written][..], &printed].concat()[..]));
        assert!(log[3].contains("2 events") && log[3].contains("disk full"), "{log:?}");
        assert_eq!(take("[]".to_owned(), true, true), (Ok(204), vec![]));
        assert_eq!(take("[{}]".to_owned(), true, false), (Err(400), vec![]));
    }

    /// A report reads for seconds what a month has written, and no batch may wait for it.
    #[test]
    fn pages_are_read_apart_from_batches() {
        let today = usage::Day::parse("2026-11-30").unwrap();
        let head = |path| http::Request::get(path).body(()).unwrap().into_parts().0;
        let asked = Fake::default();
        block_on(admin::usage(&head("/admin/usage?group_by=day"), today, &asked)).unwrap();
        block_on(admin::requests(&head("/admin/requests"), today, &asked)).unwrap();
        block_on(events::list(&head("/admin/events"), &asked)).unwrap();
        assert_eq!(
            asked.events.into_inner(),
            ["apart", "SELECT 3 values", "apart", "SELECT 3 values", "apart", "SELECT 1 values"]
        );
        assert!(!take_two(true, false).1.contains(&"apart".to_owned()));
    }
}
