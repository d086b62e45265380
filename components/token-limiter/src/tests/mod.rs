//! Both routes against counters in memory: the answers, header by header.

mod admissions;
mod operators;
mod settlements;
mod thresholds;

use crate::keeper::Keeper;
use crate::reply::Reply;
use crate::{reserve, settle};
use bytes::Bytes;
use contracts::headers;
use futures::executor::block_on;
use gateway_config::LimiterConfig;
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use quota::{CounterStore, ScriptStore, StoreError};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Ten seconds into a window.
const NOW_MS: u64 = 29_000_000 * 60_000 + 10_000;
const HELLO: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello there"}],"max_tokens":491}"#;

#[derive(Default)]
struct Memory {
    counters: RefCell<BTreeMap<String, i64>>,
    texts: RefCell<BTreeMap<String, String>>,
    is_down: bool,
    /// Keys with this in them cannot be added to; empty: all can.
    broken: &'static str,
}

impl Memory {
    fn failure(&self) -> Result<(), StoreError> {
        let error = StoreError { operation: "work", reason: "secret-host is down".to_owned() };
        if self.is_down { Err(error) } else { Ok(()) }
    }
}

impl CounterStore for Memory {
    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.failure().map(|()| self.texts.borrow().get(key).cloned())
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.failure().map(|()| drop(self.texts.borrow_mut().insert(key.to_owned(), text.to_owned())))
    }

    async fn pause(&self, _: u64) {}

    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        self.failure().map(|()| self.counters.borrow().get(key).copied().unwrap_or(0))
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        self.failure()?;
        if !self.broken.is_empty() && key.contains(self.broken) {
            return Err(StoreError { operation: "work", reason: "it is broken".to_owned() });
        }
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry(key.to_owned()).or_default();
        *counter += delta;
        Ok(*counter)
    }
}

/// No test here runs scripts: those of `quota` do, on a real Redis.
struct NoScripts;

impl ScriptStore for NoScripts {
    async fn eval(&self, _: &str, _: &[String], _: &[String]) -> Result<Vec<i64>, StoreError> {
        Err(StoreError { operation: "run a script", reason: "there is nobody to run it".to_owned() })
    }
}

fn kept(memory: &Memory) -> Keeper<'_, Memory, NoScripts> {
    Keeper::Counters(memory)
}

/// Rules, and what follows them in a document.
fn config(rules: &[(&str, &str)], rest: &str) -> LimiterConfig {
    let rule = |(name, rule): &(&str, &str)| format!("[[limits]]\nname = \"{name}\"\n{rule}\n");
    let document = format!("{}\n[cache]\n{rest}", rules.iter().map(rule).collect::<String>());
    LimiterConfig::parse(&document).unwrap_or_else(|problems| panic!("{problems}"))
}

/// One rule for everybody.
fn all(amounts: &str) -> LimiterConfig {
    config(&[("all", &format!("counter_key = []\n{amounts}"))], "")
}

fn ask<'c>(memory: &Memory, config: &'c LimiterConfig, body: &str) -> Reply<'c> {
    let mut facts = HeaderMap::new();
    for (name, value) in
        [(headers::CONSUMER, "alice"), (headers::TEAM, "acme"), (headers::MODEL, "gpt-oss:20b")]
    {
        facts.insert(name, HeaderValue::from_static(value));
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let reply = block_on(reserve::reserve(&facts, body, config, &kept(memory), || NOW_MS, async || {}));
    reply.unwrap_or_else(|cause| Reply { alerts: cause.alerts(), ..Reply::from(&cause) })
}

fn correct<'c>(memory: &Memory, config: &'c LimiterConfig, body: &str) -> Reply<'c> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let reply = block_on(settle::settle(body, config, &kept(memory), || NOW_MS));
    reply.unwrap_or_else(|cause| Reply { alerts: cause.alerts(), ..Reply::from(&cause) })
}

/// Status, the headers as `name: value` lines in the order of their names, and the body.
fn seen(reply: &Reply<'_>) -> (u16, Vec<String>, String) {
    let line =
        |(name, value): (&http::HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> = reply.headers.iter().map(line).collect();
    lines.retain(|line| !line.starts_with("content-"));
    lines.sort();
    (reply.status.as_u16(), lines, String::from_utf8(reply.body.to_vec()).unwrap())
}
