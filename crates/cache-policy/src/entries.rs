//! The port to the key-value store.

use std::future::Future;

/// The store failed; the text is for the log, never for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Where entries lie. There is no lock and no expiry: a later `set` wins, and an entry says itself until when it holds.
pub trait Entries {
    /// The value of a key; `None` when there is none.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>>;

    /// Sets the value of a key.
    fn set(&self, key: &str, value: &[u8]) -> impl Future<Output = Result<(), StoreError>>;
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// A store in memory that counts its calls and fails on demand.
    #[derive(Default)]
    pub(crate) struct Memory {
        pub(crate) values: RefCell<BTreeMap<String, Vec<u8>>>,
        pub(crate) gets: Cell<u32>,
        pub(crate) sets: Cell<u32>,
        pub(crate) is_dead: bool,
    }

    impl Memory {
        fn alive(&self) -> Result<(), StoreError> {
            if self.is_dead { Err(StoreError("dead".to_owned())) } else { Ok(()) }
        }
    }

    impl Entries for Memory {
        async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.gets.set(self.gets.get() + 1);
            self.alive()?;
            Ok(self.values.borrow().get(key).cloned())
        }

        async fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
            self.sets.set(self.sets.get() + 1);
            self.alive()?;
            self.values.borrow_mut().insert(key.to_owned(), value.to_vec());
            Ok(())
        }
    }
}
