//! Fields that are kept as they are, because they stay the same from chunk to chunk.

use crate::cacheable::NotCacheable;
use crate::json::{Fields, Json, Object};

/// Names and values (JSON), in the order they first came.
#[derive(Default)]
pub(super) struct Kept(Vec<(String, Vec<u8>)>);

impl Kept {
    /// The named fields of an object, as far as it has them.
    pub(super) fn of(object: &Object<'_>, names: &[&str]) -> Self {
        let fields = names.iter().filter_map(|&name| Some((name.to_owned(), object.present(name)?.to_vec())));
        Kept(fields.collect())
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.0.iter_mut().find(|(n, _)| n == name).map(|(_, json)| json)
    }

    /// Keeps a field that must not change.
    pub(super) fn keep(&mut self, name: &str, value: &Json<'_>) -> Result<(), NotCacheable> {
        let json = value.to_vec();
        match self.get_mut(name) {
            Some(kept) if *kept == json => Ok(()),
            Some(_) => Err(NotCacheable::Unmergeable(name.to_owned())),
            None => {
                self.0.push((name.to_owned(), json));
                Ok(())
            }
        }
    }

    /// Keeps the first value of a field.
    pub(super) fn keep_first(&mut self, name: &str, value: &Json<'_>) {
        if self.get_mut(name).is_none() {
            self.0.push((name.to_owned(), value.to_vec()));
        }
    }

    /// Keeps the last value of a field.
    pub(super) fn keep_last(&mut self, name: &str, value: &Json<'_>) {
        match self.get_mut(name) {
            Some(kept) => *kept = value.to_vec(),
            None => self.0.push((name.to_owned(), value.to_vec())),
        }
    }

    /// Writes one field, if it is there.
    pub(super) fn write_one(&self, name: &str, fields: &mut Fields<'_>) {
        if let Some((name, json)) = self.0.iter().find(|(n, _)| n == name) {
            fields.raw(name, json);
        }
    }

    /// Writes all fields.
    pub(super) fn write(&self, fields: &mut Fields<'_>) {
        for (name, json) in &self.0 {
            fields.raw(name, json);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
