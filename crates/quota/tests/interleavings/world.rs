//! A store, a clock and a scheduler that lets one store operation happen at a time, in an order given from outside.

use quota::{CounterStore, StoreError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One move of the scheduler.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    /// Which of the waiting operations happens, modulo their number.
    pub pick: usize,
    /// How far the clock moves before it happens, in milliseconds.
    pub advance_ms: u64,
    /// What becomes of it if it is an operation of the store.
    pub fault: Fault,
}

/// What becomes of a store operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It fails and nothing has happened.
    Fails,
    /// It happens but its answer is lost.
    AnswerLost,
}

/// What a task was doing when it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Reserving,
    Settling,
}

/// An increment that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub task: usize,
    pub phase: Phase,
    pub key: String,
    pub delta: i64,
    pub at_ms: u64,
}

#[derive(Default)]
struct State {
    counters: BTreeMap<String, i64>,
    texts: BTreeMap<String, String>,
    history: Vec<Written>,
    now_ms: u64,
    /// Operations that wait for their turn: ticket and task.
    waiting: Vec<(usize, usize)>,
    /// Tickets of those that pause.
    pausing: Vec<usize>,
    /// Whether a pause outlasts everything that is not a pause; else it ends whenever the scheduler picks it.
    pauses_outlast: bool,
    /// Where operations take their time, all side by side: how long each. Those that wait are done at these times.
    operation_ms: Option<u64>,
    done_at: BTreeMap<usize, u64>,
    tickets: usize,
    granted: Option<(usize, Fault)>,
}

/// Everything that concurrent requests share.
#[derive(Clone, Default)]
pub struct World(Rc<RefCell<State>>);

/// One request, from its first operation to its last.
pub type Task<'t, T> = Pin<Box<dyn Future<Output = T> + 't>>;

/// The world as one task sees it.
pub struct View {
    world: World,
    task: usize,
    phase: Phase,
}

impl World {
    pub fn starting_at(now_ms: u64) -> Self {
        World(Rc::new(RefCell::new(State { now_ms, ..State::default() })))
    }

    /// The same, where a pause is longer than all that others have begun.
    pub fn with_long_pauses(now_ms: u64) -> Self {
        World(Rc::new(RefCell::new(State { now_ms, pauses_outlast: true, ..State::default() })))
    }

    /// The same, where every operation takes as long, and a pause what it says.
    pub fn with_slow_operations(now_ms: u64, operation_ms: u64) -> Self {
        World(Rc::new(RefCell::new(State { now_ms, operation_ms: Some(operation_ms), ..State::default() })))
    }

    pub fn view(&self, task: usize) -> View {
        View { world: self.clone(), task, phase: Phase::Reserving }
    }

    pub fn now_ms(&self) -> u64 {
        self.0.borrow().now_ms
    }

    pub fn advance(&self, ms: u64) {
        self.0.borrow_mut().now_ms += ms;
    }

    pub fn go_to(&self, now_ms: u64) {
        self.0.borrow_mut().now_ms = now_ms;
    }

    pub fn history(&self) -> Vec<Written> {
        self.0.borrow().history.clone()
    }

    pub fn counters(&self) -> BTreeMap<String, i64> {
        self.0.borrow().counters.clone()
    }

    pub fn texts(&self) -> BTreeMap<String, String> {
        self.0.borrow().texts.clone()
    }

