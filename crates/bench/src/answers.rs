//! Whether a whole answer is the right one. The first answer of a path is read thoroughly; the others must be of its
//! size and repeat their own question, which costs the load generator next to nothing.

use crate::questions::{Question, TEXT_BYTES};
use anyhow::{Context as _, ensure};
use contracts::{CacheOutcome, headers};
use http::HeaderMap;
use serde_json::Value;

/// What an answer that is right shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing else.
    AsExpected,
    /// That the cache took too long to be waited for: right, but not what the path is there to measure.
    CacheBypassed,
}

/// What every answer of one path has.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    body_bytes: usize,
    cache: Option<CacheOutcome>,
}

impl Expected {
    /// Reads one answer thoroughly. `cache` is what the gateway must say about it, if it is the gateway's.
    ///
    /// # Errors
    /// If it is not a complete answer to `question`.
    pub fn learn(
        cache: Option<CacheOutcome>,
        headers: &HeaderMap,
        body: &[u8],
        question: &Question,
    ) -> anyhow::Result<Self> {
        let expected = Self { body_bytes: body.len(), cache };
        let seen = expected.check(headers, body, question)?;
        ensure!(seen == Seen::AsExpected, "the cache was bypassed");
        let answer: Value = serde_json::from_slice(body).context("the answer is not JSON")?;
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        let text = text.context("the answer has no text")?;
        ensure!(text.len() == TEXT_BYTES, "the answer has {} bytes of text, not {TEXT_BYTES}", text.len());
        let tokens = answer.pointer("/usage/completion_tokens").and_then(Value::as_u64);
        ensure!(tokens.is_some_and(|tokens| tokens > 0), "the answer has no usage");
        Ok(expected)
    }

    /// Compares another answer with the one that was learnt from.
    ///
    /// # Errors
    /// If they differ in more than what they answer, unless the cache was bypassed.
    pub fn check(&self, headers: &HeaderMap, body: &[u8], question: &Question) -> anyhow::Result<Seen> {
        let mut seen = Seen::AsExpected;
        if let Some(cache) = self.cache {
            let said = headers.get(headers::CACHE).map(|value| value.to_str().unwrap_or("?"));
            if said == Some(CacheOutcome::Bypass.as_str()) {
                seen = Seen::CacheBypassed;
            } else {
                ensure!(said == Some(cache.as_str()), "the cache said {said:?}, not {:?}", cache.as_str());
            }
        }
        ensure!(
            body.len() == self.body_bytes,
            "the answer has {} bytes, not {}",
            body.len(),
            self.body_bytes
        );
        ensure!(
            body.windows(question.marker.len()).any(|window| window == question.marker.as_bytes()),
            "the answer is to another question than {:?}: {:?}",
            question.marker,
            String::from_utf8_lossy(body)
        );
        Ok(seen)
    }
}

/// What every streamed answer of one path has.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedStream {
    /// How many events with text; none if that is to be found out.
    pub tokens: Option<usize>,
    /// What the gateway must say about its cache; none if any word will do.
    pub cache: Option<CacheOutcome>,
}

impl ExpectedStream {
    /// Looks at an answer's head.
    ///
    /// # Errors
    /// If it comes from the wrong side of the cache.
    pub fn check(&self, headers: &HeaderMap) -> anyhow::Result<()> {
        if let Some(cache) = self.cache {
            let said = headers.get(headers::CACHE).map(|value| value.to_str().unwrap_or("?"));
            ensure!(said == Some(cache.as_str()), "the cache said {said:?}, not {:?}", cache.as_str());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::Questions;
    use http::{HeaderName, HeaderValue};

    fn answer(question: &Question, text_bytes: usize) -> Vec<u8> {
        let mut text = format!("Answer to {}", question.marker);
        text.extend(std::iter::repeat_n('.', text_bytes - text.len()));
        serde_json::json!({"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 9}})
            .to_string()
            .into_bytes()
    }

    fn learn(body: &[u8], question: &Question) -> anyhow::Result<Expected> {
        Expected::learn(None, &HeaderMap::new(), body, question)
    }

    #[test]
    fn a_complete_answer_sets_the_measure_for_the_others() {
        let questions = Questions::default();
        let (first, second) = (questions.whole(), questions.whole());
        let expected = learn(&answer(&first, TEXT_BYTES), &first).unwrap();
        let none = HeaderMap::new();
        expected.check(&none, &answer(&second, TEXT_BYTES), &second).unwrap();
        expected.check(&none, &answer(&first, TEXT_BYTES), &second).unwrap_err();
        expected.check(&none, &answer(&second, TEXT_BYTES - 1), &second).unwrap_err();
    }

    #[test]
    fn an_answer_of_the_wrong_length_or_without_usage_is_refused() {
        let question = Questions::default().whole();
        assert!(learn(&answer(&question, TEXT_BYTES - 1), &question).is_err());
        let no_usage = String::from_utf8(answer(&question, TEXT_BYTES)).unwrap().replace("usage", "other");
        assert!(learn(no_usage.as_bytes(), &question).is_err());
        assert!(learn(b"<html>", &question).is_err());
    }

    #[test]
    fn an_answer_from_the_wrong_side_of_the_cache_is_refused() {
        let question = Questions::default().whole();
        let body = answer(&question, TEXT_BYTES);
        let said = |outcome: &'static str| -> HeaderMap {
            [(HeaderName::from_static(headers::CACHE), HeaderValue::from_static(outcome))]
                .into_iter()
                .collect()
        };
        let (hit, bypass) = (said("exact"), said("bypass"));
        for (wanted, headers, is_right) in [
            (Some(CacheOutcome::Exact), &hit, true),
            (Some(CacheOutcome::Miss), &hit, false),
            (Some(CacheOutcome::Miss), &HeaderMap::new(), false),
            (None, &HeaderMap::new(), true),
            (Some(CacheOutcome::Miss), &bypass, false),
        ] {
            let learnt = Expected::learn(wanted, headers, &body, &question);
            assert_eq!(learnt.is_ok(), is_right, "{wanted:?} {headers:?}");
        }
        // Once it is known that the path works, a bypass under load is told, not refused.
        let expected = Expected { body_bytes: body.len(), cache: Some(CacheOutcome::Exact) };
        assert_eq!(expected.check(&bypass, &body, &question).unwrap(), Seen::CacheBypassed);
        assert_eq!(expected.check(&hit, &body, &question).unwrap(), Seen::AsExpected);
    }
}
