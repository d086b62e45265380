//! Deletes the keys that nobody looks at any more, from a store that does not expire them by itself.
//!
//! One sweep at a time and about one in [`EVERY_MS`], however many instances share the store: a counter per stretch of
//! that length says who came first. What may go is decided by a key's text alone ([`is_expired`]), so a key that somebody
//! may still look at is never deleted.

use crate::counter::{KEY_PREFIX, is_expired, number};
use crate::store::{CounterStore, StoreError};

/// Between two sweeps, in milliseconds: ten minutes. What piles up meanwhile is what a busy store holds anyway.
pub const EVERY_MS: u64 = 600_000;

/// Most keys that one sweep deletes: bounds its time. What is left is the next one's. Twenty times what 10,000 counters of
/// one limit per minute leave behind from one sweep to the next, at most.
const KEYS_MAX: usize = 2_000_000;

/// Most keys that go at once. A deletion blocks the instance that makes it, and a store's other clients.
const CHUNK: usize = 500;

/// Between two deletions, so that others get their turn.
const PAUSE_MS: u64 = 10;

/// Begins the keys by which sweeps are claimed.
const CLAIM: &str = "tl:sweep:";

/// A store whose keys can be listed and deleted.
#[expect(async_fn_in_trait, reason = "as with the counters")]
pub trait Sweepable: CounterStore {
    /// Every key, others' too.
    ///
    /// # Errors
    /// The store cannot be listed.
    async fn keys(&self) -> Result<Vec<String>, StoreError>;

    /// Deletes keys; one that is gone already is no error.
    ///
    /// # Errors
    /// The store cannot be written. Some of the keys may be gone.
    async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError>;
}

/// Sweeps if it is time to and nobody else does; how many keys are gone, `None` when it was not ours to do.
///
/// The listing costs more than all else, so others' keys go in the same sweep: those of which `is_others` is true.
///
/// # Errors
/// The store failed; what is left is the next sweep's.
pub async fn sweep<S: Sweepable>(
    store: &S,
    now_ms: u64,
    is_others: impl Fn(&str) -> bool,
) -> Result<Option<usize>, StoreError> {
    let claim = format!("{CLAIM}{}", now_ms / EVERY_MS);
    if store.get(&claim).await? != 0 || store.increment(&claim, 1).await? != 1 {
        return Ok(None);
    }
    let listed = store.keys().await?;
    let dead = listed.into_iter().filter(|key| may_go(key, now_ms) || is_others(key)).take(KEYS_MAX);
    let dead: Vec<String> = dead.collect();
    let count = dead.len();
    let mut dead = dead.into_iter();
    loop {
        let chunk: Vec<String> = dead.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return Ok(Some(count));
        }
        store.delete(chunk).await?;
        store.pause(PAUSE_MS).await;
    }
}

fn may_go(key: &str, now_ms: u64) -> bool {
    key.starts_with(KEY_PREFIX) && (is_expired(key, now_ms) || is_old_claim(key, now_ms))
}

