//! Server-sent events: splits a byte stream into whole events, wherever its frames were cut.
//!
//! Follows the event stream grammar of the HTML standard
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>): lines end with LF, CR LF
//! or CR, and an empty line ends an event. Events come out as the bytes that went in, so they can be handed on
//! untouched. What an event means is not decided here.
//!
//! Invariant: the blocks that come out, followed by [`Splitter::rest`], are the bytes that went in, but for a byte order
//! mark at the very beginning, which the grammar drops and some clients choke on.

use bytes::{Bytes, BytesMut};
use std::borrow::Cow;

/// An event grew over the cap before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {max_bytes} bytes")]
pub struct EventTooLarge {
    /// The cap, in bytes.
    pub max_bytes: usize,
}

/// Collects bytes and gives back whole events.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// Bytes of `buffer` that have been scanned.
    scanned: usize,
    /// End of the last whole event in `buffer`.
    whole: usize,
    line: LineState,
    /// The first three bytes are yet to be seen; a byte order mark among them goes.
    may_have_bom: bool,
    max_event_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// At the start of a line: another line end makes the line empty and ends the event.
    Start,
    /// Inside a line.
    Inside,
    /// Just after a CR that ended a line; an LF now belongs to that same line end.
    AfterCr {
        /// Whether that CR ended an empty line, and so an event.
        ended_event: bool,
    },
}

impl Splitter {
    /// A splitter that holds at most `max_event_bytes` of an unfinished event.
    pub fn new(max_event_bytes: usize) -> Self {
        Splitter {
            buffer: BytesMut::new(),
            scanned: 0,
            whole: 0,
            line: LineState::Start,
            may_have_bom: true,
            max_event_bytes,
        }
    }

    /// Takes in the next bytes and returns all events that are now whole, as one block.
    ///
    /// # Errors
    /// [`EventTooLarge`] when the unfinished event exceeds the cap; the stream cannot be followed further.
    pub fn push(&mut self, data: &[u8]) -> Result<Option<Bytes>, EventTooLarge> {
        self.buffer.extend_from_slice(data);
        if self.may_have_bom {
            if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
                return Ok(None);
            }
            self.may_have_bom = false;
            if self.buffer.starts_with(BOM) {
                let _dropped = self.buffer.split_to(BOM.len());
            }
        }
        for &byte in self.buffer.get(self.scanned..).unwrap_or_default() {
            self.scanned += 1;
            self.line = match (self.line, byte) {
                (LineState::AfterCr { ended_event }, b'\n') => {
                    if ended_event {
                        self.whole = self.scanned;
                    }
                    LineState::Start
                }
                (LineState::Start, b'\n') => {
                    self.whole = self.scanned;
                    LineState::Start
                }
                (LineState::Inside, b'\n') => LineState::Start,
                (LineState::Start | LineState::AfterCr { .. }, b'\r') => {
                    self.whole = self.scanned;
                    LineState::AfterCr { ended_event: true }
                }
                (LineState::Inside, b'\r') => LineState::AfterCr { ended_event: false },
                _ => LineState::Inside,
            };
        }
        if self.scanned - self.whole > self.max_event_bytes {
            return Err(EventTooLarge { max_bytes: self.max_event_bytes });
        }
        if self.whole == 0 {
            return Ok(None);
        }
        let block = self.buffer.split_to(self.whole).freeze();
        self.scanned -= self.whole;
        self.whole = 0;
        Ok(Some(block))
    }

    /// The bytes of an event that has not ended.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

const BOM: &[u8] = "\u{feff}".as_bytes();

/// The events of a block that [`Splitter::push`] returned, each with the empty line that ends it.
pub fn events(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (event, after) = rest.split_at_checked(end_of_first_event(rest))?;
        rest = after;
        Some(event)
    })
}

fn end_of_first_event(block: &[u8]) -> usize {
    let mut line_is_empty = true;
    let mut bytes = block.iter().enumerate().peekable();
    while let Some((at, &byte)) = bytes.next() {
        let line_end = match byte {
            b'\n' => at + 1,
            b'\r' => match bytes.next_if(|&(_, &next)| next == b'\n') {
                Some((lf_at, _)) => lf_at + 1,
                None => at + 1,
            },
            _ => {
                line_is_empty = false;
                continue;
            }
        };
        if line_is_empty {
            return line_end;
        }
        line_is_empty = true;
    }
    block.len()
}

/// The value of the event's `data` field, its lines joined by LF; `None` when it has none (a comment, a bare
/// `event:` line, an empty event).
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut joined: Option<Cow<'_, [u8]>> = None;
    for value in fields(event, b"data") {
        joined = Some(match joined {
            None => Cow::Borrowed(value),
            Some(before) => {
                let mut before = before.into_owned();
                before.push(b'\n');
                before.extend_from_slice(value);
                Cow::Owned(before)
            }
        });
    }
    joined
}

/// The event's name, the last value of its `event` field; `None` when it has none.
pub fn name(event: &[u8]) -> Option<&[u8]> {
    fields(event, b"event").last()
}

