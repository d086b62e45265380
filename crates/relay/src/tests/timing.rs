//! Timeouts, signs of life, and clients that leave, under a clock that only the tests move.

use super::*;

#[test]
fn each_wait_ends_exactly_at_its_bound() {
    let mut options = OPTIONS;
    options.limits = Limits { first_token_ms: 5_000, idle_ms: 1_000, total_ms: 20_000, ..OPTIONS.limits };
    let pause = |ms: u64| vec![say(HELLO), Act::Wait(ms), say(STOP), say(DONE)];
    let trickle: Vec<Act> = (0..100).flat_map(|_| [say(HELLO), Act::Wait(900)]).collect();
    let comments: Vec<Act> = (0..100).flat_map(|_| [say(": ping\n\n"), Act::Wait(300)]).collect();
    let slow_event: Vec<Act> = STOP.bytes().flat_map(|byte| [say([byte]), Act::Wait(100)]).collect();
    for (what, acts, end, at_ms) in [
        (
            "just in time to begin",
            [vec![Act::Wait(4_999)], says(&[HELLO, STOP, DONE])].concat(),
            Ok(End::Complete),
            4_999,
        ),
        (
            "too late to begin",
            [vec![Act::Wait(5_001)], says(&[HELLO, STOP, DONE])].concat(),
            Err(Failure::Late(Late::FirstToken)),
            5_000,
        ),
        ("comments do not begin", comments.clone(), Err(Failure::Late(Late::FirstToken)), 5_000),
        (
            "nor do roles",
            [vec![Act::Wait(4_000), say(ROLE)], vec![Act::Hang]].concat(),
            Err(Failure::Late(Late::FirstToken)),
            5_000,
        ),
        ("just in time to go on", pause(999), Ok(End::Complete), 999),
        ("too late to go on", pause(1_001), Ok(End::Failed(Failure::Late(Late::Idle))), 1_000),
        (
            "comments are no progress",
            [vec![say(HELLO)], comments].concat(),
            Ok(End::Failed(Failure::Late(Late::Idle))),
            1_000,
        ),
        (
            "a slow event is",
            [vec![say(HELLO)], slow_event].concat(),
            Ok(End::Complete),
            STOP.len() as u64 * 100,
        ),
        ("nothing after the finish", vec![say(HELLO), say(STOP), Act::Hang], Ok(End::Complete), 1_000),
        ("a stream without end", trickle, Ok(End::Failed(Failure::Late(Late::Total))), 20_000),
    ] {
        let world = World::default();
        let report = alone(&world, acts, &options, &mut Client::new(&world));
        assert_eq!(report.map(|report| report.end).map_err(|failed| failed.failure), end, "{what}");
        assert_eq!(world.now_ms(), at_ms, "{what}");
    }
}

#[test]
fn a_missing_done_is_not_waited_for() {
    for hold in [Hold::UntilItSpeaks, Hold::UntilWhole { max_bytes: 1 << 20 }] {
        let world = World::default();
        let mut client = Client::new(&world);
        let acts = [
            vec![say(HELLO), Act::Wait(10), say(STOP), Act::Wait(300), say(USAGE)],
            says(&[": ping\n\n"]),
            vec![Act::Hang],
        ];
        let report = alone(&world, acts.concat(), &Options { hold, ..OPTIONS }, &mut client).unwrap();
        assert_eq!((report.end, world.now_ms()), (End::Complete, 2_310), "{hold:?}");
        assert_eq!(report.spent[0].usage.unwrap().prompt_tokens, 7, "a usage soon after the finish is taken");
        assert!(client.text().ends_with(DONE));
    }
}

#[test]
fn comments_are_sent_between_events_while_the_upstream_is_quiet() {
    let mut options = OPTIONS;
    options.beat.keepalive_ms = 1_000;
    let (begin, end) = HELLO.split_at(20);
    let acts = vec![
        say(HELLO),
        Act::Wait(900),
        say(HELLO),
        Act::Wait(2_500),
        say(begin),
        Act::Wait(1_200),
        say(end),
        say([STOP, DONE].concat()),
    ];
    let world = World::default();
    let mut client = Client::new(&world);
    let report = alone(&world, acts, &options, &mut client).unwrap();
    assert_eq!(report.end, End::Complete);
    assert_eq!(client.beats(), [1_900, 2_900, 3_900]);
    assert_eq!(client.answer(), [HELLO, HELLO, HELLO, STOP, DONE].concat(), "and never inside an event");
    assert_eq!((report.spent[0].generated, report.first_content_at_ms), (generated(12, 3), Some(0)));
    assert_eq!(report.kept.unwrap(), client.answer().into_bytes(), "they are no answer");
}

