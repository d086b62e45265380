//! What is heard of an upstream while it is still being opened: for whoever waits for it, and for the books if nobody waits
//! any longer.

use crate::Spent;
use std::cell::Cell;

/// What has been heard so far. It outlives the opening, should that be dropped halfway.
#[derive(Debug, Default)]
pub struct Heard {
    has_spoken: Cell<bool>,
    spent: Cell<Spent>,
}

impl Heard {
    /// Whether any upstream of this request has begun to answer, even if it failed after that.
    pub fn has_spoken(&self) -> bool {
        self.has_spoken.get()
    }

    /// What the upstream that is being opened has taken so far: of one that was dropped on the way, all that it took.
    /// Nothing once an opening has ended, for then its result says so.
    pub fn spent(&self) -> Spent {
        self.spent.get()
    }

    pub(crate) fn note(&self, spent: Spent, has_spoken: bool) {
        self.spent.set(spent);
        self.has_spoken.set(self.has_spoken.get() || has_spoken);
    }

    pub(crate) fn begin(&self) {
        self.spent.set(Spent::default());
    }
}