fn fields<'a>(event: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    event.split(|&byte| byte == b'\n' || byte == b'\r').filter_map(move |line| {
        match line.strip_prefix(name) {
            Some([]) => Some(&[][..]),
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Some(value),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious reading of the grammar, over the whole text at once.
    fn naive_events(text: &str) -> (Vec<Option<String>>, String) {
        let (mut events, mut data, mut has_data, mut line) =
            (Vec::new(), String::new(), false, String::new());
        let (mut rest, mut chars) = (String::new(), text.chars().peekable());
        while let Some(c) = chars.next() {
            rest.push(c);
            if c == '\r' && chars.peek() == Some(&'\n') {
                rest.push('\n');
                chars.next();
            } else if c != '\n' && c != '\r' {
                line.push(c);
                continue;
            }
            if line.is_empty() {
                events.push(has_data.then(|| std::mem::take(&mut data)));
                (has_data, rest) = (false, String::new());
            } else if let Some(value) = line.strip_prefix("data")
                && let Some(value) = value.strip_prefix(':').or(value.is_empty().then_some(""))
            {
                if has_data {
                    data.push('\n');
                }
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
                has_data = true;
            }
            line.clear();
        }
        (events, rest)
    }

    fn run(frames: &[&[u8]]) -> (Vec<Option<String>>, Vec<u8>, Vec<u8>) {
        let (mut splitter, mut out, mut raw) = (Splitter::new(1 << 20), Vec::new(), Vec::new());
        for frame in frames {
            if let Some(block) = splitter.push(frame).unwrap() {
                raw.extend_from_slice(&block);
                out.extend(
                    events(&block).map(|e| data(e).map(|d| String::from_utf8(d.into_owned()).unwrap())),
                );
            }
        }
        (out, raw, splitter.rest().to_vec())
    }

    proptest! {
        #[test]
        fn events_are_the_same_wherever_the_frames_are_cut(
            pieces in prop::collection::vec(prop_oneof![
                Just("data: {\"a\":1}"), Just("data:x"), Just("data"), Just(": comment"), Just("event: ping"),
                Just("\n"), Just("\n"), Just("\r\n"), Just("\n\n"), Just("é漢😀"), Just("data: é漢😀"),
            ], 0..40),
            cuts in prop::collection::vec(0usize..300, 0..12),
        ) {
            let text: String = pieces.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&c| c < text.len()).collect();
            cuts.sort_unstable();
            let (mut frames, mut from) = (Vec::new(), 0);
            for cut in cuts {
                // A CR and its LF are one line end; cut between them an empty event could only come out later.
                if text.as_bytes()[..cut].last() != Some(&b'\r') {
                    frames.push(&text.as_bytes()[from..cut]);
                    from = cut;
                }
            }
            frames.push(&text.as_bytes()[from..]);
            let (got, raw, rest) = run(&frames);
            let (expected, expected_rest) = naive_events(&text);
            prop_assert_eq!(got, expected);
            prop_assert_eq!([raw, rest.clone()].concat(), text.as_bytes());
            prop_assert_eq!(rest, expected_rest.as_bytes());
        }

        #[test]
        fn arbitrary_bytes_come_out_as_they_went_in(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..20)) {
            let mut splitter = Splitter::new(1 << 20);
            let went_in = frames.concat();
            let mut out = Vec::new();
            for frame in &frames {
                if let Some(block) = splitter.push(frame).unwrap() {
                    prop_assert_eq!(events(&block).collect::<Vec<_>>().concat(), block.as_ref());
                    out.extend_from_slice(&block);
                }
            }
            out.extend_from_slice(splitter.rest());
            prop_assert_eq!(&out, went_in.strip_prefix(BOM).unwrap_or(&went_in));
        }
    }

    #[test]
    fn a_byte_order_mark_goes_if_it_stands_first_however_it_is_cut() {
        let text = "\u{feff}data: a\n\n\u{feff}data: b\n\n".as_bytes();
        for at in 0..text.len() {
            let (before, after) = text.split_at(at);
            let (got, raw, rest) = run(&[before, after]);
            assert_eq!(got, [Some("a".to_owned()), None], "cut at {at}: the second mark hides a field");
            assert_eq!([raw, rest].concat(), text[3..], "cut at {at}");
        }
        let (got, ..) = run(&[b"\xef", b"\xbb", b"data: a\n\n"]);
        assert_eq!(got, [None], "two thirds of a mark are none");
    }

    #[test]
    fn an_event_is_named_by_its_last_event_field() {
        for (event, expected) in [
            ("data: x\n\n", None),
            ("event: error\ndata: x\n\n", Some("error")),
            ("event:a\r\nevent: b\r\n\r\n", Some("b")),
            ("event\n\n", Some("")),
            ("events: x\n\n", None),
            (": event: x\n\n", None),
        ] {
            assert_eq!(name(event.as_bytes()), expected.map(str::as_bytes), "{event:?}");
        }
    }

    #[test]
    fn a_cr_lf_cut_in_the_middle_yields_no_data_twice() {
        let (got, raw, rest) = run(&[b"data: a\r\n\r", b"\ndata: b\r\n\r\n"]);
        let data: Vec<_> = got.into_iter().flatten().collect();
        assert_eq!(data, ["a", "b"]);
        assert_eq!([raw, rest].concat(), b"data: a\r\n\r\ndata: b\r\n\r\n");
    }

    #[test]
    fn an_event_without_end_is_refused_at_the_cap() {
        let mut splitter = Splitter::new(8);
        assert_eq!(splitter.push(b"data: 12"), Ok(None));
        assert_eq!(splitter.push(b"3"), Err(EventTooLarge { max_bytes: 8 }));
        let mut splitter = Splitter::new(8);
        assert!(splitter.push(b"data: 1\n\ndata: 2\n\n").unwrap().is_some(), "whole events do not count");
    }
}
