//! The store port: counters that can be read and added to atomically, and a few texts beside them.

/// Counters by key, one that was never added to is 0; texts by other keys; and a pause.
///
/// `increment` must be atomic across every client of the store, and a `get` that starts after an `increment` has
/// answered must see it; the same of `get_text` and `set_text`. Nothing else is asked of a store: no transaction, no
/// order between keys, no expiry. A counter's key is never set, a text's never incremented.
#[expect(async_fn_in_trait, reason = "every caller drives its own store on one thread; no bound is missing")]
pub trait CounterStore {
    /// The counter's value.
    ///
    /// # Errors
    /// The store cannot be read, or holds something else under the key.
    async fn get(&self, key: &str) -> Result<i64, StoreError>;

    /// Adds `delta` and returns the sum.
    ///
    /// # Errors
    /// The store cannot be written. Whether the delta was added is then unknown.
    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError>;

    /// Adds what a request asks for, as `increment` does; a store may decline that, and only that, when whoever asks has no
    /// time left. What is put right or given back is never declined for it: limits would be wrong until the window ends.
    ///
    /// # Errors
    /// As of `increment`; when it was declined, nothing was added.
    async fn take(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        self.increment(key, amount).await
    }

    /// The text under the key, if there is one.
    ///
    /// # Errors
    /// The store cannot be read, or holds no text.
    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError>;

    /// Puts a text in the place of the one before.
    ///
    /// # Errors
    /// The store cannot be written. Whether the text was put is then unknown.
    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError>;

    /// Lets others work for so many milliseconds.
    async fn pause(&self, ms: u64);
}

/// Adds `delta`, which may be below zero, and returns the sum, which is not unless it was before.
///
/// A counter goes below zero when what it held was set to zero before it was given back: what was given back beyond zero
/// would be room beyond the limit. So it is put back, by whoever gave it: each puts back at most what it took below zero,
/// and all together exactly that.
///
/// # Errors
/// The store cannot be written. Whether the delta was added is then unknown, and the counter may be left below zero.
pub(crate) async fn change<S: CounterStore>(store: &S, key: &str, delta: i64) -> Result<i64, StoreError> {
    let sum = store.increment(key, delta).await?;
    let beyond = sum.saturating_neg().min(delta.saturating_neg());
    if beyond <= 0 { Ok(sum) } else { store.increment(key, beyond).await }
}

/// The store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store failed to {operation}: {reason}")]
pub struct StoreError {
    /// What was tried, a verb with its object.
    pub operation: &'static str,
    /// What the store said. For the log: it may name hosts or files.
    pub reason: String,
}

/// Reads a counter from its stored bytes, in either of the forms that stores keep: ASCII decimal, or eight bytes of a
/// little-endian i64. `None` for anything else.
///
/// Eight ASCII digits are a decimal number: as a binary one they would be above 3.4 × 10¹⁸, which no counter reaches
/// (see [`crate::MAX_AMOUNT`]).
pub fn decode_counter(stored: &[u8]) -> Option<i64> {
    let digits = stored.strip_prefix(b"-").unwrap_or(stored);
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(stored).ok()?.parse().ok();
    }
    stored.try_into().ok().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_counter_is_none() {
        for stored in
            [&b""[..], b"-", b"x", b"1x", b" 1", b"+1", b"1.0", b"123456789012345678901", &[0; 7], &[0; 9]]
        {
            assert_eq!(decode_counter(stored), None, "{stored:?}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_of_every_reachable_count_decode(count in -1_000_000_000_000_000_000_i64..=1_000_000_000_000_000_000) {
            prop_assert_eq!(decode_counter(&count.to_le_bytes()), Some(count));
            prop_assert_eq!(decode_counter(count.to_string().as_bytes()), Some(count));
        }

        #[test]
        fn eight_ascii_digits_are_decimal(count in 10_000_000_i64..=99_999_999) {
            prop_assert_eq!(decode_counter(count.to_string().as_bytes()), Some(count));
        }

        #[test]
        fn arbitrary_bytes_never_panic(stored in prop::collection::vec(any::<u8>(), 0..24)) {
            let _count = decode_counter(&stored);
        }
    }
}