#[test]
fn a_client_whose_patience_is_over_hears_something_and_then_the_answer() {
    let mut options = OPTIONS;
    options.beat.keepalive_ms = 15_000;
    for (acts, end, answer) in [
        (
            vec![Act::Wait(50_000), say([HELLO, STOP, DONE].concat())],
            End::Complete,
            [HELLO, STOP, DONE].concat(),
        ),
        (vec![Act::Wait(50_000), Act::Break], End::Failed(Failure::NotOpened), String::new()),
    ] {
        let world = World::default();
        let mut client = Client::new(&world);
        let (report, _) = world.run(async {
            let ask = Box::pin(async {
                let source = Upstream::new(&world, acts);
                open(source, 0, &options, &world, &Heard::default())
                    .await
                    .map_err(|failed| failed.failure)
                    .ok()
            });
            let Err(asking) = within_patience(ask, 10_000, &world).await else { panic!("it is patient") };
            assert_eq!(world.now_ms(), 10_000);
            (relay(asking, &mut NoResume::default(), &mut client, &options, &world).await, ())
        });
        assert_eq!((report.end, client.answer()), (end, answer));
        assert_eq!(client.beats(), [10_000, 25_000, 40_000], "the first at once, so that the head goes out");
    }
    let world = World::default();
    let quick = world.run(within_patience(std::future::ready(7), 0, &world));
    assert_eq!(quick.ok(), Some(7), "what is ready goes first");
}

#[test]
fn a_client_that_leaves_is_noticed_within_a_probe_and_the_upstream_is_closed() {
    for (beat, seen_at_ms) in [
        (Beat { keepalive_ms: 0, probe_ms: 500 }, 10_500),
        (Beat { keepalive_ms: 1_000, probe_ms: 0 }, 11_000),
        (Beat { keepalive_ms: 15_000, probe_ms: 800 }, 10_400),
        (Beat { keepalive_ms: 0, probe_ms: 0 }, 25_000),
    ] {
        let world = World::default();
        let mut client = Client::new(&world);
        client.leaves_at_ms = 10_001;
        let options = Options { beat, ..OPTIONS };
        let upstream = Upstream::new(&world, [say(HELLO), Act::Wait(25_000), say(HELLO), Act::Hang]);
        let dropped_at_ms = Rc::clone(&upstream.dropped_at_ms);
        let report = world.run(async {
            let opened = open(upstream, 0, &options, &world, &Heard::default()).await.unwrap();
            relay(std::future::ready(Some(opened)), &mut NoResume::default(), &mut client, &options, &world)
                .await
        });
        assert_eq!((report.end, dropped_at_ms.get()), (End::ClientGone, Some(seen_at_ms)), "{beat:?}");
        assert!(report.kept.is_none() && report.spent[0].generated.letters >= 4, "what was read is counted");
    }
}

#[test]
fn a_client_that_does_not_take_its_answer_counts_as_gone_and_a_slow_one_does_not() {
    let mut options = OPTIONS;
    options.limits.idle_ms = 1_000;
    options.limits.client_ms = 5_000;
    for (takes_ms, end) in [(5_001, End::ClientGone), (4_999, End::Complete)] {
        let world = World::default();
        let mut client = Client::new(&world);
        client.takes_ms = takes_ms;
        let acts = vec![say(HELLO), Act::Wait(500), say(HELLO), Act::Wait(500), say(STOP), say(DONE)];
        assert_eq!(alone(&world, acts, &options, &mut client).unwrap().end, end, "{takes_ms}");
    }
}

#[test]
fn a_probe_that_does_not_come_back_means_that_the_client_takes_nothing() {
    let mut options = OPTIONS;
    options.limits.client_ms = 5_000;
    options.beat.probe_ms = 500;
    for (probe_takes_ms, end, at_ms) in [(5_001, End::ClientGone, 5_500), (1, End::Complete, 1_000)] {
        let world = World::default();
        let mut client = Client::new(&world);
        let acts = vec![say(HELLO), Act::Wait(1_000), say([STOP, DONE].concat())];
        let report = world.run(async {
            let opened =
                open(Upstream::new(&world, acts), 0, &options, &world, &Heard::default()).await.unwrap();
            let first = std::future::ready(Some(opened));
            relay(first, &mut NoResume::default(), &mut Slow(&mut client, probe_takes_ms), &options, &world)
                .await
        });
        assert_eq!((report.end, world.now_ms()), (end, at_ms));
    }
}

/// Takes writes at once, and probes slowly.
struct Slow<'a>(&'a mut Client, u64);

impl Sink for Slow<'_> {
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone> {
        self.0.send(data).await
    }
    async fn probe(&mut self) -> Result<(), ClientGone> {
        self.0.world.sleep(self.1).await;
        Ok(())
    }
}

#[test]
fn a_busy_stream_sets_no_timer_for_each_event() {
    let mut options = OPTIONS;
    options.beat = Beat { keepalive_ms: 15_000, probe_ms: 500 };
    let acts: Vec<Act> = (0..1_000).flat_map(|_| [Act::Wait(10), say(HELLO)]).collect();
    let world = World::default();
    let _ = alone(&world, acts, &options, &mut Client::new(&world)).unwrap();
    // 1,000 of them are the upstream's own; 10 seconds of probes that never ring are 20 looks at the clock.
    let ours = world.timers_set.get() - 1_000;
    assert!(ours <= 25, "{ours} timers");
}
