//! Deleting expired entries, which nobody may ever ask for again.
//!
//! The store has no expiry, and an entry says in its value until when it holds. A sweep lists the keys, reads the next few
//! thousand entries after those of the last sweep, and deletes the expired ones, many at a time. Where it is, and when the
//! next one is due, stands in the store too, so that one instance sweeps for all. Two that begin in the same moment both
//! do: that costs time, never an answer. An entry that is stored anew just as it is swept is lost to the cache, no more.

use crate::entries::{Entries, StoreError};
use crate::entry::Entry;
use crate::key::STORE_PREFIX;
use serde::{Deserialize, Serialize};
use std::future::Future;

/// Key of what is remembered from one sweep to the next.
const CLAIM_KEY: &str = "sc:sweep";
/// From one sweep to the next.
const INTERVAL_MS: u64 = 600_000;
/// The same while at least every second entry is found expired.
const BACKLOG_INTERVAL_MS: u64 = 60_000;
/// Entries that one sweep reads at most.
const MAX_READ: usize = 10_000;
/// Bytes that one sweep reads at most, but for the last entry.
const MAX_READ_BYTES: usize = 64 << 20;
/// Entries that are deleted at once.
const DELETED_AT_ONCE: usize = 100;
/// Entries that are read between two pauses.
const READ_AT_ONCE: usize = 50;

/// What a sweep needs of the store beyond what a lookup does.
pub trait Sweepable: Entries {
    /// Every key of the store, others' too; listed to the end before it returns.
    fn keys(&self) -> impl Future<Output = Result<Vec<String>, StoreError>>;

    /// Deletes these keys at once; not an error if there are none.
    fn delete_many(&self, keys: Vec<String>) -> impl Future<Output = Result<(), StoreError>>;

    /// Lets the other requests of this instance go on for a moment.
    fn pause(&self) -> impl Future<Output = ()>;
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Keys in the store, others' too.
    pub keys: usize,
    /// Entries read.
    pub read: usize,
    /// Entries deleted.
    pub deleted: usize,
}

/// What is remembered. Another version of it, or a damaged one, is none.
#[derive(Default, Serialize, Deserialize)]
struct Claim {
    /// Nobody sweeps before this: milliseconds since the Unix epoch.
    until_ms: u64,
    /// The last key that was read.
    after: String,
}

/// Sweeps, if it is time; `None` if not.
///
/// # Errors
/// When the store fails; what was deleted stays deleted, and the next sweep begins where this one did.
pub async fn sweep(store: &impl Sweepable, now_ms: u64) -> Result<Option<Swept>, StoreError> {
    let claim = store.get(CLAIM_KEY).await?;
    let claim: Claim = claim.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default();
    let latest_ms = now_ms.saturating_add(INTERVAL_MS);
    // One that reaches further was made by a clock that went wrong.
    if (now_ms.saturating_add(1)..=latest_ms).contains(&claim.until_ms) {
        return Ok(None);
    }
    remember(store, latest_ms, &claim.after).await?;

    let listed = store.keys().await?;
    let keys = listed.len();
    let mut entries: Vec<String> = listed.into_iter().filter(|key| key.starts_with(STORE_PREFIX)).collect();
    entries.sort_unstable();
    // On from the last one, and round.
    let next = entries.partition_point(|key| *key <= claim.after);
    entries.rotate_left(next);

    let mut swept = Swept { keys, read: 0, deleted: 0 };
    let (mut read_bytes, mut after, mut expired) = (0, claim.after, Vec::new());
    for key in entries.into_iter().take(MAX_READ) {
        if read_bytes >= MAX_READ_BYTES {
            break;
        }
        if swept.read.is_multiple_of(READ_AT_ONCE) {
            store.pause().await;
        }
        swept.read += 1;
        after.clone_from(&key);
        let Some(value) = store.get(&key).await? else { continue };
        read_bytes = read_bytes.saturating_add(value.len());
        // What is not an entry of this version is never served under this key.
        if Entry::decode(value).is_none_or(|entry| entry.is_expired(now_ms)) {
            expired.push(key);
        }
        if expired.len() == DELETED_AT_ONCE {
            swept.deleted += expired.len();
            store.delete_many(std::mem::take(&mut expired)).await?;
        }
    }
    if !expired.is_empty() {
        swept.deleted += expired.len();
        store.delete_many(expired).await?;
    }
    let is_backlog = swept.deleted > 0 && swept.deleted.saturating_mul(2) >= swept.read;
    let interval_ms = if is_backlog { BACKLOG_INTERVAL_MS } else { INTERVAL_MS };
    remember(store, now_ms.saturating_add(interval_ms), &after).await?;
    Ok(Some(swept))
}

