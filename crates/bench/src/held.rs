//! Streams held open at once. Unlike elsewhere, one that fails does not end the run: how many hold is the question.

use crate::answers::ExpectedStream;
use crate::client::Connection;
use crate::questions::Questions;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Seconds between two tokens of a held stream.
const GAP_S: u64 = 1;
/// How long the ramp takes, in seconds.
const RAMP_S: u64 = 2;
/// Tokens of a held stream: the first when it opens, one more for each second. Two seconds longer than the ramp, so that
/// all are open together for as long.
const TOKENS: usize = 5;

/// What came of it.
#[derive(Debug, Default)]
pub struct Held {
    /// Streams that were served to their end.
    pub complete: usize,
    /// The most that had begun and not ended at one time.
    pub most_at_once: usize,
    /// Why the first failed that did.
    pub first_failure: Option<String>,
}

/// Opens `count` streams over the ramp and reads each to its end; calls `when_open` when the last should be open.
///
/// # Errors
/// What `when_open` returns.
pub async fn hold(
    address: SocketAddr,
    count: usize,
    questions: &Questions,
    when_open: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Held> {
    let model = format!("mock+gap={GAP_S}s+tokens={TOKENS}");
    let ramp = Duration::from_secs(RAMP_S);
    let open = Rc::new(Cell::new(0_usize));
    let most = Rc::new(Cell::new(0_usize));
    let mut tasks = JoinSet::new();
    for (number, question) in (0_u32..).zip((0..count).map(|_| questions.streamed(&model))) {
        let (open, most) = (open.clone(), most.clone());
        tasks.spawn_local(async move {
            sleep(ramp * number / u32::try_from(count)?.max(1)).await;
            let mut is_open = false;
            let read = async {
                let mut connection = Connection::open(address).await?;
                connection
                    .stream(&question, ExpectedStream { tokens: Some(TOKENS), cache: None }, || {
                        if !std::mem::replace(&mut is_open, true) {
                            open.set(open.get() + 1);
                            most.set(most.get().max(open.get()));
                        }
                    })
                    .await
            };
            let ended = read.await;
            if is_open {
                open.set(open.get() - 1);
            }
            ended.map(drop)
        });
    }
    sleep(ramp + Duration::from_secs(1)).await;
    when_open().await?;
    let mut held = Held::default();
    while let Some(ended) = tasks.join_next().await {
        match ended? {
            Ok(()) => held.complete += 1,
            Err(error) => {
                held.first_failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
    held.most_at_once = most.get();
    Ok(held)
}
