//! Answers that are broken off and gone on with: the client reads every character once, or learns that it does not.

use super::*;
use openai_types::{Answer, RawObject, sse};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What to resume with, in turn.
struct Others {
    world: World,
    turns: VecDeque<(Joint, Vec<Act>)>,
    asked: Vec<(Failure, Option<String>)>,
    takes_ms: u64,
}

impl Resume for Others {
    type Source = Upstream;
    async fn resume(&mut self, failure: &Failure, spoken: &Spoken) -> Option<Resumed<Upstream>> {
        self.asked.push((failure.clone(), spoken.prefill().map(str::to_owned)));
        if self.takes_ms > 0 {
            self.world.sleep(self.takes_ms).await;
        }
        let (joint, acts) = self.turns.pop_front()?;
        Some(Resumed {
            source: Upstream::new(&self.world, acts),
            joint,
            asked_ms: self.world.now_ms(),
            limits: CONTINUE.limits,
        })
    }
}

pub const CONTINUE: Options = Options { mid_stream: MidStream::Continue, strip_usage: false, ..OPTIONS };

pub struct Outcome {
    pub report: Report,
    pub client: Client,
    pub asked: Vec<(Failure, Option<String>)>,
}

pub fn continued(first: Vec<Act>, turns: Vec<(Joint, Vec<Act>)>) -> Outcome {
    let world = World::default();
    let mut client = Client::new(&world);
    let mut others = Others { world: world.clone(), turns: turns.into(), asked: Vec::new(), takes_ms: 0 };
    let report = world.run(async {
        let opened =
            open(Upstream::new(&world, first), 0, &CONTINUE, &world, &Heard::default()).await.unwrap();
        relay(std::future::ready(Some(opened)), &mut others, &mut client, &CONTINUE, &world).await
    });
    Outcome { report, client, asked: others.asked }
}

