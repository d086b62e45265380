//! One path, measured once: one connection, many connections, streams. Between the parts nothing goes on: after-work is
//! waited for and belongs to the part that caused it.

use crate::answers::{Expected, ExpectedStream};
use crate::client::Connection;
use crate::counters::Counters;
use crate::held::{Held, hold};
use crate::load::{Ask, AskStream, Pool};
use crate::procfs::{self, Usage, tree_usage};
use crate::questions::Questions;
use crate::rig::Rig;
use crate::scenario::Scenario;
use crate::settings::Durations;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connections of the load part.
pub const LOAD_CONNECTIONS: usize = 32;
/// Connections of the stream part: few enough that a token waits for no other.
pub const STREAM_CONNECTIONS: usize = 8;

/// The figure that counts answers under load for which the gateway did not wait for its cache.
pub const CACHE_BYPASSED: &str = "load_cache_bypassed";

/// What was measured, by name; the names carry the unit.
pub type Figures = BTreeMap<String, f64>;

/// A scenario that is ready to be measured.
pub struct Path<'a> {
    scenario: Scenario,
    rig: &'a Rig,
    address: SocketAddr,
    questions: Rc<Questions>,
    ask: Ask,
    expected: Expected,
    ask_stream: AskStream,
}

impl<'a> Path<'a> {
    /// Asks once, to learn what is right and to fill the cache.
    ///
    /// # Errors
    /// If the path does not answer rightly.
    pub async fn prepare(
        scenario: Scenario,
        rig: &'a Rig,
        questions: &Rc<Questions>,
    ) -> anyhow::Result<Self> {
        let address = rig.address(scenario)?;
        let mut connection = Connection::open(address).await?;
        let question = questions.whole();
        let ask = if scenario == Scenario::CacheHit {
            connection
                .learn(Some(contracts::CacheOutcome::Miss), &question)
                .await
                .context("filling the cache")?;
            Counters::when_quiet(address).await?;
            Ask::Same(question.clone())
        } else {
            Ask::New(questions.clone())
        };
        let expected = connection.learn(scenario.cache(), &question).await?;
        let ask_stream = if scenario == Scenario::CacheHit {
            let (question, cache) = (question.as_stream(), scenario.cache());
            let pace = connection.stream(&question, ExpectedStream { tokens: None, cache }, || ()).await?;
            AskStream::Replayed(question, ExpectedStream { tokens: Some(pace.gaps.len() + 1), cache })
        } else {
            AskStream::Paced(questions.clone())
        };
        Ok(Self { scenario, rig, address, questions: questions.clone(), ask, expected, ask_stream })
    }

    /// Memory of the host now, if there is one.
    ///
    /// # Errors
    /// If it has ended.
    pub fn rss_bytes(&self) -> anyhow::Result<Option<u64>> {
        let host = self.rig.process(self.scenario)?;
        host.map(|host| Ok(tree_usage(host.pid())?.rss_bytes)).transpose()
    }

    /// Measures every part.
    ///
    /// # Errors
    /// On the first wrong answer, with what the host said last.
    pub async fn measure(&self, durations: Durations) -> anyhow::Result<Figures> {
        let measured = self.parts(durations).await;
        let said = self.rig.process(self.scenario)?.map(crate::process::Process::said).unwrap_or_default();
        measured
            .with_context(|| format!("{}: the benchmark failed; the host said:{said}", self.scenario.name()))
    }

    async fn parts(&self, durations: Durations) -> anyhow::Result<Figures> {
        let mut figures = Figures::new();
        self.one_connection(durations, &mut figures).await.context("one connection")?;
        self.load(durations, &mut figures).await.context("many connections")?;
        if self.scenario.has_streams() {
            self.streams(durations, &mut figures).await.context("streams")?;
        }
        Ok(figures)
    }

    async fn one_connection(&self, durations: Durations, figures: &mut Figures) -> anyhow::Result<()> {
        let mut pool = Pool::open(self.address, 1).await?;
        pool.ask(ms(durations.warm_up_ms), &self.ask, self.expected).await?;
        self.quiet().await?;
        let before = self.used()?;
        let answered = pool.ask(ms(durations.one_ms), &self.ask, self.expected).await?;
        self.quiet().await?;
        self.used()?.per(answered.latencies.count(), &before, "request_at_one_connection", figures);
        add(figures, "one_answers", answered.latencies.count());
        figures.insert("one_p50_us".to_owned(), answered.latencies.quantile_us(0.5));
        figures.insert("one_p99_us".to_owned(), answered.latencies.quantile_us(0.99));
        Ok(())
    }

