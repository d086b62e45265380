//! How a stream ends, and what it adds up to.

use super::*;
use proptest::prelude::*;

fn reported() -> Failure {
    let body = ERROR.trim_start_matches("data: ").trim_end().as_bytes();
    Failure::Reported(Box::new(openai_types::ReportedError::parse(body).unwrap()))
}

#[test]
fn how_a_stream_ends_is_told_truthfully() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let two_lines = STOP.replace(",\"delta\"", ",\ndata:\"delta\"");
    let other_choice = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}\n\n";
    let other_stop = "data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
    let usage_in_choice =
        "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    let tool = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\"}}]}}]}\n\n";
    let half = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n";
    let whole = Ok(End::Complete);
    let cut = |failure: Failure| Ok(End::Failed(failure));
    let all = [ROLE, HELLO, STOP, DONE].concat();
    for (what, acts, end, got) in [
        ("whole", says(&[ROLE, HELLO, STOP, DONE]), whole.clone(), all.clone()),
        ("all at once", says(&[&all]), whole.clone(), all.clone()),
        ("byte by byte", all.bytes().map(|byte| say([byte])).collect(), whole.clone(), all.clone()),
        ("byte order mark", says(&["\u{feff}", &all]), whole.clone(), all.clone()),
        ("CR LF", says(&[&crlf(&all)]), whole.clone(), crlf(&all)),
        (
            "CR LF cut between",
            crlf(&all).split_inclusive('\r').map(|part| say(part.as_bytes())).collect(),
            whole.clone(),
            crlf(&all),
        ),
        ("CR alone", says(&[&all.replace('\n', "\r")]), whole.clone(), all.replace('\n', "\r")),
        (
            "data in two lines",
            says(&[HELLO, &two_lines, DONE]),
            whole.clone(),
            [HELLO, &two_lines, DONE].concat(),
        ),
        (
            "comments and named events",
            says(&[": ping\n\n", "event: ping\n\n", &all]),
            whole.clone(),
            [": ping\n\nevent: ping\n\n", &all].concat(),
        ),
        (
            "finish repeated",
            says(&[HELLO, STOP, STOP, DONE]),
            whole.clone(),
            [HELLO, STOP, STOP, DONE].concat(),
        ),
        ("no [DONE] but finished", says(&[HELLO, STOP]), whole.clone(), [HELLO, STOP, DONE].concat()),
        (
            "no [DONE], a chunk after the finish",
            says(&[HELLO, STOP, usage_in_choice]),
            whole.clone(),
            [HELLO, STOP, usage_in_choice, DONE].concat(),
        ),
        (
            "[DONE] without its empty line",
            says(&[HELLO, STOP, "data: [DONE]\n"]),
            whole.clone(),
            [HELLO, STOP, DONE].concat(),
        ),
        ("[DONE] without a finish", says(&[HELLO, DONE]), whole.clone(), [HELLO, DONE].concat()),
        ("more after [DONE]", says(&[HELLO, STOP, DONE, HELLO]), whole.clone(), [HELLO, STOP, DONE].concat()),
        ("an empty answer", says(&[ROLE, STOP, DONE]), whole.clone(), [ROLE, STOP, DONE].concat()),
        ("no role", says(&[HELLO, STOP, DONE]), whole.clone(), [HELLO, STOP, DONE].concat()),
        (
            "only a tool call",
            says(&[ROLE, tool, STOP, DONE]),
            whole.clone(),
            [ROLE, tool, STOP, DONE].concat(),
        ),
        ("half a surrogate pair", says(&[half, STOP, DONE]), whole.clone(), [half, STOP, DONE].concat()),
        (
            "a choice unfinished",
            says(&[HELLO, other_choice, STOP]),
            cut(Failure::Truncated),
            [HELLO, other_choice, STOP].concat(),
        ),
        (
            "both finished",
            says(&[HELLO, other_choice, STOP, other_stop]),
            whole.clone(),
            [HELLO, other_choice, STOP, other_stop, DONE].concat(),
        ),
        ("cut after content", says(&[ROLE, HELLO]), cut(Failure::Truncated), [ROLE, HELLO].concat()),
        ("cut inside an event", says(&[HELLO, "data: {\"cho"]), cut(Failure::Truncated), HELLO.to_owned()),
        (
            "broken off",
            vec![say(HELLO), Act::Break],
            cut(Failure::Source(SourceFailed::Broken("reset".into()))),
            HELLO.to_owned(),
        ),
        (
            "broken off after the finish",
            vec![say(HELLO), say(STOP), Act::Break],
            whole.clone(),
            [HELLO, STOP, DONE].concat(),
        ),
        (
            "hangs after the finish",
            vec![say(HELLO), say(STOP), Act::Hang],
            whole.clone(),
            [HELLO, STOP, DONE].concat(),
        ),
        (
            "[DONE] without a finish and without its empty line",
            says(&[HELLO, "data: [DONE]\n"]),
            whole.clone(),
            [HELLO, DONE].concat(),
        ),
        (
            "malformed",
            says(&[HELLO, &[HELLO, "data: {\"choices\":[{]}\n\n", STOP].concat()]),
            cut(Failure::Malformed),
            [HELLO, HELLO].concat(),
        ),
        ("not an object", says(&[HELLO, "data: 7\n\n"]), cut(Failure::Malformed), HELLO.to_owned()),
        ("an error", says(&[HELLO, ERROR, STOP, DONE]), cut(reported()), HELLO.to_owned()),
        // Before it speaks, everything is a failure that the caller can still mend.
        ("nothing", says(&[]), Err(Failure::Truncated), String::new()),
        ("empty reads, then nothing", says(&["", ""]), Err(Failure::Truncated), String::new()),
        ("a role, then nothing", says(&[ROLE]), Err(Failure::Truncated), String::new()),
        ("comments, then nothing", says(&[": processing\n\n"]), Err(Failure::Truncated), String::new()),
        ("[DONE] alone", says(&[DONE]), Err(Failure::Empty), String::new()),
        ("role and [DONE]", says(&[ROLE, DONE]), Err(Failure::Empty), String::new()),
        ("usage and [DONE]", says(&[USAGE, DONE]), Err(Failure::Empty), String::new()),
        ("an error first", says(&[ROLE, ERROR]), Err(reported()), String::new()),
        (
            "an error beside the first text",
            says(&[&[ROLE, HELLO, ERROR].concat()]),
            Err(reported()),
            String::new(),
        ),
        ("nonsense", says(&["data: {\n\n"]), Err(Failure::Malformed), String::new()),
        ("a web page", says(&["<html>\n\n</html>"]), Err(Failure::Truncated), String::new()),
        (
            "a reset",
            vec![say(ROLE), Act::Break],
            Err(Failure::Source(SourceFailed::Broken("reset".into()))),
            String::new(),
        ),
    ] {
        let world = World::default();
        let mut client = Client::new(&world);
        let report = alone(&world, acts, &OPTIONS, &mut client);
        let kept = report.as_ref().ok().map(|report| report.kept.clone());
        assert_eq!(report.map(|report| report.end).map_err(|failed| failed.failure), end, "{what}");
        assert_eq!(client.text(), got, "{what}");
        if let Some(kept) = kept {
            let expected = (end == Ok(End::Complete)).then(|| got.replace(": ping\n\nevent: ping\n\n", ""));
            assert_eq!(kept.map(|kept| String::from_utf8(kept).unwrap()), expected, "{what}: what is kept");
        }
    }
}

