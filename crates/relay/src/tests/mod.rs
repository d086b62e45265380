//! A small world in which time passes only when everybody waits.

mod continuing;
mod decoding;
mod echoing;
mod endings;
mod hearing;
mod opening;
mod timing;

use super::*;
use futures::task::noop_waker;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Generated text of so many ASCII letters, and others of two bytes.
fn generated(letters: u64, two_bytes: u64) -> openai_types::Characters {
    openai_types::Characters { letters, two_bytes, ..openai_types::Characters::default() }
}

/// A clock that [`run`] moves on.
#[derive(Clone, Default)]
pub struct World {
    now_ms: Rc<Cell<u64>>,
    waited_for: Rc<RefCell<BTreeSet<u64>>>,
    timers_set: Rc<Cell<usize>>,
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn sleep(&self, ms: u64) -> Sleep {
        self.timers_set.set(self.timers_set.get() + 1);
        Box::pin(self.clone().until(self.now_ms() + ms))
    }
}

impl World {
    async fn until(self, at_ms: u64) {
        std::future::poll_fn(|_| {
            if self.now_ms() >= at_ms {
                return Poll::Ready(());
            }
            self.waited_for.borrow_mut().insert(at_ms);
            Poll::Pending
        })
        .await;
    }

    /// Runs `work` to its end; whenever it can do nothing, time goes on to the next moment that somebody waits for.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(&noop_waker())) {
                return result;
            }
            let next = self.waited_for.borrow_mut().pop_first();
            let next = next.expect("everybody waits, and for nothing");
            self.now_ms.set(next.max(self.now_ms()));
        }
    }
}

/// What an upstream does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Does nothing for so many ms.
    Wait(u64),
    /// Breaks the connection.
    Break,
    /// Does nothing for ever.
    Hang,
}

pub fn say(text: impl Into<Vec<u8>>) -> Act {
    Act::Say(text.into())
}

/// An upstream that follows a script, and notes when it is dropped.
pub struct Upstream {
    acts: VecDeque<Act>,
    world: World,
    pub dropped_at_ms: Rc<Cell<Option<u64>>>,
    is_reading: bool,
}

impl Upstream {
    pub fn new(world: &World, acts: impl IntoIterator<Item = Act>) -> Self {
        let dropped_at_ms = Rc::new(Cell::new(None));
        Upstream { acts: acts.into_iter().collect(), world: world.clone(), dropped_at_ms, is_reading: false }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.dropped_at_ms.set(Some(self.world.now_ms()));
    }
}

impl Source for Upstream {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        assert!(!self.is_reading, "a read was dropped under way: bytes are lost");
        self.is_reading = true;
        let result = loop {
            match self.acts.pop_front() {
                Some(Act::Say(bytes)) => break Ok(Some(bytes)),
                Some(Act::Wait(ms)) => self.world.sleep(ms).await,
                Some(Act::Break) => break Err(SourceFailed::Broken("reset".into())),
                Some(Act::Hang) => std::future::pending().await,
                None => break Ok(None),
            }
        };
        self.is_reading = false;
        result
    }
}

/// A client that notes what it gets and when.
pub struct Client {
    world: World,
    pub got: Vec<u8>,
    pub at_ms: Vec<(u64, String)>,
    pub probes: usize,
    pub leaves_at_ms: u64,
    pub takes_ms: u64,
}

impl Client {
    pub fn new(world: &World) -> Self {
        Client {
            world: world.clone(),
            got: Vec::new(),
            at_ms: Vec::new(),
            probes: 0,
            leaves_at_ms: u64::MAX,
            takes_ms: 0,
        }
    }
    pub fn text(&self) -> String {
        String::from_utf8(self.got.clone()).unwrap()
    }
    /// Without the comments.
    pub fn answer(&self) -> String {
        self.text().replace(": keepalive\n\n", "")
    }
    /// When comments came.
    pub fn beats(&self) -> Vec<u64> {
        self.at_ms.iter().filter(|(_, text)| text == ": keepalive\n\n").map(|(at, _)| *at).collect()
    }
}

impl Sink for Client {
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone> {
        assert!(!data.is_empty(), "an empty write looks like an end to some");
        if self.takes_ms > 0 {
            self.world.sleep(self.takes_ms).await;
        }
        self.probe().await?;
        self.at_ms.push((self.world.now_ms(), String::from_utf8_lossy(&data).into_owned()));
        self.got.extend(data);
        Ok(())
    }
    async fn probe(&mut self) -> Result<(), ClientGone> {
        self.probes += 1;
        if self.world.now_ms() >= self.leaves_at_ms { Err(ClientGone) } else { Ok(()) }
    }
}

pub const ROLE: &str = "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
pub const HELLO: &str = "data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}llo\"},\"finish_reason\":null}]}\n\n";
pub const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n";
pub const DONE: &str = "data: [DONE]\n\n";
pub const ERROR: &str = "data: {\"error\":{\"message\":\"x\",\"type\":\"overloaded_error\"}}\n\n";

pub const OPTIONS: Options = Options {
    choices: 1,
    strip_usage: true,
    keep_bytes: 1 << 16,
    hold: Hold::UntilItSpeaks,
    mid_stream: MidStream::Fail,
    limits: Limits {
        first_token_ms: 60_000,
        idle_ms: 30_000,
        total_ms: 600_000,
        client_ms: 60_000,
        max_event_bytes: 1 << 16,
        max_stream_bytes: 1 << 20,
    },
    beat: Beat { keepalive_ms: 0, probe_ms: 0 },
};

pub fn says(parts: &[&str]) -> Vec<Act> {
    parts.iter().map(|part| say(*part)).collect()
}

/// One upstream, opened and relayed without another to go on with.
pub fn alone(
    world: &World,
    acts: Vec<Act>,
    options: &Options,
    client: &mut Client,
) -> Result<Report, Unopened> {
    world.run(async {
        let opened = open(Upstream::new(world, acts), 0, options, world, &Heard::default()).await?;
        let first = std::future::ready(Some(opened));
        Ok(relay(first, &mut NoResume::<Upstream>::default(), client, options, world).await)
    })
}
