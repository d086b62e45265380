//! Closed loops: so many connections, each asking again as soon as it has its answer. One thread, so that a latency
//! holds no hand-over between threads of the load generator.

use crate::answers::{Expected, ExpectedStream, Seen};
use crate::client::Connection;
use crate::latency::Latencies;
use crate::questions::{Question, Questions};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Time to the first event of a measured stream, as the mock keeps it.
pub const TTFT_MS: u64 = 20;
/// Gap between the tokens of a measured stream.
pub const GAP_MS: u64 = 5;
/// Tokens of a measured stream.
pub const TOKENS: usize = 20;

/// What the connections ask.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A question that nobody has asked before, each time.
    New(Rc<Questions>),
    /// The same question every time.
    Same(Question),
}

impl Ask {
    fn next(&self) -> Question {
        match self {
            Self::New(questions) => questions.whole(),
            Self::Same(question) => question.clone(),
        }
    }
}

/// What the connections ask to be streamed.
#[derive(Debug, Clone)]
pub enum AskStream {
    /// A question that nobody has asked before, each time; the answer comes at the pace above.
    Paced(Rc<Questions>),
    /// The same question every time, which is answered as expected.
    Replayed(Question, ExpectedStream),
}

impl AskStream {
    fn next(&self) -> (Question, ExpectedStream) {
        match self {
            Self::Paced(questions) => {
                let model = format!("mock+ttft={TTFT_MS}ms+gap={GAP_MS}ms+tokens={TOKENS}");
                (questions.streamed(&model), ExpectedStream { tokens: Some(TOKENS), cache: None })
            }
            Self::Replayed(question, expected) => (question.clone(), *expected),
        }
    }
}

/// What came of whole answers.
#[derive(Debug)]
pub struct Answered {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// One for each answer.
    pub latencies: Latencies,
    /// Answers for which the cache was not waited for.
    pub bypassed: u64,
}

/// What came of streams.
#[derive(Debug)]
pub struct Streamed {
    /// Request to first token.
    pub to_first_token: Latencies,
    /// Between tokens.
    pub gaps: Latencies,
}

/// Connections that stay open from one loop to the next.
pub struct Pool {
    address: SocketAddr,
    connections: Vec<Connection>,
}

impl Pool {
    /// Opens `size` connections.
    ///
    /// # Errors
    /// If one is not accepted.
    pub async fn open(address: SocketAddr, size: usize) -> anyhow::Result<Self> {
        let mut pool = Self { address, connections: Vec::with_capacity(size) };
        for _ in 0..size {
            pool.connections.push(Connection::open(pool.address).await?);
        }
        Ok(pool)
    }

    /// Asks for whole answers until `duration` is over, then waits for those under way.
    ///
    /// # Errors
    /// On the first answer that is not as expected.
    pub async fn ask(
        &mut self,
        duration: Duration,
        ask: &Ask,
        expected: Expected,
    ) -> anyhow::Result<Answered> {
        let latencies = Rc::new(RefCell::new(Latencies::new()?));
        let bypassed = Rc::new(Cell::new(0));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let (latencies, bypassed, ask) = (latencies.clone(), bypassed.clone(), ask.clone());
            tasks.spawn_local(async move {
                while started.elapsed() < duration {
                    let (took, seen) = connection.ask(&ask.next(), &expected).await?;
                    latencies.borrow_mut().record(took);
                    bypassed.set(bypassed.get() + u64::from(seen == Seen::CacheBypassed));
                }
                anyhow::Ok(connection)
            });
        }
        self.collect(tasks).await?;
        let elapsed = started.elapsed();
        Ok(Answered { elapsed, latencies: latencies.replace(Latencies::new()?), bypassed: bypassed.get() })
    }

    /// Asks for streams until `duration` is over, then waits for those under way.
    ///
    /// # Errors
    /// On the first stream that is not complete.
    pub async fn stream(&mut self, duration: Duration, ask: &AskStream) -> anyhow::Result<Streamed> {
        let streamed = Rc::new(RefCell::new((Latencies::new()?, Latencies::new()?)));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in self.connections.drain(..) {
            let (streamed, ask) = (streamed.clone(), ask.clone());
            tasks.spawn_local(async move {
                while started.elapsed() < duration {
                    let (question, expected) = ask.next();
                    let pace = connection.stream(&question, expected, || ()).await?;
                    let (to_first_token, gaps) = &mut *streamed.borrow_mut();
                    to_first_token.record(pace.to_first_token);
                    for gap in pace.gaps {
                        gaps.record(gap);
                    }
                }
                anyhow::Ok(connection)
            });
        }
        self.collect(tasks).await?;
        let (to_first_token, gaps) = streamed.replace((Latencies::new()?, Latencies::new()?));
        Ok(Streamed { to_first_token, gaps })
    }

    /// Takes the connections back once all have finished.
    async fn collect(&mut self, mut tasks: JoinSet<anyhow::Result<Connection>>) -> anyhow::Result<()> {
        while let Some(connection) = tasks.join_next().await {
            self.connections.push(connection??);
        }
        Ok(())
    }
}