    /// Runs all tasks to their end; the moves are used over and over until then.
    pub fn run<T>(&self, tasks: Vec<Task<'_, T>>, moves: &[Move]) -> Vec<T> {
        let count = tasks.len();
        let mut results: Vec<Option<T>> = tasks.iter().map(|_| None).collect();
        let mut tasks: Vec<Option<Task<'_, T>>> = tasks.into_iter().map(Some).collect();
        let mut poll = |task: usize| {
            let Some(future) = &mut tasks[task] else { return };
            if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                results[task] = Some(result);
                tasks[task] = None;
            }
        };
        (0..count).for_each(&mut poll);
        for &step in moves.iter().cycle() {
            let Some(task) = self.grant(step) else { break };
            poll(task);
        }
        results.into_iter().map(|result| result.expect("a task waits for something but its turn")).collect()
    }

    /// Lets one waiting operation happen at its task's next poll; `None` when nothing waits.
    fn grant(&self, step: Move) -> Option<usize> {
        let mut state = self.0.borrow_mut();
        if state.waiting.is_empty() {
            return None;
        }
        if state.operation_ms.is_some() {
            let next = (0..state.waiting.len()).min_by_key(|at| state.done_at[&state.waiting[*at].0])?;
            let (ticket, task) = state.waiting.swap_remove(next);
            state.now_ms = state.done_at[&ticket];
            state.granted = Some((ticket, step.fault));
            return Some(task);
        }
        let is_eligible = |ticket: &usize| !state.pauses_outlast || !state.pausing.contains(ticket);
        let mut eligible: Vec<usize> =
            (0..state.waiting.len()).filter(|&at| is_eligible(&state.waiting[at].0)).collect();
        if eligible.is_empty() {
            eligible = (0..state.waiting.len()).collect();
        }
        let (ticket, task) = state.waiting.swap_remove(eligible[step.pick % eligible.len()]);
        state.now_ms += step.advance_ms;
        state.granted = Some((ticket, step.fault));
        Some(task)
    }
}

impl View {
    /// The same task, now settling.
    pub fn settling(self) -> Self {
        View { phase: Phase::Settling, ..self }
    }

    pub fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }

    /// Waits until the scheduler picks this task, and says what becomes of what it does then.
    pub async fn turn(&self) -> Fault {
        self.wait(None).await
    }

    /// Waits for so long, if operations take their time; else for its turn.
    pub async fn wait_ms(&self, ms: u64) {
        self.wait(Some(ms)).await;
    }

    async fn wait(&self, pause_ms: Option<u64>) -> Fault {
        let ticket = {
            let mut state = self.world.0.borrow_mut();
            state.tickets += 1;
            let ticket = (state.tickets, self.task);
            state.waiting.push(ticket);
            if pause_ms.is_some() {
                state.pausing.push(ticket.0);
            }
            if let Some(operation_ms) = state.operation_ms {
                let done_at = state.now_ms + pause_ms.unwrap_or(operation_ms);
                state.done_at.insert(ticket.0, done_at);
            }
            ticket.0
        };
        poll_fn(|_| {
            let mut state = self.world.0.borrow_mut();
            match state.granted {
                Some((granted, fault)) if granted == ticket => {
                    state.granted = None;
                    Poll::Ready(fault)
                }
                _ => Poll::Pending,
            }
        })
        .await
    }
}

impl CounterStore for View {
    async fn get(&self, key: &str) -> Result<i64, StoreError> {
        match self.turn().await {
            Fault::None => Ok(self.world.0.borrow().counters.get(key).copied().unwrap_or(0)),
            Fault::Fails | Fault::AnswerLost => Err(failure("get")),
        }
    }

    async fn get_text(&self, key: &str) -> Result<Option<String>, StoreError> {
        match self.turn().await {
            Fault::None => Ok(self.world.0.borrow().texts.get(key).cloned()),
            Fault::Fails | Fault::AnswerLost => Err(failure("get")),
        }
    }

    async fn set_text(&self, key: &str, text: &str) -> Result<(), StoreError> {
        let fault = self.turn().await;
        if fault != Fault::Fails {
            self.world.0.borrow_mut().texts.insert(key.to_owned(), text.to_owned());
        }
        if fault == Fault::None { Ok(()) } else { Err(failure("set")) }
    }

    async fn pause(&self, ms: u64) {
        self.wait_ms(ms).await;
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, StoreError> {
        let fault = self.turn().await;
        if fault == Fault::Fails {
            return Err(failure("increment"));
        }
        let mut state = self.world.0.borrow_mut();
        let at_ms = state.now_ms;
        state.history.push(Written { task: self.task, phase: self.phase, key: key.to_owned(), delta, at_ms });
        let counter = state.counters.entry(key.to_owned()).or_default();
        *counter += delta;
        if fault == Fault::None { Ok(*counter) } else { Err(failure("increment")) }
    }
}

fn failure(operation: &'static str) -> StoreError {
    StoreError { operation, reason: "as the test asked".to_owned() }
}