#[test]
fn of_several_choices_that_were_asked_for_all_must_finish_unless_the_provider_says_that_it_is_done() {
    let (other, other_stop) = (HELLO.replace(":0,", ":1,"), STOP.replace(":0,", ":1,"));
    let (other, other_stop) = (other.as_str(), other_stop.as_str());
    let broken = Failure::Source(SourceFailed::Broken("reset".into()));
    for (what, acts, end) in [
        ("cut between two choices", says(&[HELLO, STOP]), End::Failed(Failure::Truncated)),
        ("broken off there", vec![say(HELLO), say(STOP), Act::Break], End::Failed(broken.clone())),
        ("quiet there", vec![say(HELLO), say(STOP), Act::Hang], End::Failed(Failure::Late(Late::Idle))),
        (
            "quiet for a while",
            vec![say(HELLO), say(STOP), Act::Wait(9_000), say(other)],
            End::Failed(Failure::Truncated),
        ),
        ("both finished", says(&[HELLO, STOP, other, other_stop]), End::Complete),
        (
            "broken off after that",
            [says(&[HELLO, other, other_stop, STOP]), vec![Act::Break]].concat(),
            End::Complete,
        ),
        ("one, and it says that this is all", says(&[HELLO, STOP, DONE]), End::Complete),
    ] {
        let world = World::default();
        let mut client = Client::new(&world);
        let options = Options { choices: 2, ..OPTIONS };
        let report = alone(&world, acts, &options, &mut client).unwrap();
        assert_eq!(report.end, end, "{what}");
        assert_eq!(client.text().contains("[DONE]"), end == End::Complete, "{what}");
        assert_eq!(report.kept.is_some(), end == End::Complete, "{what}");
    }
}

