//! One kept-alive connection, as an app's HTTP client has it: TCP_NODELAY set, bodies read to their end.

use crate::answers::{Expected, ExpectedStream, Seen};
use crate::events::Events;
use crate::questions::{KEY, Question};
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CHAT_PATH: &str = "/v1/chat/completions";
/// Longer than any answer of a benchmark takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

/// When a stream's tokens arrived.
#[derive(Debug)]
pub struct Pace {
    /// From the request to the first token.
    pub to_first_token: Duration,
    /// Between neighbouring tokens; zero for those that arrived together.
    pub gaps: Vec<Duration>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If the server does not accept.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await?.context("connecting")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended shows in the requests on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, host: HeaderValue::from_str(&address.to_string())? })
    }

    /// Asks for a whole answer, for the first time on a path.
    ///
    /// # Errors
    /// If there is no right answer.
    pub async fn learn(
        &mut self,
        cache: Option<contracts::CacheOutcome>,
        question: &Question,
    ) -> anyhow::Result<Expected> {
        let (headers, body) = timeout(PATIENCE, self.whole(question)).await.context("no answer")??;
        Expected::learn(cache, &headers, &body, question)
    }

    /// Asks for a whole answer; returns how long it took, and what it showed.
    ///
    /// # Errors
    /// If it is not as expected.
    pub async fn ask(
        &mut self,
        question: &Question,
        expected: &Expected,
    ) -> anyhow::Result<(Duration, Seen)> {
        let started = Instant::now();
        let (headers, body) = timeout(PATIENCE, self.whole(question)).await.context("no answer")??;
        let took = started.elapsed();
        Ok((took, expected.check(&headers, &body, question)?))
    }

    /// Asks for a streamed answer; calls `on_token` as each token arrives.
    ///
    /// # Errors
    /// If it is not complete, or not as expected.
    pub async fn stream(
        &mut self,
        question: &Question,
        expected: ExpectedStream,
        mut on_token: impl FnMut(),
    ) -> anyhow::Result<Pace> {
        let started = Instant::now();
        let answer = self.send(question.body.clone()).await?;
        expected.check(answer.headers())?;
        let mut body = answer.into_body();
        let mut events = Events::default();
        let mut arrivals = Vec::new();
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.context("the stream stalls")? {
            let frame = frame.context("the stream broke off")?;
            let arrived = Instant::now();
            if let Some(data) = frame.data_ref() {
                for _ in 0..events.push(data)? {
                    arrivals.push(arrived);
                    on_token();
                }
            }
        }
        let received = events.finish()?;
        if let Some(tokens) = expected.tokens {
            ensure!(received == tokens, "the stream had {received} tokens, not {tokens}");
        }
        let first = arrivals.first().context("the stream had no token")?;
        let gaps = arrivals.iter().zip(arrivals.iter().skip(1)).map(|(earlier, later)| *later - *earlier);
        Ok(Pace { to_first_token: *first - started, gaps: gaps.collect() })
    }

    /// The body of a GET.
    ///
    /// # Errors
    /// If it is not answered with 200.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header(header::HOST, &self.host).body(Full::default())?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await??;
        let (_, body) = whole(response).await.with_context(|| path.to_owned())?;
        Ok(body)
    }

    async fn whole(&mut self, question: &Question) -> anyhow::Result<(HeaderMap, Bytes)> {
        whole(self.send(question.body.clone()).await?).await
    }

    async fn send(&mut self, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let request = Request::post(CHAT_PATH)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await.context("no answer")??;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let (_, body) = response.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        anyhow::bail!("status {status}: {}", String::from_utf8_lossy(&body))
    }
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<(HeaderMap, Bytes)> {
    ensure!(response.status() == StatusCode::OK, "status {}", response.status());
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("the answer broke off")?.to_bytes();
    Ok((head.headers, body))
}
