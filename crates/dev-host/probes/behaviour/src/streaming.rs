//! Work that outlives the response, and streamed responses whose fate is written down.

use anyhow::Result;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use spin_sdk::http::{BoxBody, Response, box_body};
use spin_sdk::{time, wasip3};

use crate::answer;
use crate::arguments::Arguments;
use crate::key_value::note;

/// Answers at once; `ms` later, writes `done` under `key` in the default store.
pub fn spawn_after_response(arguments: &Arguments) -> Result<Response<BoxBody>> {
    let (key, delay) = (arguments.required("key")?.to_owned(), arguments.millis("ms")?);
    wasip3::spawn(async move {
        time::sleep(delay).await;
        note(&key, "done").await;
    });
    answer::bytes("answered")
}

/// Streams `chunks` chunks `gap_ms` apart (`chunk 1\n`, …), each padded to `pad` bytes, then writes how
/// many were sent under `key` in the default store: `sent N`, or `failed after N` if the client had gone.
/// With `panic_after=N` it panics instead of sending the chunk after the Nth.
pub fn stream(arguments: &Arguments) -> Result<Response<BoxBody>> {
    let chunks = arguments.number("chunks")?;
    let gap = arguments.millis("gap_ms")?;
    let pad = usize::try_from(arguments.number("pad")?)?;
    let panic_after = arguments.optional("panic_after").map(str::parse::<i64>).transpose()?;
    let key = arguments.optional("key").map(ToOwned::to_owned);

    // Room for one: what the host does not take makes the sender wait.
    let (mut sender, receiver) = mpsc::channel::<Bytes>(1);
    wasip3::spawn(async move {
        let mut sent = 0;
        let mut outcome = format!("sent {chunks}");
        while sent < chunks {
            panic_if(panic_after == Some(sent));
            let chunk = format!("{:pad$}\n", format!("chunk {}", sent + 1));
            if sender.send(chunk.into()).await.is_err() {
                outcome = format!("failed after {sent}");
                break;
            }
            sent += 1;
            time::sleep(gap).await;
        }
        drop(sender);
        if let Some(key) = key {
            note(&key, &outcome).await;
        }
    });
    let frames = receiver.map(|chunk| Ok::<_, anyhow::Error>(Frame::data(chunk)));
    Ok(Response::new(box_body(StreamBody::new(frames))))
}

#[expect(clippy::panic, reason = "what a panic does to a stream is the behaviour shown")]
fn panic_if(asked: bool) {
    if asked {
        panic!("the probe was asked to panic in its stream");
    }
}
