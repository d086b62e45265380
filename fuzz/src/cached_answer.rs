//! An answer that the cache is asked to keep, as a whole or as a stream: what is given back says the same.

use crate::json::{Meaning, fields};
use cache_policy::json::Json;
use cache_policy::{NotCacheable, assemble, cacheable, replay};
use std::collections::BTreeMap;

/// Takes the bytes as a completion, and as a stream of one.
pub fn cached_answer(data: &[u8]) {
    keep(data);
    if let Ok(completion) = assemble(data) {
        keep(&completion);
    }
}

/// Judges a completion; one that may be kept is replayed and put together again.
fn keep(completion: &[u8]) {
    if cacheable::check(completion, true).is_err() {
        return;
    }
    for include_usage in [true, false] {
        let Ok(stream) = replay(completion, include_usage) else { continue };
        let again = match assemble(&stream) {
            Ok(again) => again,
            // Said to the client, but in a field that only this provider has.
            Err(NotCacheable::Unmergeable(_)) => continue,
            Err(reason) => panic!("what was replayed cannot be put together: {reason}"),
        };
        let (before, after) = (said(completion), said(&again));
        assert_eq!(after, before, "the text, the calls and the end of each choice");
        let has_usage = |bytes: &[u8]| parsed(bytes).contains_key("usage");
        assert_eq!(has_usage(&again), include_usage);
    }
}

fn parsed(completion: &[u8]) -> BTreeMap<String, Meaning> {
    fields(Json::parse(completion).expect("it was judged").as_object().expect("an object"))
}

/// Each choice by its index, with its texts and its finish reason; an absent text says what an empty one does.
fn said(completion: &[u8]) -> BTreeMap<usize, (Vec<Meaning>, Option<Meaning>)> {
    let json = Json::parse(completion).expect("it was judged");
    let choices = json.as_object().and_then(|o| o.get("choices")).and_then(Json::as_array).expect("choices");
    choices
        .iter()
        .enumerate()
        .map(|(at, choice)| {
            let choice = choice.as_object().expect("a choice");
            let message = choice.get("message").and_then(Json::as_object).expect("a message");
            let texts = ["content", "refusal", "reasoning", "reasoning_content", "function_call"];
            let texts = texts.iter().map(|name| {
                message
                    .get(name)
                    .filter(|value| !value.is_empty())
                    .map_or(Meaning::Leaf(String::new()), crate::json::meaning)
            });
            let index = choice.present("index").and_then(Json::as_u32).map_or(at, |index| index as usize);
            (index, (texts.collect(), choice.get("finish_reason").map(crate::json::meaning)))
        })
        .collect()
}
