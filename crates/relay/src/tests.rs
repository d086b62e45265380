use super::*;
use futures::executor::block_on;
use proptest::prelude::*;

struct Script(std::vec::IntoIter<Result<Vec<u8>, SourceFailed>>);

impl Source for Script {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        self.0.next().transpose()
    }
}

#[derive(Default)]
struct Client {
    got: Vec<u8>,
    leaves_after: Option<usize>,
}

impl Sink for Client {
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone> {
        if self.leaves_after.is_some_and(|n| self.got.len() >= n) {
            return Err(ClientGone);
        }
        self.got.extend(data);
        Ok(())
    }
}

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
const HELLO: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\u{e9}llo\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n";
const DONE_EVENT: &str = "data: [DONE]\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";

const OPTIONS: Options =
    Options { strip_usage: true, max_event_bytes: 1 << 16, max_stream_bytes: 1 << 20, keep_bytes: 1 << 16 };

fn run(frames: Vec<Result<Vec<u8>, SourceFailed>>, options: Options, client: &mut Client) -> Report {
    block_on(relay(&mut Script(frames.into_iter()), client, options, || 42))
}

fn text(parts: &[&str]) -> Vec<Result<Vec<u8>, SourceFailed>> {
    parts.iter().map(|p| Ok(p.as_bytes().to_vec())).collect()
}

#[test]
fn how_a_stream_ends_is_told_truthfully() {
    let broken = Err(SourceFailed::Broken("reset".into()));
    let with = |mut frames: Vec<_>, last: Result<Vec<u8>, SourceFailed>| {
        frames.push(last);
        frames
    };
    for (what, frames, end, got) in [
        (
            "whole",
            text(&[ROLE, HELLO, STOP, DONE_EVENT]),
            End::Complete,
            [ROLE, HELLO, STOP, DONE_EVENT].concat(),
        ),
        ("no [DONE] but finished", text(&[ROLE, STOP]), End::Complete, [ROLE, STOP, DONE_EVENT].concat()),
        (
            "[DONE] without its empty line",
            text(&[ROLE, STOP, "data: [DONE]\n"]),
            End::Complete,
            [ROLE, STOP, DONE_EVENT].concat(),
        ),
        ("nothing at all", text(&[]), End::Failed(Failure::Truncated), String::new()),
        ("cut after content", text(&[ROLE, HELLO]), End::Failed(Failure::Truncated), [ROLE, HELLO].concat()),
        (
            "cut inside an event",
            text(&[ROLE, "data: {\"cho"]),
            End::Failed(Failure::Truncated),
            ROLE.to_owned(),
        ),
        (
            "broken off",
            with(text(&[ROLE, HELLO]), broken.clone()),
            End::Failed(Failure::Source(SourceFailed::Broken("reset".into()))),
            [ROLE, HELLO].concat(),
        ),
        (
            "broken off after the finish",
            with(text(&[ROLE, STOP]), broken),
            End::Complete,
            [ROLE, STOP, DONE_EVENT].concat(),
        ),
        (
            "silent",
            with(text(&[ROLE]), Err(SourceFailed::Idle)),
            End::Failed(Failure::Source(SourceFailed::Idle)),
            ROLE.to_owned(),
        ),
        (
            "malformed in the middle of a block",
            text(&[&[ROLE, HELLO, "data: {\"choices\":[{]}\n\n", STOP, DONE_EVENT].concat()]),
            End::Failed(Failure::Malformed),
            [ROLE, HELLO].concat(),
        ),
        (
            "an error inside a 200",
            text(&[ROLE, ERROR, STOP, DONE_EVENT]),
            End::Failed(Failure::Reported),
            [ROLE, ERROR].concat(),
        ),
        (
            "comments and CRLF pass",
            text(&[
                ": ping\r\n\r\n",
                "data:{\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\ndata:[DONE]\r\n\r\nx",
            ]),
            End::Complete,
            ": ping\r\n\r\ndata:{\"choices\":[{\"finish_reason\":\"stop\"}]}\r\n\r\ndata:[DONE]\r\n\r\n"
                .to_owned(),
        ),
    ] {
        let mut client = Client::default();
        let report = run(frames, OPTIONS, &mut client);
        assert_eq!(report.end, end, "{what}");
        assert_eq!(String::from_utf8(client.got).unwrap(), got, "{what}");
        assert_eq!(report.kept.is_some(), end == End::Complete, "{what}: only a whole answer is kept");
    }
}

#[test]
fn usage_is_taken_and_held_back_only_if_the_client_did_not_ask() {
    for strip_usage in [true, false] {
        let mut client = Client::default();
        let report = run(
            text(&[ROLE, HELLO, STOP, USAGE, DONE_EVENT]),
            Options { strip_usage, ..OPTIONS },
            &mut client,
        );
        let usage = report.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (7, 2));
        assert_eq!(String::from_utf8_lossy(&client.got).contains("\"usage\""), !strip_usage);
        assert_eq!(report.generated_bytes, "h\u{e9}llo".len());
        assert_eq!(report.first_content_at, Some(42));
        let kept = String::from_utf8(report.kept.unwrap()).unwrap();
        assert_eq!(
            kept,
            [ROLE, HELLO, STOP, USAGE, DONE_EVENT].concat(),
            "the cache gets the usage either way"
        );
    }
}

#[test]
fn a_usage_repeated_in_every_chunk_is_counted_once() {
    let chunk = |n: u32| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{{\"prompt_tokens\":7,\"completion_tokens\":{n}}}}}\n\n"
        )
    };
    let mut client = Client::default();
    let report = run(text(&[&chunk(1), &chunk(2), &chunk(3), STOP, DONE_EVENT]), OPTIONS, &mut client);
    assert_eq!(report.usage.unwrap().completion_tokens, 3);
    assert!(
        String::from_utf8_lossy(&client.got).contains("\"completion_tokens\":2"),
        "chunks with choices pass"
    );
}