pub fn event(id: &str, delta: Value, finish: Option<&str>) -> String {
    let chunk = json!({"id": id, "object": "chat.completion.chunk", "created": id.len(), "model": format!("model-{id}"),
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

pub fn text(id: &str, content: &str) -> String {
    event(id, json!({"content": content}), None)
}

/// A whole stream that says these parts.
pub fn stream(id: &str, parts: &[&str], prompt_tokens: u32) -> Vec<String> {
    let mut events = vec![event(id, json!({"role": "assistant", "content": ""}), None)];
    events.extend(parts.iter().map(|part| text(id, part)));
    events.push(event(id, json!({}), Some("stop")));
    events.push(format!(
        "data: {}\n\n",
        json!({"id": id, "choices": [], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": parts.len()}})
    ));
    events.push(DONE.to_owned());
    events
}

pub fn acts(events: &[String]) -> Vec<Act> {
    events.iter().map(|event| say(event.as_str())).collect()
}

/// The JSON of every chunk that the client got.
fn chunks(client: &Client) -> Vec<Value> {
    let datas = sse::events(&client.got).filter_map(sse::data).filter(|data| data.as_ref() != b"[DONE]");
    datas.map(|data| serde_json::from_slice(&data).unwrap()).collect()
}

pub fn said(client: &Client, choice: u64, field: &str) -> String {
    let chunks = chunks(client);
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    choices.filter(|one| one["index"] == choice).filter_map(|one| one["delta"][field].as_str()).collect()
}

/// What must hold of every stream that a client gets, continued or not.
pub fn assert_reads_as_one(client: &Client) {
    let chunks = chunks(client);
    for field in ["id", "created", "model"] {
        let mut values: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk.get(field)).collect();
        values.dedup();
        assert!(values.len() <= 1, "{field} changes: {values:?}");
    }
    let of_choice_0 = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let of_choice_0: Vec<&Value> = of_choice_0.filter(|choice| choice["index"] == 0).collect();
    assert!(of_choice_0.iter().filter(|choice| choice["delta"].get("role").is_some()).count() <= 1);
    assert!(of_choice_0.iter().filter(|choice| choice["finish_reason"].is_string()).count() <= 1);
    let says_nothing = |choice: &&&Value| {
        choice["finish_reason"].is_null() && choice["delta"].as_object().unwrap().values().all(|v| v == "")
    };
    assert_eq!(of_choice_0.iter().filter(says_nothing).count(), 0, "what is cut away leaves no empty chunk");
}

#[test]
fn a_prefilled_answer_goes_on_where_the_first_stopped() {
    let first = [acts(&stream("a", &["Hel", "lo "], 5)[..3]), vec![Act::Break]].concat();
    let second = stream("bb", &["wor", "ld"], 7);
    let outcome = continued(first, vec![(Joint::Append, acts(&second))]);
    assert_eq!(outcome.asked.len(), 1);
    assert_eq!(outcome.asked[0].1.as_deref(), Some("Hello "));
    assert_eq!(
        (outcome.report.end, said(&outcome.client, 0, "content").as_str()),
        (End::Complete, "Hello world")
    );
    assert_reads_as_one(&outcome.client);
    let [cut, rest] = outcome.report.spent[..] else { panic!("two upstreams took part") };
    assert_eq!(
        (cut, rest.usage.unwrap().prompt_tokens),
        (Spent { usage: None, generated: generated(6, 0) }, 7)
    );
    assert!(outcome.report.kept.is_none(), "an answer of two parts is not kept");
}

#[test]
fn a_restarted_answer_is_cut_where_it_agrees_and_refused_where_it_does_not() {
    for (what, second, end, expected) in [
        ("the same pieces", vec!["Hel", "lo ", "wor", "ld"], Ok(()), "Hello world"),
        ("larger pieces", vec!["Hello world"], Ok(()), "Hello world"),
        (
            "smaller pieces",
            vec!["H", "e", "l", "l", "o", " ", "w", "o", "r", "l", "d"],
            Ok(()),
            "Hello world",
        ),
        ("other pieces", vec!["Hell", "o w", "orld"], Ok(()), "Hello world"),
        ("another rest", vec!["Hello ", "there"], Ok(()), "Hello there"),
        ("no rest", vec!["Hello "], Ok(()), "Hello "),
        ("another beginning", vec!["Hi world"], Err(()), "Hello "),
        ("one character different", vec!["Hello", "_world"], Err(()), "Hello "),
        ("shorter than what was sent", vec!["Hel"], Err(()), "Hello "),
        ("nothing", vec![], Err(()), "Hello "),
    ] {
        let first = [acts(&stream("a", &["Hel", "lo "], 5)[..3]), vec![Act::Break]].concat();
        let outcome = continued(first, vec![(Joint::Cut, acts(&stream("b", &second, 5)))]);
        let end = end.map_or(End::Failed(Failure::Disagrees), |()| End::Complete);
        assert_eq!(
            (outcome.report.end, said(&outcome.client, 0, "content").as_str()),
            (end.clone(), expected),
            "{what}"
        );
        assert_eq!(outcome.client.text().contains("[DONE]"), end == End::Complete, "{what}");
        assert_reads_as_one(&outcome.client);
    }
}

#[test]
fn an_answer_that_says_less_the_second_time_is_refused_with_and_without_a_finish() {
    for end in [vec![say(DONE)], vec![say(STOP)], vec![say(STOP), say(DONE)]] {
        let second = [vec![say(text("b", "Hel"))], end].concat();
        let outcome = continued(vec![say(text("a", "Hello")), Act::Break], vec![(Joint::Cut, second)]);
        assert_eq!(outcome.report.end, End::Failed(Failure::Disagrees));
        assert_eq!(said(&outcome.client, 0, "content"), "Hello");
    }
}

#[test]
fn an_upstream_that_breaks_off_in_its_turn_is_gone_on_with_too() {
    let whole = stream("x", &["a", "b", "c", "d"], 1);
    let part = |events: usize, last: Act| [acts(&whole[..events]), vec![last]].concat();
    let turns = vec![
        (Joint::Cut, part(1, Act::Break)),
        (Joint::Cut, part(4, Act::Hang)),
        (Joint::Append, vec![say(ERROR)]),
        (Joint::Cut, part(2, say("data: {\n\n"))),
        (Joint::Cut, acts(&whole)),
    ];
    let outcome = continued(part(3, Act::Break), turns);
    assert_eq!((outcome.report.end, said(&outcome.client, 0, "content").as_str()), (End::Complete, "abcd"));
    assert_eq!(outcome.report.spent.len(), 6);
    assert_eq!(
        outcome.asked.iter().filter_map(|(_, prefill)| prefill.as_deref()).collect::<Vec<_>>(),
        ["ab", "ab", "abc", "abc", "abc"]
    );
    assert_reads_as_one(&outcome.client);
}

#[test]
fn without_another_upstream_the_first_failure_is_told() {
    let first = [acts(&stream("a", &["x"], 1)[..2]), vec![Act::Break]].concat();
    let outcome = continued(first, vec![]);
    assert_eq!(outcome.report.end, End::Failed(Failure::Source(SourceFailed::Broken("reset".into()))));
    assert_eq!(outcome.asked.len(), 1);
}

#[test]
fn what_cannot_be_picked_up_again_is_not() {
    let tool = event(
        "a",
        json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}),
        None,
    );
    let half = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n".to_owned();
    let long = text("a", &"x".repeat(300 * 1024));
    for (what, event) in [("a tool call", tool), ("half a character", half)] {
        let outcome =
            continued(vec![say(text("a", "x")), say(event.as_str()), Act::Break], vec![(Joint::Cut, vec![])]);
        assert!(outcome.asked.is_empty() && matches!(outcome.report.end, End::Failed(_)), "{what}");
        assert!(outcome.client.text().ends_with(&event), "{what} is handed on all the same");
    }
    let mut spoken = Spoken::default();
    let data = sse::data(long.as_bytes()).unwrap();
    for _ in 0..2 {
        spoken.note(&Answer::parse_chunk(&data).unwrap(), &data);
    }
    assert!(!spoken.can_be_continued(), "too much to remember");
    // Bounds on the answer itself are not got around with a second upstream.
    let runaway = says(&vec![HELLO; 20_000]);
    assert!(continued(runaway, vec![(Joint::Cut, vec![])]).asked.is_empty());
}

#[test]
fn a_tool_call_after_the_cut_is_handed_on() {
    let call = event(
        "b",
        json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
        None,
    );
    let finish = event("b", json!({}), Some("tool_calls"));
    for (said_again, end) in [("Let me see", End::Complete), ("Let me", End::Failed(Failure::Disagrees))] {
        let second = vec![say(text("b", said_again)), say(call.as_str()), say(finish.as_str()), say(DONE)];
        let outcome = continued(vec![say(text("a", "Let me see")), Act::Break], vec![(Joint::Cut, second)]);
        assert_eq!(
            outcome.client.text().contains("\"arguments\":\"{}\""),
            end == End::Complete,
            "{said_again}"
        );
        assert_eq!(outcome.report.end, end);
    }
}

#[test]
fn thinking_is_cut_like_text_and_not_done_twice() {
    let thought = |id: &str, text: &str| event(id, json!({"reasoning_content": text}), None);
    let first = vec![say(thought("a", "Hm, so")), say(text("a", "Ye")), Act::Break];
    let again =
        vec![say(thought("b", "Hm, ")), say(thought("b", "so")), say(text("b", "Yes")), say(STOP), say(DONE)];
    let outcome = continued(first.clone(), vec![(Joint::Cut, again)]);
    assert_eq!(said(&outcome.client, 0, "reasoning_content"), "Hm, so");
    assert_eq!((outcome.report.end, said(&outcome.client, 0, "content").as_str()), (End::Complete, "Yes"));

    let prefilled = vec![say(thought("b", "Go on")), say(text("b", "s")), say(STOP), say(DONE)];
    let outcome = continued(first, vec![(Joint::Append, prefilled)]);
    assert_eq!(
        said(&outcome.client, 0, "reasoning_content"),
        "Hm, so",
        "no second thinking behind the first half"
    );
    assert_eq!((outcome.report.end, said(&outcome.client, 0, "content").as_str()), (End::Complete, "Yes"));

    let half = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n";
    for (said_before, end) in [("Yes", Err(Failure::Disagrees)), ("", Ok(()))] {
        let first = vec![say(thought("a", "Hm")), say(text("a", said_before)), Act::Break];
        let second = vec![say(thought("b", "Hm")), say(half), say(STOP), say(DONE)];
        let outcome = continued(first, vec![(Joint::Cut, second)]);
        let end = end.map_or_else(End::Failed, |()| End::Complete);
        assert_eq!(outcome.report.end, end, "half a character agrees with nothing");
        assert_eq!(outcome.client.text().contains("ud83d"), end == End::Complete);
    }
    let other = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let second = vec![say(text("b", "s")), say(other), say(STOP), say(DONE)];
    let outcome = continued(vec![say(text("a", "Ye")), Act::Break], vec![(Joint::Append, second)]);
    assert_eq!(
        outcome.report.end,
        End::Failed(Failure::Disagrees),
        "one choice was asked to be gone on with"
    );

    let ended = continued(vec![say(text("a", "Yes")), say(STOP), say(ERROR)], vec![]);
    assert_eq!(ended.asked[0].1, None, "nor is there behind an end");

    let only_thought = continued(vec![say(thought("a", "Hm")), Act::Break], vec![]);
    assert_eq!(only_thought.asked[0].1, None, "there is nothing to prefill");
}

#[test]
fn several_choices_are_each_cut_where_they_stand() {
    let of = |choice: u32, content: &str, finish: Option<&str>| {
        format!(
            "data: {}\n\n",
            json!({"choices": [{"index": choice, "delta": {"content": content}, "finish_reason": finish}]})
        )
    };
    let first = [of(0, "one", None), of(1, "tw", None), of(0, "", Some("stop"))];
    let second = [
        of(0, "one", Some("stop")),
        of(1, "two", None),
        of(2, "three", Some("stop")),
        of(1, "!", Some("stop")),
    ];
    let outcome = continued(
        [acts(&first), vec![Act::Break]].concat(),
        vec![(Joint::Cut, [acts(&second), says(&[DONE])].concat())],
    );
    assert_eq!(outcome.asked[0].1, None, "several choices have no one prefill");
    assert_eq!(outcome.report.end, End::Complete);
    assert_eq!([0, 1, 2].map(|choice| said(&outcome.client, choice, "content")), ["one", "two!", "three"]);
    assert_reads_as_one(&outcome.client);

    let longer = [of(0, "one more", Some("stop")), of(1, "two", Some("stop"))];
    let outcome = continued([acts(&first), vec![Act::Break]].concat(), vec![(Joint::Cut, acts(&longer))]);
    assert_eq!(outcome.report.end, End::Failed(Failure::Disagrees), "a choice that had ended goes on");
}

#[test]
fn a_cut_chunk_keeps_what_else_its_provider_wrote() {
    let chunk = r#"{"x_new":[1.50, {"a" : null}],"id":"b","choices":[{"index":0,"delta":{"role":"assistant","content":"H\u00e9llo","x":1},"logprobs":{"content":[]},"finish_reason":null}],"usage":null}"#;
    let second = vec![say(format!("data: {chunk}\n\n")), say(STOP), say(DONE)];
    let outcome = continued(vec![say(text("a", "Hé")), Act::Break], vec![(Joint::Cut, second)]);
    let got = outcome.client.text();
    let rest = r#"data: {"x_new":[1.50, {"a" : null}],"id":"a","choices":[{"index":0,"delta":{"content":"llo","x":1},"logprobs":null,"finish_reason":null}],"usage":null}"#;
    assert!(got.contains(rest), "{got}");
    assert!(RawObject::parse(rest.trim_start_matches("data: ")).is_some());
}

#[test]
fn the_client_gets_signs_of_life_while_another_upstream_is_looked_for() {
    let world = World::default();
    let mut client = Client::new(&world);
    let mut options = CONTINUE;
    options.beat.keepalive_ms = 1_000;
    let turns = [(Joint::Append, says(&[&text("b", "b"), STOP, DONE]))].into();
    let mut others = Others { world: world.clone(), turns, asked: Vec::new(), takes_ms: 3_500 };
    let first = Upstream::new(&world, [say(text("a", "a")), Act::Break]);
    let dropped_at_ms = Rc::clone(&first.dropped_at_ms);
    let report = world.run(async {
        let opened = open(first, 0, &options, &world, &Heard::default()).await.unwrap();
        relay(std::future::ready(Some(opened)), &mut others, &mut client, &options, &world).await
    });
    assert_eq!((report.end, client.beats()), (End::Complete, vec![1_000, 2_000, 3_000]));
    assert_eq!(dropped_at_ms.get(), Some(0), "the failed upstream is closed first");
}

/// Cuts a text into pieces at these places, never inside a character.
pub fn pieces<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let mut at: Vec<usize> =
        cuts.iter().map(|cut| text.floor_char_boundary(cut % (text.len() + 1))).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).filter(|piece| !piece.is_empty()).collect()
}

