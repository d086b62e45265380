//! What is held back before a stream is handed on.

use super::*;

fn opened(acts: Vec<Act>, options: &Options) -> Opened<Upstream> {
    let world = World::default();
    world.run(open(Upstream::new(&world, acts), 0, options, &world, &Heard::default())).unwrap()
}

#[test]
fn an_answer_begins_with_its_first_word_and_nothing_less() {
    let chunk = |delta: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
    for delta in [
        r#"{"content":"a"}"#,
        r#"{"refusal":"no"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"reasoning_content":"hm"}"#,
        r#"{"tool_calls":[{"index":0,"id":"x"}]}"#,
        r#"{"function_call":{"name":"f"}}"#,
    ] {
        let held = opened(vec![say(ROLE), say(chunk(delta)), Act::Hang], &OPTIONS).held;
        assert_eq!(String::from_utf8(held.forward).unwrap(), [ROLE, &chunk(delta)].concat(), "{delta}");
    }
    assert_eq!(
        opened(vec![say(ROLE), say(STOP), Act::Hang], &OPTIONS).held.forward.len(),
        ROLE.len() + STOP.len()
    );
    for nothing in
        [ROLE, ": a comment\n\n", USAGE, &chunk(r#"{"content":null,"tool_calls":[]}"#), "data:\n\n"]
    {
        let world = World::default();
        let failed =
            alone(&world, vec![say(nothing), Act::Hang], &OPTIONS, &mut Client::new(&world)).unwrap_err();
        assert_eq!(failed.failure, Failure::Late(Late::FirstToken), "{nothing}");
        assert!(!failed.spent.is_something() || nothing == USAGE);
    }
}

#[test]
fn what_is_held_before_it_speaks_is_bounded_in_events_and_bytes() {
    let held = opened(says(&[ROLE; 1000]), &OPTIONS).held;
    assert_eq!(held.events, 65);
    let comment = format!(": {}\n\n", "x".repeat(1000));
    let held = opened(says(&vec![comment.as_str(); 1000]), &OPTIONS).held;
    assert!((256 * 1024..258 * 1024).contains(&held.forward.len()), "{}", held.forward.len());
}

#[test]
fn a_buffered_stream_fails_unseen_until_it_is_whole() {
    let options = Options { hold: Hold::UntilWhole { max_bytes: 1 << 20 }, ..OPTIONS };
    let world = World::default();
    let mut client = Client::new(&world);
    let acts = vec![say(ROLE), say(HELLO), say(HELLO), Act::Break];
    let failed = alone(&world, acts, &options, &mut client).unwrap_err();
    assert_eq!(
        (client.text().as_str(), failed.spent.generated),
        ("", generated(8, 2)),
        "it has cost something"
    );
    let report = alone(&world, says(&[ROLE, HELLO, STOP, USAGE, DONE]), &options, &mut client).unwrap();
    assert_eq!((report.end, client.text()), (End::Complete, [ROLE, HELLO, STOP, DONE].concat()));
    assert_eq!(client.at_ms.len(), 1, "in one write");
    assert_eq!(report.kept.unwrap(), [ROLE, HELLO, STOP, USAGE, DONE].concat().into_bytes());
}

#[test]
fn what_is_held_is_held_once_but_for_what_the_cache_takes() {
    let all = [ROLE, HELLO, HELLO, HELLO, STOP, USAGE, DONE];
    let lens = |keep_bytes: usize, hold: Hold| {
        let held = opened(says(&all), &Options { keep_bytes, hold, ..OPTIONS }).held;
        (held.forward.len(), held.keep.len())
    };
    let hold = Hold::UntilWhole { max_bytes: usize::MAX };
    let whole = all.concat().len();
    assert_eq!(lens(0, hold), (whole - USAGE.len(), 0));
    assert_eq!(lens(whole, hold), (whole - USAGE.len(), whole));
    let some = [ROLE, HELLO].concat().len();
    assert_eq!(lens(some, hold).1, some + HELLO.len(), "no more than shows that it is too long");
    for keep_bytes in [some, whole - 1, whole] {
        let world = World::default();
        let options = Options { keep_bytes, hold, ..OPTIONS };
        let report = alone(&world, says(&all), &options, &mut Client::new(&world)).unwrap();
        assert_eq!(report.kept.is_some(), keep_bytes == whole, "kept whole or not at all");
    }
}

#[test]
fn a_buffered_stream_beyond_its_bound_is_handed_on_as_it_comes() {
    let options = Options { hold: Hold::UntilWhole { max_bytes: HELLO.len() * 3 }, ..OPTIONS };
    let world = World::default();
    let mut client = Client::new(&world);
    let acts = [says(&[HELLO; 6]), vec![Act::Break]].concat();
    let report = alone(&world, acts, &options, &mut client).unwrap();
    assert!(matches!(report.end, End::Failed(Failure::Source(_))));
    let sizes: Vec<usize> = client.at_ms.iter().map(|(_, text)| text.len() / HELLO.len()).collect();
    assert_eq!(sizes, [4, 1, 1]);
}
