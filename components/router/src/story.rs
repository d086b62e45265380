//! Whom one request was given to so far, and what that cost: known even when the asking is dropped halfway, because its
//! client has left.

use gateway_config::Deployment;
use relay::Spent;
use std::cell::RefCell;

/// A deployment that was asked, and the pool that it was asked in, whose prices count.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The deployment.
    pub deployment: &'static Deployment,
    /// The pool: the name of its model, or for `*` the one that is passed on.
    pub pool: String,
}

/// The attempts of one request.
#[derive(Debug, Default)]
pub struct Story(RefCell<Attempts>);

/// What there is to tell.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    /// How many were made.
    pub made: u32,
    /// The last one, as long as it has neither failed nor begun to answer.
    pub under_way: Option<Asked>,
    /// The last one.
    pub last: Option<Asked>,
    /// Those that began to answer, in order: one, or more where the answer was gone on with.
    pub answered: Vec<Asked>,
    /// What those took that failed before they had begun, where it was anything.
    pub wasted: Vec<(Asked, Spent)>,
    /// How it came to this, where the asking was dropped halfway.
    pub explanation: String,
}

impl Story {
    /// A deployment is asked.
    pub fn begins(&self, asked: Asked) {
        let mut attempts = self.0.borrow_mut();
        attempts.made += 1;
        attempts.last = Some(asked.clone());
        attempts.under_way = Some(asked);
    }

    /// It answers.
    pub fn answers(&self) {
        let mut attempts = self.0.borrow_mut();
        let asked = attempts.under_way.take();
        attempts.answered.extend(asked);
    }

    /// It does not, and took this all the same.
    pub fn fails(&self, spent: Spent) {
        let mut attempts = self.0.borrow_mut();
        if let Some(asked) = attempts.under_way.take()
            && spent.is_something()
        {
            attempts.wasted.push((asked, spent));
        }
    }

    /// It was dropped halfway.
    pub fn explain(&self, explanation: String) {
        self.0.borrow_mut().explanation = explanation;
    }

    /// The last one that was asked.
    pub fn last(&self) -> Option<&'static Deployment> {
        self.0.borrow().last.as_ref().map(|asked| asked.deployment)
    }

    /// All so far.
    pub fn so_far(&self) -> Attempts {
        self.0.borrow().clone()
    }
}