    async fn load(&self, durations: Durations, figures: &mut Figures) -> anyhow::Result<()> {
        let mut pool = Pool::open(self.address, LOAD_CONNECTIONS).await?;
        pool.ask(ms(durations.warm_up_ms), &self.ask, self.expected).await?;
        let counted = self.quiet().await?;
        let before = self.used()?;
        let answered = pool.ask(ms(durations.load_ms), &self.ask, self.expected).await?;
        if let Some(rss) = self.rss_bytes()? {
            add(figures, "load_rss_bytes", rss);
        }
        let drain = Instant::now();
        let counters = self.quiet().await?;
        figures.insert("load_drain_ms".to_owned(), drain.elapsed().as_secs_f64() * 1e3);
        let answers = answered.latencies.count();
        add(figures, "load_answers", answers);
        add(figures, CACHE_BYPASSED, answered.bypassed);
        figures.insert("load_per_s".to_owned(), answers as f64 / answered.elapsed.as_secs_f64());
        figures.insert("load_p50_us".to_owned(), answered.latencies.quantile_us(0.5));
        figures.insert("load_p99_us".to_owned(), answered.latencies.quantile_us(0.99));
        self.used()?.per(answers, &before, "request", figures);
        if let (Some(counters), Some(earlier)) = (counters, counted) {
            counted_per_request(&counters.since(&earlier), answers, figures);
        }
        Ok(())
    }

    async fn streams(&self, durations: Durations, figures: &mut Figures) -> anyhow::Result<()> {
        let mut pool = Pool::open(self.address, STREAM_CONNECTIONS).await?;
        pool.stream(ms(durations.warm_up_ms), &self.ask_stream).await?;
        self.quiet().await?;
        let before = self.used()?;
        let streamed = pool.stream(ms(durations.stream_ms), &self.ask_stream).await?;
        self.quiet().await?;
        let tokens = streamed.gaps.count() + streamed.to_first_token.count();
        self.used()?.per(tokens, &before, "token", figures);
        add(figures, "streams", streamed.to_first_token.count());
        figures.insert("ttft_p50_us".to_owned(), streamed.to_first_token.quantile_us(0.5));
        figures.insert("ttft_p99_us".to_owned(), streamed.to_first_token.quantile_us(0.99));
        if self.scenario.has_paced_streams() {
            figures.insert("gap_p50_us".to_owned(), streamed.gaps.quantile_us(0.5));
            figures.insert("gap_p99_us".to_owned(), streamed.gaps.quantile_us(0.99));
        }
        Ok(())
    }

    /// Holds `count` streams open at once; returns also why the first failed, if one did.
    ///
    /// # Errors
    /// If the host ended.
    pub async fn hold_streams(&self, count: usize) -> anyhow::Result<(Figures, Option<String>)> {
        let mut figures = Figures::new();
        let mut rss = None;
        let held: Held = hold(self.address, count, &self.questions, async || {
            rss = self.rss_bytes()?;
            Ok(())
        })
        .await?;
        self.quiet().await?;
        add(&mut figures, "held_complete", held.complete as u64);
        add(&mut figures, "held_at_once", held.most_at_once as u64);
        if let Some(rss) = rss {
            add(&mut figures, "held_rss_bytes", rss);
        }
        Ok((figures, held.first_failure))
    }

    /// Waits until the host does nothing any more.
    async fn quiet(&self) -> anyhow::Result<Option<Counters>> {
        match self.scenario.host() {
            Some(_) => Ok(Some(Counters::when_quiet(self.address).await?)),
            None => Ok(None),
        }
    }

    fn used(&self) -> anyhow::Result<Used> {
        let usage = |process: Option<&crate::process::Process>| {
            process.map(|process| tree_usage(process.pid())).transpose()
        };
        Ok(Used {
            host: usage(self.rig.process(self.scenario)?)?,
            mock: usage(Some(&self.rig.mock))?,
            redis: usage(self.rig.redis.as_ref())?,
            client_cpu_us: procfs::own_cpu_us()?,
        })
    }
}

/// CPU time of everybody so far.
struct Used {
    host: Option<Usage>,
    mock: Option<Usage>,
    redis: Option<Usage>,
    client_cpu_us: u64,
}

impl Used {
    /// Adds `cpu_<who>_us_per_<unit>` for each of them.
    fn per(&self, count: u64, before: &Self, unit: &str, figures: &mut Figures) {
        let cpu = |usage: &Option<Usage>| usage.map(|usage| usage.cpu_us);
        let pairs = [
            ("host", cpu(&self.host), cpu(&before.host)),
            ("mock", cpu(&self.mock), cpu(&before.mock)),
            ("redis", cpu(&self.redis), cpu(&before.redis)),
            ("client", Some(self.client_cpu_us), Some(before.client_cpu_us)),
        ];
        for (who, now, earlier) in pairs {
            if let (Some(now), Some(earlier)) = (now, earlier) {
                let each = now.saturating_sub(earlier) as f64 / count.max(1) as f64;
                figures.insert(format!("cpu_{who}_us_per_{unit}"), each);
            }
        }
    }
}

fn counted_per_request(counters: &Counters, answers: u64, figures: &mut Figures) {
    let mut put = |name: String, count: u64| figures.insert(name, count as f64 / answers.max(1) as f64);
    put("calls_before".to_owned(), counters.calls_before());
    put("calls_after".to_owned(), counters.calls_after());
    put("key_value_writes".to_owned(), counters.key_value_writes());
    put("database_writes".to_owned(), counters.sqlite.writes);
    put("database_statements".to_owned(), counters.sqlite.statements);
    put("outbound".to_owned(), counters.outbound);
    for (name, count) in &counters.calls {
        put(format!("calls to {name}"), *count);
    }
    for (name, count) in &counters.key_value {
        put(format!("key_value_{name}"), *count);
    }
}

fn add(figures: &mut Figures, name: &str, count: u64) {
    figures.insert(name.to_owned(), count as f64);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
