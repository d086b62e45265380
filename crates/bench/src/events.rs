//! Server-sent events as they arrive: how many carry content, and whether the stream ends as it should. Bytes may be
//! split anywhere.

use anyhow::{bail, ensure};

/// What ends a stream that is complete.
const DONE: &[u8] = b"[DONE]";

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Events {
    unfinished: Vec<u8>,
    content_events: usize,
    is_done: bool,
}

impl Events {
    /// Takes the next bytes; returns how many events with content they completed.
    ///
    /// # Errors
    /// If an event is an error, is no `data:`, or follows the end.
    pub fn push(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        self.unfinished.extend_from_slice(bytes);
        let before = self.content_events;
        let mut rest = self.unfinished.as_slice();
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
            let (event, following) = rest.split_at(end);
            rest = following.get(2..).unwrap_or_default();
            ensure!(!self.is_done, "an event follows [DONE]: {}", text(event));
            let Some(data) = event.strip_prefix(b"data: ") else { bail!("no data event: {}", text(event)) };
            if data == DONE {
                self.is_done = true;
            } else if is_error(data) {
                bail!("the stream carries an error: {}", text(data));
            } else if has_content(data) {
                self.content_events += 1;
            }
        }
        self.unfinished = rest.to_vec();
        Ok(self.content_events - before)
    }

    /// Tells the number of events with content, once the body has ended.
    ///
    /// # Errors
    /// If the stream is not complete.
    pub fn finish(self) -> anyhow::Result<usize> {
        ensure!(self.is_done, "the stream ended after {} tokens without [DONE]", self.content_events);
        ensure!(self.unfinished.is_empty(), "bytes follow [DONE]: {}", text(&self.unfinished));
        Ok(self.content_events)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_error(data: &[u8]) -> bool {
    data.starts_with(br#"{"error""#)
}

/// Whether a chunk has text, by the spelling that the mock uses; parsing would cost the load generator more.
fn has_content(data: &[u8]) -> bool {
    const KEY: &[u8] = br#""content":""#;
    let value = data.windows(KEY.len()).position(|window| window == KEY);
    value.and_then(|at| data.get(at + KEY.len())).is_some_and(|&first| first != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Mock\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\" ans\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn a_stream_split_anywhere_has_the_same_tokens() {
        for split in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(split);
            let mut events = Events::default();
            let counted = events.push(head).unwrap() + events.push(tail).unwrap();
            assert_eq!((counted, events.finish().unwrap()), (2, 2), "split at {split}");
        }
    }

    #[test]
    fn a_stream_that_is_not_complete_is_refused() {
        for (stream, why) in [
            ("data: {\"choices\":[]}\n\n", "without [DONE]"),
            ("data: [DONE]\n", "without [DONE]"),
            ("data: [DONE]\n\ndata: {}", "bytes follow"),
        ] {
            let mut events = Events::default();
            events.push(stream.as_bytes()).unwrap();
            let error = events.finish().unwrap_err().to_string();
            assert!(error.contains(why), "{stream:?}: {error}");
        }
    }

    #[test]
    fn an_error_or_an_event_out_of_place_is_refused() {
        for (stream, why) in [
            ("data: {\"error\":{}}\n\n", "carries an error"),
            ("event: x\n\n", "no data event"),
            ("data: [DONE]\n\ndata: {}\n\n", "follows [DONE]"),
        ] {
            let error = Events::default().push(stream.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{stream:?}: {error}");
        }
    }
}
