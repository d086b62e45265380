//! A store, a clock and a scheduler: every store operation is two turns apart from what surrounds it, and who has the
//! next turn is chosen from outside.

use routing::breaker::{SharedStore, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub struct World {
    pub now_ms: Cell<u64>,
    texts: RefCell<BTreeMap<String, String>>,
    counters: RefCell<BTreeMap<String, i64>>,
    pub reads: Cell<u32>,
    pub writes: Cell<u32>,
    /// While set, every operation fails.
    pub is_down: Cell<bool>,
}

struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Lets somebody else go first.
pub async fn turn() {
    Turn(false).await;
}

impl World {
    async fn operation<T>(&self, counter: &Cell<u32>, act: impl FnOnce() -> T) -> Result<T, StoreError> {
        turn().await;
        if self.is_down.get() {
            return Err(StoreError("down".to_owned()));
        }
        counter.set(counter.get() + 1);
        let result = act();
        turn().await;
        Ok(result)
    }

    pub fn keys(&self) -> Vec<String> {
        self.counters.borrow().keys().chain(self.texts.borrow().keys()).cloned().collect()
    }

    /// Runs the tasks, `picks` saying who goes next and how far the clock moves first; then the rest in order.
    pub fn run(&self, tasks: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>, picks: &[(usize, u64)]) {
        let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut picks = picks.iter().copied();
        loop {
            let waiting: Vec<usize> = (0..tasks.len()).filter(|at| tasks[*at].is_some()).collect();
            if waiting.is_empty() {
                return;
            }
            let (pick, wait_ms) = picks.next().unwrap_or((0, 0));
            self.now_ms.set(self.now_ms.get() + wait_ms);
            let at = waiting[pick % waiting.len()];
            let is_done = tasks[at].as_mut().is_some_and(|task| task.as_mut().poll(&mut context).is_ready());
            if is_done {
                tasks[at] = None;
            }
        }
    }
}

impl SharedStore for World {
    async fn read(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.operation(&self.reads, || self.texts.borrow().get(key).cloned()).await
    }

    async fn write(&self, key: &str, text: &str) -> Result<(), StoreError> {
        let insert = || {
            self.texts.borrow_mut().insert(key.to_owned(), text.to_owned());
        };
        self.operation(&self.writes, insert).await
    }

    async fn count(&self, key: &str) -> Result<i64, StoreError> {
        self.operation(&self.reads, || self.counters.borrow().get(key).copied().unwrap_or(0)).await
    }

    async fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let add = || {
            let mut counters = self.counters.borrow_mut();
            let count = counters.entry(key.to_owned()).or_default();
            *count += amount;
            *count
        };
        self.operation(&self.writes, add).await
    }
}