#[test]
fn a_chunk_that_says_all_so_far_beside_its_delta_is_counted_by_the_delta() {
    let both = |message: &str, delta: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"message\":{{\"content\":\"{message}\"}},\"delta\":{{\"content\":\"{delta}\"}}}}]}}\n\n"
        )
    };
    let acts =
        vec![say(both("", "")), say(both("Hel", "Hel")), say(both("Hello", "lo")), say(STOP), say(DONE)];
    let world = World::default();
    let mut client = Client::new(&world);
    let report = alone(&world, acts, &OPTIONS, &mut client).unwrap();
    assert_eq!((report.end, report.spent[0].generated), (End::Complete, generated(5, 0)));
    assert!(client.text().contains(&both("Hello", "lo")), "handed on as it came");
}

#[test]
fn every_way_to_report_an_error_is_one() {
    for (event, status) in [
        (ERROR, 529),
        ("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}\n\n", 429),
        ("event: error\ndata: overloaded\n\n", 500),
        ("data: {\"error\":\"boom\"}\n\n", 500),
        ("data: {\"object\":\"error\",\"code\":400}\n\n", 400),
        (
            "data: {\"error\":{\"code\":502},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
            502,
        ),
        ("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n", 500),
    ] {
        let world = World::default();
        let failed = alone(&world, says(&[ROLE, event]), &OPTIONS, &mut Client::new(&world)).unwrap_err();
        let Failure::Reported(error) = failed.failure else { panic!("{event}: {:?}", failed.failure) };
        assert_eq!(error.status, status, "{event}");
        let mut client = Client::new(&world);
        let report = alone(&world, says(&[HELLO, event]), &OPTIONS, &mut client).unwrap();
        assert_eq!(report.end, End::Failed(Failure::Reported(error)), "{event}");
        assert_eq!(client.text(), HELLO, "it is the caller's to tell");
    }
}

#[test]
fn usage_is_the_last_word_and_held_back_only_if_the_client_did_not_ask() {
    let each = |n: u32| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{{\"prompt_tokens\":7,\"completion_tokens\":{n}}}}}\n\n"
        )
    };
    for strip_usage in [true, false] {
        let world = World::default();
        let mut client = Client::new(&world);
        let acts = says(&[&each(1), HELLO, &each(3), STOP, USAGE, DONE]);
        let report = alone(&world, acts, &Options { strip_usage, ..OPTIONS }, &mut client).unwrap();
        let [Spent { usage: Some(usage), generated }] = report.spent[..] else { panic!("{report:?}") };
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, generated), (7, 2, super::generated(6, 1)));
        assert_eq!(client.text().contains(USAGE), !strip_usage);
        assert!(client.text().contains("\"completion_tokens\":3"), "chunks with choices pass");
        let kept = String::from_utf8(report.kept.unwrap()).unwrap();
        assert!(kept.ends_with(&[STOP, USAGE, DONE].concat()), "the cache gets the usage either way: {kept}");
    }
    let world = World::default();
    let report = alone(&world, says(&[HELLO, STOP, DONE]), &OPTIONS, &mut Client::new(&world)).unwrap();
    assert_eq!(
        report.spent,
        [Spent { usage: None, generated: generated(4, 1) }],
        "no usage is none, not zero"
    );
}