#[test]
fn all_choices_must_have_ended() {
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n";
    let report = run(text(&[ROLE, other, STOP]), OPTIONS, &mut Client::default());
    assert_eq!(report.end, End::Failed(Failure::Truncated));
}

#[test]
fn a_client_that_leaves_ends_the_stream_and_keeps_the_count() {
    let mut client = Client { leaves_after: Some(1), ..Client::default() };
    let report = run(text(&[ROLE, HELLO, HELLO, STOP, DONE_EVENT]), OPTIONS, &mut client);
    assert_eq!(report.end, End::ClientGone);
    assert_eq!(report.generated_bytes, "h\u{e9}llo".len(), "what was read is counted, what was not is not");
    assert!(report.kept.is_none());
}

#[test]
fn every_bound_holds() {
    let endless: Vec<&str> = std::iter::repeat_n(HELLO, 1000).collect();
    let options = Options { max_stream_bytes: HELLO.len() * 10, ..OPTIONS };
    let mut client = Client::default();
    assert_eq!(run(text(&endless), options, &mut client).end, End::Failed(Failure::TooLarge));
    assert_eq!(client.got.len(), HELLO.len() * 10);

    let options = Options { max_event_bytes: 4, ..OPTIONS };
    assert_eq!(run(text(&["data: "]), options, &mut Client::default()).end, End::Failed(Failure::TooLarge));

    let options = Options { keep_bytes: ROLE.len(), ..OPTIONS };
    let report = run(text(&[ROLE, STOP, DONE_EVENT]), options, &mut Client::default());
    assert!(report.end == End::Complete && report.kept.is_none(), "too long to keep is not kept in part");
}

#[test]
fn a_stream_that_fails_before_its_first_byte_is_not_opened() {
    let idle = || Err(SourceFailed::Idle);
    for (frames, failure) in [
        (text(&[]), Failure::Truncated),
        (text(&["", ""]), Failure::Truncated),
        (vec![idle()], Failure::Source(SourceFailed::Idle)),
        (vec![Ok(Vec::new()), idle()], Failure::Source(SourceFailed::Idle)),
    ] {
        assert_eq!(block_on(open(Script(frames.into_iter()))).map(|_| ()), Err(failure));
    }
}

#[test]
fn an_answer_begins_with_its_first_text_or_what_says_that_there_will_be_none() {
    for (what, frames, held) in [
        ("text", text(&[ROLE, HELLO, STOP]), vec![ROLE, HELLO]),
        ("a finish without text", text(&[ROLE, STOP, DONE_EVENT]), vec![ROLE, STOP]),
        ("the end", text(&[DONE_EVENT, "x"]), vec![DONE_EVENT]),
        ("an error", text(&[ROLE, ERROR, "x"]), vec![ROLE, ERROR]),
        ("nonsense", text(&["data: {\n\n", "x"]), vec!["data: {\n\n"]),
        ("a sign of life", text(&[": ping\n\n", ROLE]), vec![": ping\n\n"]),
        ("a role, then nothing", text(&[ROLE]), vec![ROLE]),
        ("half an event, then nothing", text(&["data: [DO"]), vec!["data: [DO"]),
    ] {
        let opened = block_on(open(Script(frames.into_iter()))).unwrap();
        assert_eq!(String::from_utf8(opened.first.unwrap()).unwrap(), held.concat(), "{what}");
    }
    let endless: Vec<&str> = std::iter::repeat_n(ROLE, 2_000).collect();
    let opened = block_on(open(Script(text(&endless).into_iter()))).unwrap();
    assert!(opened.first.unwrap().len() <= MAX_OPENING_BYTES + ROLE.len());
}

#[test]
fn an_opened_stream_loses_nothing() {
    let mut opened = block_on(open(Script(text(&["", ROLE, STOP, DONE_EVENT]).into_iter()))).unwrap();
    let mut client = Client::default();
    let report = block_on(relay(&mut opened, &mut client, OPTIONS, || 0));
    assert_eq!((report.end, client.got), (End::Complete, [ROLE, STOP, DONE_EVENT].concat().into_bytes()));
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_is_never_passed_as_whole(cut in 0usize..600, frame in 1usize..50, reset in any::<bool>()) {
        let whole = [ROLE, HELLO, HELLO, STOP, USAGE, DONE_EVENT].concat().into_bytes();
        let finished_at = [ROLE, HELLO, HELLO, STOP].concat().len();
        let cut = cut.min(whole.len());
        let mut frames: Vec<_> = whole[..cut].chunks(frame).map(|c| Ok(c.to_vec())).collect();
        if reset {
            frames.push(Err(SourceFailed::Broken("reset".into())));
        }
        let mut client = Client::default();
        let report = run(frames, OPTIONS, &mut client);
        let got = String::from_utf8(client.got).unwrap();
        if cut >= finished_at {
            prop_assert_eq!(report.end, End::Complete);
            prop_assert!(got.ends_with(DONE_EVENT));
        } else {
            prop_assert!(matches!(report.end, End::Failed(_)));
            prop_assert!(!got.contains("[DONE]"));
            prop_assert!(got.is_empty() || got.ends_with("\n\n"), "only whole events reach the client");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass_as_whole(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let report = run(frames.into_iter().map(Ok).collect(), OPTIONS, &mut Client::default());
        prop_assert!(report.end != End::Complete);
    }
}