fn escaped(event: &str) -> String {
    event.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
        out
    })
}

proptest! {
    #[test]
    fn however_often_and_wherever_it_is_cut_the_client_reads_the_text_once(
        text in "[a-z \"\\\\\n\u{e9}\u{6f22}\u{1f600}\u{200d}]{1,60}",
        all_cuts in prop::collection::vec(prop::collection::vec(0usize..300, 0..12), 4),
        breaks in prop::collection::vec((0usize..2500, any::<bool>(), any::<bool>()), 0..4),
        frame in 1usize..80,
        escape in any::<bool>(),
    ) {
        // What each upstream says: everything, or what had not been said when it was asked.
        let world = World::default();
        let mut client = Client::new(&world);
        struct Model { world: World, text: String, cuts: Vec<Vec<usize>>, breaks: Vec<(usize, bool, bool)>, turn: usize, frame: usize, escape: bool }
        impl Model {
            fn next(&mut self, from: usize) -> Upstream {
                let cuts = &self.cuts[self.turn % self.cuts.len()];
                let id = format!("turn{}", self.turn);
                let events = stream(&id, &pieces(&self.text[from..], cuts), 3).concat();
                let bytes = if self.escape { escaped(&events) } else { events }.into_bytes();
                let (end, breaks_off) = match self.breaks.get(self.turn) {
                    // Later upstreams get further, else nothing is ever said of a long text.
                    Some((at, reset, _)) => ((*at).min(bytes.len()), if *reset { vec![Act::Break] } else { vec![] }),
                    None => (bytes.len(), vec![]),
                };
                let said = bytes[..end].chunks(self.frame).map(say);
                self.turn += 1;
                Upstream::new(&self.world, said.chain(breaks_off).collect::<Vec<_>>())
            }
        }
        impl Resume for Model {
            type Source = Upstream;
            async fn resume(&mut self, _: &Failure, spoken: &Spoken) -> Option<Resumed<Upstream>> {
                let prefers_prefill = self.breaks[self.turn - 1].2;
                let prefill = spoken.prefill().filter(|_| prefers_prefill);
                let joint = if prefill.is_some() { Joint::Append } else { Joint::Cut };
                Some(Resumed {
                    source: self.next(prefill.map_or(0, str::len)),
                    joint,
                    asked_ms: self.world.now_ms(),
                    limits: CONTINUE.limits,
                })
            }
        }
        let mut model = Model { world: world.clone(), text: text.clone(), cuts: all_cuts, breaks, turn: 0, frame, escape };
        let (report, turns) = world.run(async {
            let opened = loop {
                // The caller tries the next one while nothing was sent.
                match open(model.next(0), 0, &CONTINUE, &world, &Heard::default()).await {
                    Ok(opened) => break opened,
                    Err(failed) => assert!(failed.failure.may_be_continued(), "{failed:?}"),
                }
            };
            (relay(std::future::ready(Some(opened)), &mut model, &mut client, &CONTINUE, &world).await, model.turn)
        });
        prop_assert_eq!(report.end, End::Complete);
        prop_assert_eq!(said(&client, 0, "content"), text);
        prop_assert!(client.text().ends_with(DONE));
        prop_assert_eq!(client.text().matches("[DONE]").count(), 1);
        prop_assert!(report.spent.len() <= turns);
        assert_reads_as_one(&client);
    }

    #[test]
    fn a_second_answer_is_joined_if_it_begins_with_the_first_and_only_then(
        first in "[ab\u{e9}]{1,4}",
        second in "[ab\u{e9}]{0,8}",
        cuts in prop::collection::vec(0usize..20, 0..4),
    ) {
        let again = acts(&stream("b", &pieces(&second, &cuts), 1));
        let outcome = continued(vec![say(text("a", &first)), Act::Break], vec![(Joint::Cut, again)]);
        let said = said(&outcome.client, 0, "content");
        prop_assert!(said.starts_with(&first), "what was sent stays sent: {}", said);
        if second.starts_with(&first) {
            prop_assert_eq!((outcome.report.end, said), (End::Complete, second));
        } else {
            prop_assert_eq!((outcome.report.end, said), (End::Failed(Failure::Disagrees), first));
        }
    }

    #[test]
    fn a_second_stream_of_any_shape_never_panics_and_never_unsays_the_first(
        chunks in prop::collection::vec(prop::collection::vec(prop_oneof![
            Just("\"choices\":"), Just("[{"), Just("}]"), Just("{"), Just("}"), Just(","), Just("\"index\":0"), Just("\"index\":-1"),
            Just("\"delta\":"), Just("\"content\":"), Just("\"Hel\""), Just("\"lo\""), Just("\"\\ud83d\""), Just("null"), Just("[]"), Just("7"),
            Just("\"finish_reason\":\"stop\""), Just("\"tool_calls\":[{}]"), Just("\"usage\":{\"prompt_tokens\":1}"), Just("\"id\":\"z\""),
        ], 0..12), 0..6),
        joint in prop_oneof![Just(Joint::Append), Just(Joint::AppendUnlessEchoed), Just(Joint::Cut)],
    ) {
        let again = chunks.iter().map(|chunk| say(format!("data: {{{}}}\n\n", chunk.concat()))).collect();
        let outcome = continued(vec![say(text("a", "Hello")), Act::Break], vec![(joint, again)]);
        prop_assert!(outcome.client.text().starts_with(&text("a", "Hello")));
        prop_assert!(outcome.client.text().ends_with("\n\n"));
    }
}
