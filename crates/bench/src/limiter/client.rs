//! One kept-alive connection that asks the limiter as the router does.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use contracts::headers;
use contracts::limiter::{RESERVE_PATH, SETTLE_PATH, SettleBatch};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const MODEL: &str = "gpt-4o";
/// Teams and apps: a hundred consumers share one.
const CONSUMERS_PER_TEAM: u32 = 100;

/// A connection to the limiter.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    body: Bytes,
}

impl Connection {
    /// Connects; every reservation will be for a prompt of `prompt`.
    ///
    /// # Errors
    /// If the server does not accept.
    pub async fn open(address: SocketAddr, prompt: &str) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await?.context("connecting")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How the connection ended shows in the requests on it.
        tokio::spawn(async move { drop(connection.await) });
        let body = serde_json::json!({
            "model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": prompt}],
        });
        Ok(Self {
            sender,
            host: HeaderValue::from_str(&address.to_string())?,
            body: Bytes::from(body.to_string()),
        })
    }

    /// Reserves for one of many consumers; returns the reservation.
    ///
    /// # Errors
    /// If it is not admitted.
    pub async fn reserve(&mut self, consumer: u32) -> anyhow::Result<String> {
        let team = consumer / CONSUMERS_PER_TEAM;
        let request = self
            .post(RESERVE_PATH)
            .header(headers::CONSUMER, format!("consumer-{consumer}"))
            .header(headers::TEAM, format!("team-{team}"))
            .header(headers::APP, format!("app-{team}"))
            .header(headers::MODEL, MODEL)
            .header(headers::REQUEST_ID, "bench")
            .body(Full::new(self.body.clone()))?;
        let response = self.send(request).await?;
        let reservation = response.headers().get(headers::RESERVATION).context("no reservation")?;
        Ok(reservation.to_str()?.to_owned())
    }

    /// Settles a batch.
    ///
    /// # Errors
    /// If it is not accepted.
    pub async fn settle(&mut self, batch: &SettleBatch) -> anyhow::Result<()> {
        let request = self.post(SETTLE_PATH).body(Full::new(Bytes::from(serde_json::to_vec(batch)?)))?;
        self.send(request).await.map(drop)
    }

    fn post(&self, path: &str) -> http::request::Builder {
        Request::post(path).header(header::HOST, &self.host).header(header::CONTENT_TYPE, "application/json")
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let response = timeout(PATIENCE, self.sender.send_request(request)).await.context("no answer")??;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(response);
        }
        let body = response.into_body().collect().await?.to_bytes();
        bail!("status {status}: {}", String::from_utf8_lossy(&body))
    }
}