async fn remember(store: &impl Sweepable, until_ms: u64, after: &str) -> Result<(), StoreError> {
    let claim = Claim { until_ms, after: after.to_owned() };
    // A number and a text: serialising cannot fail, and an empty value would be read as no claim.
    store.set(CLAIM_KEY, &serde_json::to_vec(&claim).unwrap_or_default()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::fake::Memory;
    use bytes::Bytes;
    use futures::executor::block_on;
    use openai_types::Usage;

    const MINUTE_MS: u64 = 60_000;
    const NOW_MS: u64 = 1_000 * MINUTE_MS;

    impl Sweepable for Memory {
        async fn keys(&self) -> Result<Vec<String>, StoreError> {
            // In an order of the store's own.
            Ok(self.values.borrow().keys().rev().cloned().collect())
        }

        async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
            assert!((1..=DELETED_AT_ONCE).contains(&keys.len()), "{}", keys.len());
            self.values.borrow_mut().retain(|key, _| !keys.contains(key));
            Ok(())
        }

        async fn pause(&self) {
            let read_at_once = self.gets.replace(0);
            assert!(read_at_once <= 50 + 1, "{read_at_once} with the claim");
        }
    }

    fn key(index: usize) -> String {
        format!("{STORE_PREFIX}{index:064x}")
    }

    fn put(store: &Memory, index: usize, expires_at_ms: u64, body_bytes: usize) {
        let (usage, body) = (Usage::default(), Bytes::from(vec![b' '; body_bytes]));
        let value = Entry { stored_at_ms: 0, expires_at_ms, usage, body }.encode();
        store.values.borrow_mut().insert(key(index), value);
    }

    fn at(store: &Memory, now_ms: u64) -> Option<(usize, usize)> {
        block_on(sweep(store, now_ms)).unwrap().map(|swept| (swept.read, swept.deleted))
    }

    fn entries(store: &Memory) -> Vec<String> {
        store.values.borrow().keys().filter(|key| key.starts_with(STORE_PREFIX)).cloned().collect()
    }

    #[test]
    fn expired_and_unreadable_entries_go_and_nothing_else() {
        let store = Memory::default();
        put(&store, 1, NOW_MS, 0);
        put(&store, 2, NOW_MS + 1, 0);
        put(&store, 3, 0, 0);
        for (other, value) in
            [(key(4).as_str(), "not an entry"), ("tl:1:count", "12345678"), ("sc:2:x", ""), ("zz", "")]
        {
            store.values.borrow_mut().insert(other.to_owned(), value.into());
        }
        assert_eq!(
            block_on(sweep(&store, NOW_MS)).unwrap(),
            Some(Swept { keys: 8, read: 4, deleted: 3 }),
            "the claim is a key too"
        );
        let left: Vec<_> = store.values.borrow().keys().cloned().collect();
        assert_eq!(left, [key(2).as_str(), "sc:2:x", CLAIM_KEY, "tl:1:count", "zz"]);
    }

    #[test]
    fn nobody_sweeps_again_before_it_is_time() {
        let store = Memory::default();
        put(&store, 1, u64::MAX, 0);
        assert_eq!(at(&store, NOW_MS), Some((1, 0)));
        store.gets.set(0);
        assert_eq!(at(&store, NOW_MS), None);
        assert_eq!(store.gets.get(), 1, "finding out costs one read");
        for (after_ms, expected) in
            [(INTERVAL_MS - 1, None), (INTERVAL_MS, Some((1, 0))), (INTERVAL_MS + 1, None)]
        {
            assert_eq!(at(&store, NOW_MS + after_ms), expected, "{after_ms}");
        }
        assert_eq!(at(&store, NOW_MS - 1), Some((1, 0)), "a claim of a clock that was ahead does not hold");
    }

    #[test]
    fn while_much_is_expired_the_next_sweep_comes_sooner() {
        let store = Memory::default();
        (0..4).for_each(|index| put(&store, index, if index < 2 { 0 } else { u64::MAX }, 0));
        assert_eq!(at(&store, NOW_MS), Some((4, 2)));
        assert_eq!(at(&store, NOW_MS + MINUTE_MS - 1), None);
        assert_eq!(at(&store, NOW_MS + MINUTE_MS), Some((2, 0)));
        assert_eq!(at(&store, NOW_MS + 2 * MINUTE_MS), None);
    }

    #[test]
    fn a_sweep_reads_a_bounded_number_and_the_next_goes_on_after_it_and_round() {
        let store = Memory::default();
        let all = MAX_READ + 2_500;
        (0..all).for_each(|index| put(&store, index, if index % 10 == 0 { 0 } else { u64::MAX }, 0));
        assert_eq!(at(&store, NOW_MS), Some((MAX_READ, MAX_READ / 10)));
        let left = all - MAX_READ / 10;
        assert_eq!(
            at(&store, NOW_MS + INTERVAL_MS),
            Some((MAX_READ, 250)),
            "the last 2,500, then the first again"
        );
        assert_eq!(entries(&store).len(), left - 250);
        // The second sweep ended after 7,500 of the first ones that were left.
        put(&store, 0, 0, 0);
        assert_eq!(at(&store, NOW_MS + 2 * INTERVAL_MS), Some((MAX_READ, 1)));
    }

    #[test]
    fn a_sweep_reads_a_bounded_number_of_bytes() {
        let store = Memory::default();
        (0..100).for_each(|index| put(&store, index, u64::MAX, 1 << 20));
        assert_eq!(at(&store, NOW_MS), Some((64, 0)));
        assert_eq!(at(&store, NOW_MS + INTERVAL_MS), Some((64, 0)));
        put(&store, 92, 0, 1 << 20); // one too far
        put(&store, 91, 0, 1 << 20); // the last of the third sweep: 64 and 36 were read, and 28 from the start
        assert_eq!(at(&store, NOW_MS + 2 * INTERVAL_MS), Some((64, 1)));
    }

    #[test]
    fn whatever_is_in_the_store_all_that_is_expired_is_gone_after_a_round() {
        let store = Memory::default();
        (0..500).for_each(|index| put(&store, index, NOW_MS + (index as u64 % 7) * INTERVAL_MS, index * 3));
        store.values.borrow_mut().insert(CLAIM_KEY.to_owned(), b"not a claim".to_vec());
        for round in 0..7 {
            at(&store, NOW_MS + round * INTERVAL_MS).unwrap();
            let expected = (0..500).filter(|index| index % 7 > round).count();
            assert_eq!(entries(&store).len(), expected, "{round}");
        }
    }

    #[test]
    fn a_store_that_fails_is_reported() {
        let store = Memory { is_dead: true, ..Memory::default() };
        assert_eq!(block_on(sweep(&store, NOW_MS)), Err(StoreError("dead".to_owned())));
    }
}
