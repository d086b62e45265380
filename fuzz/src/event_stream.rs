//! A stream from any provider: the same events wherever its frames are cut, and a truthful end.

use futures::executor::block_on;
use openai_types::Usage;
use openai_types::sse::{self, Splitter};
use relay::{
    Beat, ClientGone, Clock, End, Failure, Hold, Limits, MidStream, NoResume, Options, Report, Sink, Sleep,
    Source, SourceFailed, Spent, Unopened, open, relay,
};
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Splits the bytes into events and relays them, cut in several ways.
pub fn event_stream(data: &[u8]) {
    if data.strip_prefix(BOM).is_some_and(|rest| rest.starts_with(BOM)) {
        return; // the first is dropped, so a client would take the second for the mark
    }
    let expected = model(data);
    for frames in [vec![data], data.chunks(1).collect(), uneven(data)] {
        assert_eq!(split(&frames), expected, "events and what is left, however the bytes are cut");
    }
    for max_event_bytes in [0, 7, 64] {
        bounded(data, max_event_bytes);
    }
    for (choices, strip_usage) in [(1, false), (1, true), (2, false)] {
        let whole = relayed(&[data], choices, strip_usage);
        truthful(&whole, &expected.0, strip_usage);
        for frames in [data.chunks(1).collect(), uneven(data)] {
            let cut = relayed(&frames, choices, strip_usage);
            truthful(&cut, &expected.0, strip_usage);
            same(&whole, &cut);
        }
    }
    let is_complete = |choices| relayed(&[data], choices, false).end == End::Complete;
    assert!(
        !is_complete(2) || is_complete(1),
        "who asks for more gets no answer for whole that would not be"
    );
}

/// Frames of 1 to 16 bytes that depend on the bytes alone.
fn uneven(data: &[u8]) -> Vec<&[u8]> {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    let mut seed = hasher.finish();
    let (mut frames, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (frame, after) = rest.split_at((1 + (seed >> 60) as usize).min(rest.len()));
        frames.push(frame);
        rest = after;
    }
    frames
}

/// The `data` of each whole event, and the lines of the one that has not ended. By the words of the HTML standard:
/// ends of lines are made one, an empty line ends an event.
fn model(data: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    model_without_mark(data.strip_prefix(BOM).unwrap_or(data))
}

fn model_without_mark(data: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut text = Vec::new();
    let mut bytes = data.iter().peekable();
    while let Some(&byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&&b'\n');
        }
        text.push(if byte == b'\r' { b'\n' } else { byte });
    }
    let (mut events, mut event, mut rest) = (Vec::new(), Vec::<&[u8]>::new(), text.as_slice());
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if !line.is_empty() {
            event.push(line);
            continue;
        }
        let values = event.drain(..).filter_map(value).collect::<Vec<_>>();
        if !values.is_empty() {
            events.push(values.join(&b'\n'));
        }
    }
    let mut unfinished: Vec<u8> = event.into_iter().flat_map(|line| [line, b"\n"].concat()).collect();
    unfinished.extend_from_slice(rest);
    (events, unfinished)
}

fn value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.iter().position(|&b| b == b':').map_or((line, &b""[..]), |at| line.split_at(at));
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name == b"data").then(|| value.strip_prefix(b" ").unwrap_or(value))
}

fn split(frames: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut splitter = Splitter::new(usize::MAX);
    let (mut events, mut bytes) = (Vec::new(), Vec::new());
    for frame in frames {
        let Some(block) = splitter.push(frame).expect("there is no cap") else { continue };
        bytes.extend_from_slice(&block);
        let parts: Vec<_> = sse::events(&block).collect();
        assert_eq!(parts.concat(), block, "the events are the block");
        events.extend(parts.into_iter().filter_map(sse::data).map(|data| data.into_owned()));
    }
    let unfinished = model_without_mark(splitter.rest()).1;
    bytes.extend_from_slice(splitter.rest());
    let went_in = frames.concat();
    // A mark that has come only in part is no mark yet.
    assert_eq!(
        bytes,
        went_in.strip_prefix(BOM).unwrap_or(&went_in),
        "blocks and rest are the bytes that went in"
    );
    (events, unfinished)
}

fn bounded(data: &[u8], max_event_bytes: usize) {
    let mut splitter = Splitter::new(max_event_bytes);
    for frame in uneven(data) {
        if splitter.push(frame).is_err() {
            return;
        }
        // What may become a byte order mark is held, too.
        assert!(splitter.rest().len() <= max_event_bytes.max(BOM.len() - 1), "no more is held than allowed");
    }
}

/// What a client and the books see of a stream.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Whether anything was sent; if not, another upstream would be asked.
    is_opened: bool,
    end: End,
    events: Vec<Vec<u8>>,
    unfinished: Vec<u8>,
    spent: Spent,
    kept: Option<Vec<Vec<u8>>>,
}