#[test]
fn every_bound_on_bytes_holds() {
    let run = |acts, options: &Options| {
        let world = World::default();
        let mut client = Client::new(&world);
        (alone(&world, acts, options, &mut client), client)
    };
    let mut options = OPTIONS;
    options.limits.max_stream_bytes = HELLO.len() * 10;
    let (report, client) = run(says(&[HELLO; 1000]), &options);
    assert_eq!(
        report.unwrap().end,
        End::Failed(Failure::TooLarge { max_bytes: HELLO.len() * 10 }),
        "a runaway stream"
    );
    assert_eq!(client.got.len(), HELLO.len() * 10);

    let mut options = OPTIONS;
    options.limits.max_event_bytes = 4;
    assert_eq!(run(says(&["data: "]), &options).0.unwrap_err().failure, Failure::TooLarge { max_bytes: 4 });
    assert_eq!(
        run(says(&[HELLO, "data: "]), &options).0.unwrap().end,
        End::Failed(Failure::TooLarge { max_bytes: 4 })
    );

    let options = Options { keep_bytes: ROLE.len(), ..OPTIONS };
    let (report, _) = run(says(&[ROLE, STOP, DONE]), &options);
    let report = report.unwrap();
    assert!(report.end == End::Complete && report.kept.is_none(), "too long to keep is not kept in part");
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_is_never_passed_as_whole(cut in 0usize..700, frame in 1usize..50, reset in any::<bool>()) {
        let whole = [ROLE, HELLO, HELLO, STOP, USAGE, DONE].concat().into_bytes();
        let finished_at = [ROLE, HELLO, HELLO, STOP].concat().len();
        let cut = cut.min(whole.len());
        let mut acts: Vec<_> = whole[..cut].chunks(frame).map(say).collect();
        if reset {
            acts.push(Act::Break);
        }
        let world = World::default();
        let mut client = Client::new(&world);
        let report = alone(&world, acts, &OPTIONS, &mut client);
        let got = client.text();
        if cut >= finished_at {
            prop_assert_eq!(report.unwrap().end, End::Complete);
            prop_assert!(got.ends_with(DONE));
        } else {
            prop_assert!(matches!(report.map(|report| report.end), Err(_) | Ok(End::Failed(_))));
            prop_assert!(!got.contains("[DONE]"));
            prop_assert!(got.is_empty() || got.ends_with("\n\n"), "only whole events reach the client");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass_as_whole(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
    ) {
        let world = World::default();
        let report = alone(&world, frames.into_iter().map(say).collect(), &OPTIONS, &mut Client::new(&world));
        prop_assert!(report.map(|report| report.end) != Ok(End::Complete));
    }

    #[test]
    fn json_of_any_shape_never_panics(
        pieces in prop::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just(":"), Just(","), Just("\"choices\""), Just("\"delta\""),
            Just("\"content\""), Just("\"index\""), Just("\"tool_calls\""), Just("\"error\""), Just("\"usage\""), Just("null"),
            Just("7"), Just("-1"), Just("1e999"), Just("\"\\ud800\""), Just("\"a\\\"b\""), Just("\n\ndata: "),
        ], 0..30),
    ) {
        let world = World::default();
        let options = Options { mid_stream: MidStream::Continue, ..OPTIONS };
        let text = format!("{HELLO}data: {}\n\n", pieces.concat());
        let _ = alone(&world, says(&[&text]), &options, &mut Client::new(&world));
    }
}
