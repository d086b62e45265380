//! The life of an instance: which one serves, how often, how long, and how it fails.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use serde_json::json;
use spin_sdk::http::{BoxBody, Response};

use crate::answer;
use crate::arguments::Arguments;
use crate::key_value;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// This request's number in its instance, from 1.
pub fn count_request() -> u64 {
    REQUESTS.fetch_add(1, Ordering::Relaxed) + 1
}

/// A random name for this instance, and the request's number in it.
pub fn instance(serial: u64) -> Result<Response<BoxBody>> {
    static NAME: OnceLock<String> = OnceLock::new();
    let name = NAME.get_or_init(|| format!("{:016x}", RandomState::new().hash_one(0_u8)));
    answer::json(&json!({ "instance": name, "request": serial }))
}

/// Answers after `ms`, waiting on the host's clock, with the instance's name and its requests so far.
/// With `key`, first writes `done` under it in the default store.
pub async fn sleep(arguments: &Arguments) -> Result<Response<BoxBody>> {
    spin_sdk::time::sleep(arguments.millis("ms")?).await;
    if let Some(key) = arguments.optional("key") {
        key_value::note(key, "done").await;
    }
    instance(REQUESTS.load(Ordering::Relaxed))
}

/// Prints the body and, after `ms`, answers 204 with the header `name` of this `value`: a component that says what it is
/// told to, late.
#[expect(clippy::print_stdout, reason = "what it was asked is read in its log")]
pub async fn answer_late(arguments: &Arguments, body: Bytes) -> Result<Response<BoxBody>> {
    println!("{}", String::from_utf8_lossy(&body));
    spin_sdk::time::sleep(arguments.millis("ms")?).await;
    answer::empty(arguments.required("name")?, arguments.required("value")?)
}

/// Like [`sleep`], but computing all the while, so that nothing else in the instance can run.
pub fn busy(arguments: &Arguments) -> Result<Response<BoxBody>> {
    let (started, wanted) = (Instant::now(), arguments.millis("ms")?);
    let mut rounds = 0_u64;
    while started.elapsed() < wanted {
        rounds = std::hint::black_box(rounds + 1);
    }
    instance(REQUESTS.load(Ordering::Relaxed))
}

/// Panics after `ms`.
#[expect(clippy::panic, reason = "what a panic does to the neighbours is the behaviour shown")]
pub async fn panic(arguments: &Arguments) -> Result<Response<BoxBody>> {
    spin_sdk::time::sleep(arguments.millis("ms")?).await;
    panic!("the probe was asked to panic");
}

/// A handler that fails.
pub fn error() -> Result<Response<BoxBody>> {
    bail!("the probe was asked to fail")
}

/// Writes the body to standard output and, in capitals, to standard error.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "where they go is the behaviour shown")]
pub fn print(body: Bytes) -> Result<Response<BoxBody>> {
    let text = String::from_utf8_lossy(&body);
    println!("{text}");
    eprintln!("{}", text.to_uppercase());
    answer::bytes("printed")
}