/// The one before may still be compared with, by a host whose clock is late.
fn is_old_claim(key: &str, now_ms: u64) -> bool {
    let claimed = key.strip_prefix(CLAIM).and_then(number);
    claimed.is_some_and(|claimed| claimed.saturating_add(1) < now_ms / EVERY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    const MINUTE: u64 = 60_000;
    const NOW_MS: u64 = 29_000_000 * MINUTE;

    /// Keys with a text; a counter's is decimal.
    #[derive(Default)]
    struct Memory {
        held: RefCell<BTreeMap<String, String>>,
        largest: RefCell<usize>,
    }

    impl CounterStore for Memory {
        async fn get(&self, key: &str) -> Result<i64, StoreError> {
            Ok(self.held.borrow().get(key).and_then(|text| text.parse().ok()).unwrap_or(0))
        }
        async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
            let sum = self.get(key).await? + delta;
            self.set_text(key, &sum.to_string()).await.map(|()| sum)
        }
        async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
            Ok(self.held.borrow().get(key).cloned())
        }
        async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
            self.held.borrow_mut().insert(key.to_owned(), text.to_owned());
            Ok(())
        }
        async fn pause(&self, _: u64) {}
    }

    impl Sweepable for Memory {
        async fn keys(&self) -> Result<Vec<String>, StoreError> {
            Ok(self.held.borrow().keys().cloned().collect())
        }
        async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
            let mut largest = self.largest.borrow_mut();
            *largest = keys.len().max(*largest);
            self.held.borrow_mut().retain(|key, _| !keys.contains(key));
            Ok(())
        }
    }

    fn ready<T>(work: impl Future<Output = T>) -> T {
        match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("nothing here waits"),
        }
    }

    fn holding(keys: &[(&str, &str)]) -> Memory {
        let held = keys.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Memory { held: RefCell::new(held), ..Memory::default() }
    }

    #[test]
    fn only_what_nobody_looks_at_goes() {
        let kept = [
            ("tl:2:l:mt:a:28999999:29000000", "1"),
            ("tl:2:l:mt:a:28999998:28999999", "1"),
            ("tl:2:l:rt:a:8055:29000100", "1"),
            ("tl:2:l:rt:a:8055.from:29000100", "1740000000000"),
            ("tl:2:l:rt:a:from:~", "3,1"),
            ("sc:1:answer", "x"),
            ("tl:sweep:2899999", "1"),
            ("tl:sweep:x", "1"),
        ];
        let gone = [
            ("tl:2:l:mt:a:28999997:28999998", "1"),
            ("tl:2:l:rt:a:8053:28999980", "1"),
            ("tl:2:l:rt:a:8053.from:28999980", "1739000000000"),
            ("tl:2:l:rt:a:8053.a500:28999980", "1"),
            ("tl:1:l:a:7", "1"),
            ("other:old", "x"),
            ("tl:sweep:2899998", "1"),
        ];
        let memory = holding(&[&kept[..], &gone[..]].concat());
        assert_eq!(ready(sweep(&memory, NOW_MS, |key| key == "other:old")), Ok(Some(gone.len())));
        let held = memory.held.borrow();
        let held: Vec<_> = held.keys().map(String::as_str).collect();
        let mut expected: Vec<_> = kept.iter().map(|(key, _)| *key).chain(["tl:sweep:2900000"]).collect();
        expected.sort_unstable();
        assert_eq!(held, expected);
    }

    #[test]
    fn of_many_in_ten_minutes_one_sweeps_and_then_the_next() {
        let memory = holding(&[]);
        for (now_ms, swept) in [
            (NOW_MS, Some(0)),
            (NOW_MS, None),
            (NOW_MS + EVERY_MS - 1, None),
            (NOW_MS + EVERY_MS, Some(0)),
            (NOW_MS + 3 * EVERY_MS, Some(2)),
        ] {
            assert_eq!(ready(sweep(&memory, now_ms, |_| false)), Ok(swept), "{now_ms}");
        }
    }

    #[test]
    fn however_long_it_runs_the_store_holds_a_few_minutes() {
        const CONSUMERS: usize = 10;
        let memory = Memory::default();
        let names: Vec<String> = (0..CONSUMERS).map(|i| format!("c{i}")).collect();
        let kind = crate::Kind { span: crate::Span::Minute, unit: crate::Unit::TotalTokens };
        let mut most = 0;
        for minute in 0..3 * 24 * 60 {
            let window = 29_000_000 + minute;
            for name in &names {
                let counter = crate::Counter::new("each", kind, [name.as_str()]);
                let slot = crate::Slot { counter, window, expires: Some(window + 1) };
                assert_eq!(
                    ready(memory.increment(&slot.key(), 1)),
                    Ok(1),
                    "a counter in use is never deleted"
                );
            }
            most = most.max(memory.held.borrow().len());
            assert!(ready(sweep(&memory, window * MINUTE, |_| false)).is_ok());
        }
        // The minute, the one after, one for clocks that differ, ten until the next sweep; and the claims.
        assert!(most <= 13 * CONSUMERS + 3, "{most}");
    }

    #[test]
    fn thousands_go_in_pieces() {
        let keys: Vec<String> = (0..1_200).map(|i| format!("tl:2:l:mt:c{i}:7:8")).collect();
        let memory = holding(&keys.iter().map(|key| (key.as_str(), "1")).collect::<Vec<_>>());
        assert_eq!(ready(sweep(&memory, NOW_MS, |_| false)), Ok(Some(1_200)));
        assert_eq!((memory.held.borrow().len(), *memory.largest.borrow()), (1, CHUNK));
    }
}
