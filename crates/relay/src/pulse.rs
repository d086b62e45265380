//! Waits for the upstream while giving the client signs of life, and looking for its own.
//!
//! Invariant: a comment goes out only while nothing else is being written, so between events, never inside one.

use crate::alarm::Alarm;
use crate::{Beat, ClientGone, Clock, Late, Sink};
use std::pin::pin;

/// What every SSE client skips: a line that begins with a colon.
const KEEPALIVE: &[u8] = b": keepalive\n\n";

/// Why a wait ended without its result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    ClientGone,
    Late(Late),
}

/// The writing side of one stream, and its timers.
pub(crate) struct Pulse<'a, K, C> {
    sink: &'a mut K,
    clock: &'a C,
    beat: Beat,
    client_ms: u64,
    alarm: Alarm,
    /// `None` before the first write.
    last_write_ms: Option<u64>,
    last_sign_ms: u64,
}

impl<'a, K: Sink, C: Clock> Pulse<'a, K, C> {
    pub(crate) fn new(sink: &'a mut K, clock: &'a C, beat: Beat, client_ms: u64) -> Self {
        let last_sign_ms = clock.now_ms();
        Pulse { sink, clock, beat, client_ms, alarm: Alarm::default(), last_write_ms: None, last_sign_ms }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The result of `work`, unless the deadline passes or the client leaves before. The work is never dropped for a sign
    /// of life.
    pub(crate) async fn wait<T>(
        &mut self,
        work: impl Future<Output = T>,
        deadline: (u64, Late),
    ) -> Result<T, Interrupted> {
        let mut work = pin!(work);
        loop {
            let wake_ms = deadline.0.min(self.keepalive_at()).min(self.probe_at());
            if let Some(result) = self.alarm.race(work.as_mut(), wake_ms, self.clock).await {
                return Ok(result);
            }
            let now_ms = self.clock.now_ms();
            if now_ms >= deadline.0 {
                return Err(Interrupted::Late(deadline.1));
            }
            if now_ms >= self.keepalive_at() {
                self.send(KEEPALIVE.to_vec()).await.map_err(|ClientGone| Interrupted::ClientGone)?;
            } else if now_ms >= self.probe_at() {
                self.probe(now_ms).await.map_err(|ClientGone| Interrupted::ClientGone)?;
            }
        }
    }

    /// Hands bytes to the client, and tells how many ms that took; one that does not take them in time counts as gone.
    pub(crate) async fn send(&mut self, data: Vec<u8>) -> Result<u64, ClientGone> {
        let began_ms = self.clock.now_ms();
        let at_ms = began_ms.saturating_add(self.client_ms);
        let sent = self.alarm.race(pin!(self.sink.send(data)), at_ms, self.clock).await;
        sent.unwrap_or(Err(ClientGone))?;
        self.last_sign_ms = self.clock.now_ms();
        self.last_write_ms = Some(self.last_sign_ms);
        Ok(self.last_sign_ms.saturating_sub(began_ms))
    }

    /// Looks for the client; on some platforms one that takes nothing keeps this waiting too.
    async fn probe(&mut self, now_ms: u64) -> Result<(), ClientGone> {
        let at_ms = now_ms.saturating_add(self.client_ms);
        let seen = self.alarm.race(pin!(self.sink.probe()), at_ms, self.clock).await;
        seen.unwrap_or(Err(ClientGone))?;
        self.last_sign_ms = self.clock.now_ms();
        Ok(())
    }

    fn keepalive_at(&self) -> u64 {
        match self.beat.keepalive_ms {
            0 => u64::MAX,
            ms => self.last_write_ms.map_or(0, |at| at.saturating_add(ms)),
        }
    }

    fn probe_at(&self) -> u64 {
        match self.beat.probe_ms {
            0 => u64::MAX,
            ms => self.last_sign_ms.saturating_add(ms),
        }
    }
}

/// Nobody to write to, for a stream that is not yet handed on.
pub(crate) struct NoClient;

impl Sink for NoClient {
    async fn send(&mut self, _: Vec<u8>) -> Result<(), ClientGone> {
        Ok(())
    }
}

impl Beat {
    /// No signs.
    pub(crate) const NONE: Beat = Beat { keepalive_ms: 0, probe_ms: 0 };
}