struct Frames<'d>(std::slice::Iter<'d, &'d [u8]>);

impl Source for Frames<'_> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        Ok(self.0.next().map(|frame| frame.to_vec()))
    }
}

struct Client(Vec<u8>);

impl Sink for Client {
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone> {
        assert!(!data.is_empty(), "an empty write would end nothing and cost a frame");
        self.0.extend(data);
        Ok(())
    }
}

/// Nothing here waits.
struct Stopped;

impl Clock for Stopped {
    fn now_ms(&self) -> u64 {
        0
    }
    fn sleep(&self, _: u64) -> Sleep {
        Box::pin(std::future::pending())
    }
}

fn relayed(frames: &[&[u8]], choices: usize, strip_usage: bool) -> Seen {
    let never = u64::MAX;
    let limits = Limits {
        first_token_ms: never,
        idle_ms: never,
        total_ms: never,
        client_ms: never,
        max_event_bytes: usize::MAX,
        max_stream_bytes: usize::MAX,
    };
    let options = Options {
        choices,
        strip_usage,
        keep_bytes: usize::MAX,
        hold: Hold::UntilItSpeaks,
        mid_stream: MidStream::Fail,
        limits,
        beat: Beat { keepalive_ms: 0, probe_ms: 0 },
    };
    let source = Frames(frames.iter());
    block_on(async {
        let opened = match open(source, 0, &options, &Stopped, &relay::Heard::default()).await {
            Ok(opened) => opened,
            Err(Unopened { failure, spent }) => {
                let nothing = Vec::new;
                let end = End::Failed(failure);
                return Seen {
                    is_opened: false,
                    end,
                    events: vec![],
                    unfinished: nothing(),
                    spent,
                    kept: None,
                };
            }
        };
        let mut client = Client(Vec::new());
        let first = std::future::ready(Some(opened));
        let Report { end, spent, kept, .. } =
            relay(first, &mut NoResume::default(), &mut client, &options, &Stopped).await;
        let [spent] = spent.try_into().expect("one upstream");
        let (events, unfinished) = model_without_mark(&client.0);
        Seen {
            is_opened: true,
            end,
            events,
            unfinished,
            spent,
            kept: kept.map(|kept| model_without_mark(&kept).0),
        }
    })
}

/// However the bytes are cut, the end and the books are the same; only what is handed on of a stream that fails depends on
/// what had been handed on when it did.
fn same(whole: &Seen, cut: &Seen) {
    assert_eq!((&cut.end, cut.spent, &cut.kept), (&whole.end, whole.spent, &whole.kept));
    if whole.end == End::Complete {
        assert_eq!(cut, whole);
    } else {
        let (short, long) = if whole.events.len() < cut.events.len() { (whole, cut) } else { (cut, whole) };
        assert!(long.events.starts_with(&short.events));
    }
}

fn truthful(seen: &Seen, sent: &[Vec<u8>], strip_usage: bool) {
    let is_done = |data: &Vec<u8>| data.trim_ascii() == b"[DONE]";
    assert!(seen.unfinished.is_empty(), "the client is never left inside an event");
    match &seen.end {
        End::Complete => {
            let (last, before) = seen.events.split_last().expect("a complete stream has an end");
            assert!(is_done(last) && !before.iter().any(is_done), "exactly one [DONE], at the end");
            assert!(seen.kept.is_some(), "a complete stream is kept for the cache");
        }
        End::Failed(failure) => {
            assert!(!seen.events.iter().any(is_done), "a failed stream has no [DONE]");
            assert!(seen.kept.is_none(), "a failed stream is not kept");
            use Failure::{Empty, Malformed, Reported, Truncated};
            assert!(
                matches!(failure, Truncated | Empty | Malformed | Reported(_)),
                "nothing here is too large, too late or breaks off: {failure:?}"
            );
        }
        End::ClientGone => panic!("the client does not leave"),
    }
    let is_object = |data: &Vec<u8>| data.trim_ascii().first().is_none_or(|&b| b == b'{');
    assert!(
        seen.events.iter().all(|data| is_done(data) || is_object(data)),
        "only what may be an event of this API"
    );
    let mut handed_on = seen.events.iter().filter(|data| !is_done(data)).peekable();
    for data in sent {
        handed_on.next_if_eq(&data);
    }
    assert_eq!(handed_on.next(), None, "what the client sees is the provider's, in its order");
    if !strip_usage && seen.end == End::Complete {
        let until_done = sent.iter().take_while(|data| !is_done(data)).count();
        assert_eq!(seen.events.len(), until_done + 1, "nothing is held back that was asked for");
    }
    let Usage { prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens } =
        seen.spent.usage.unwrap_or_default();
    assert!(
        cached_tokens <= prompt_tokens && reasoning_tokens <= completion_tokens,
        "no part exceeds its whole"
    );
}
