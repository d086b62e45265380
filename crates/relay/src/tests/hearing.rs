//! What is known of an upstream while it is opened: when it has begun, and what it took if nobody waits any longer.

use super::*;
use openai_types::Characters;

const HELD: Options =
    Options { strip_usage: false, keep_bytes: 0, hold: Hold::UntilWhole { max_bytes: 1 << 20 }, ..OPTIONS };

#[test]
fn what_a_dropped_opening_took_is_still_known() {
    for (acts, spent, has_spoken) in [
        (vec![Act::Wait(20)], Spent::default(), false),
        (vec![say(ROLE), Act::Wait(20)], Spent::default(), false),
        (
            vec![say(HELLO), say(HELLO), Act::Wait(20)],
            Spent { usage: None, generated: Characters::of("héllohéllo") },
            true,
        ),
    ] {
        let (world, heard) = (World::default(), Heard::default());
        let upstream = Upstream::new(&world, acts);
        let dropped_at_ms = Rc::clone(&upstream.dropped_at_ms);
        let opening = Box::pin(open(upstream, 0, &HELD, &world, &heard));
        let Err(opening) = world.run(within_patience(opening, 10, &world)) else { panic!("it is not whole") };
        assert_eq!((heard.spent(), heard.has_spoken()), (spent, has_spoken));
        drop(opening);
        assert_eq!((heard.spent(), dropped_at_ms.get()), (spent, Some(10)), "and the upstream is closed");
    }
}

#[test]
fn what_an_opening_says_at_its_end_is_not_said_twice() {
    for acts in [says(&[HELLO, STOP, DONE]), vec![say(HELLO), Act::Break]] {
        let (world, heard) = (World::default(), Heard::default());
        let opened = world.run(open(Upstream::new(&world, acts), 0, &HELD, &world, &heard));
        let spent = opened.map_or_else(|failed| failed.spent, |opened| opened.into_whole().unwrap().1);
        assert_eq!((heard.spent(), spent.generated), (Spent::default(), Characters::of("héllo")));
        assert!(heard.has_spoken(), "which stays so, whatever became of it");
    }
}

#[test]
fn an_answer_is_heard_at_its_first_word_and_whole_at_its_end() {
    let (world, heard) = (World::default(), Heard::default());
    let acts = vec![say(ROLE), Act::Wait(7), say(HELLO), Act::Wait(30), say([STOP, USAGE, DONE].concat())];
    let opening = Box::pin(open(Upstream::new(&world, acts), 0, &HELD, &world, &heard));
    let Err(opening) = world.run(until_heard(opening, &heard)) else { panic!("it is not whole") };
    assert_eq!(world.now_ms(), 7);
    let mut client = Client::new(&world);
    let options = Options { beat: Beat { keepalive_ms: 5, probe_ms: 10 }, ..HELD };
    let opened = world.run(attended(opening, &mut client, &options, &world)).unwrap().unwrap();
    assert_eq!((world.now_ms(), client.got.len(), client.probes), (37, 0, 2), "looked for, and told nothing");
    let (stream, spent) = opened.into_whole().unwrap();
    assert_eq!(stream, [ROLE, HELLO, STOP, USAGE, DONE].concat().into_bytes());
    assert_eq!(spent.usage.unwrap().prompt_tokens, 7);
}

#[test]
fn what_is_at_hand_or_never_speaks_is_given_as_it_is() {
    for (acts, is_whole) in [
        (says(&[HELLO, STOP, DONE]), true),
        (vec![Act::Wait(9), Act::Break], false),
        (says(&[ROLE, DONE]), false),
    ] {
        let (world, heard) = (World::default(), Heard::default());
        let opening = Box::pin(open(Upstream::new(&world, acts), 0, &HELD, &world, &heard));
        let Ok(opened) = world.run(until_heard(opening, &heard)) else { panic!("nothing was heard before") };
        assert_eq!(opened.is_ok_and(|opened| opened.into_whole().is_some()), is_whole);
    }
}

#[test]
fn who_waits_for_a_client_that_leaves_or_for_too_long_lets_the_upstream_go() {
    for (leaves_at_ms, total_ms, end, at_ms) in [
        (1_001, 10_000, End::ClientGone, 1_500),
        (u64::MAX, 4_000, End::Failed(Failure::Late(Late::Total)), 4_000),
    ] {
        let (world, heard) = (World::default(), Heard::default());
        let upstream = Upstream::new(&world, vec![say(HELLO), Act::Hang]);
        let dropped_at_ms = Rc::clone(&upstream.dropped_at_ms);
        let mut client = Client::new(&world);
        client.leaves_at_ms = leaves_at_ms;
        let limits = Limits { total_ms, ..HELD.limits };
        let options = Options { limits, beat: Beat { keepalive_ms: 0, probe_ms: 500 }, ..HELD };
        let opening = open(upstream, 0, &HELD, &world, &heard);
        let ended = world.run(attended(opening, &mut client, &options, &world)).err();
        assert_eq!((ended, dropped_at_ms.get()), (Some(end), Some(at_ms)));
        assert_eq!(heard.spent().generated, Characters::of("héllo"));
    }
}

#[test]
fn whoever_goes_on_with_an_answer_has_the_time_of_its_own() {
    struct Other(World);
    impl Resume for Other {
        type Source = Upstream;
        async fn resume(&mut self, _: &Failure, _: &Spoken) -> Option<Resumed<Upstream>> {
            self.0.sleep(5_000).await;
            let limits = Limits { first_token_ms: 700, idle_ms: 300, ..OPTIONS.limits };
            let source = Upstream::new(&self.0, vec![Act::Wait(699), say(": x\n\n"), Act::Hang]);
            Some(Resumed { source, joint: Joint::Append, asked_ms: self.0.now_ms(), limits })
        }
    }
    let world = World::default();
    let options = Options { mid_stream: MidStream::Continue, ..OPTIONS };
    let mut client = Client::new(&world);
    let report = world.run(async {
        let upstream = Upstream::new(&world, vec![say(HELLO), Act::Break]);
        let opened = open(upstream, 0, &options, &world, &Heard::default()).await.unwrap();
        let first = std::future::ready(Some(opened));
        relay(first, &mut Once(Some(Other(world.clone()))), &mut client, &options, &world).await
    });
    assert_eq!((report.end, world.now_ms()), (End::Failed(Failure::Late(Late::FirstToken)), 5_700));
}

/// Resumes once.
struct Once<R>(Option<R>);

impl<R: Resume> Resume for Once<R> {
    type Source = R::Source;
    async fn resume(&mut self, failure: &Failure, spoken: &Spoken) -> Option<Resumed<R::Source>> {
        self.0.take()?.resume(failure, spoken).await
    }
}
