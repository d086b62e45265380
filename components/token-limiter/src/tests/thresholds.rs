//! Which thresholds are told, once, and when.

use super::{HELLO, Memory, NOW_MS, all, ask, config, correct, kept};
use crate::alerts;
use crate::events::Asked;
use crate::reply::Reply;
use contracts::event::{Amount, What};
use contracts::{Event, headers};
use futures::executor::block_on;
use gateway_config::LimiterConfig;

/// What a reply leaves to be told.
fn told(memory: &Memory, config: &LimiterConfig, reply: &Reply<'_>) -> (Vec<Event>, Option<String>) {
    let asked = Asked { request_id: "r".to_owned(), team: "acme".to_owned() };
    block_on(alerts::tell(&kept(memory), config, &reply.alerts, &asked, NOW_MS))
}

/// Asks, and settles to so many tokens.
fn take<'c>(memory: &Memory, config: &'c LimiterConfig, prompt_tokens: u64) -> Reply<'c> {
    let reply = ask(memory, config, HELLO);
    assert_eq!(reply.alerts, vec![], "an estimate is no use");
    let reservation = reply.headers[headers::RESERVATION].to_str().unwrap();
    let usage = format!(r#"{{"prompt_tokens":{prompt_tokens}}}"#);
    let body =
        format!(r#"{{"settlements":[{{"reservation":"{reservation}","outcome":"used","usage":{usage}}}]}}"#);
    let reply = correct(memory, config, &body);
    assert_eq!(reply.status, 204);
    reply
}

#[test]
fn a_threshold_is_told_once_in_a_window_when_it_is_really_used() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 1_200\nalert_at = [0.4, 0.8]"));
    assert_eq!(told(&memory, &config, &take(&memory, &config, 20)), (vec![], None), "500 were reserved");
    for (at, used) in [(400, 500), (800, 1_000)] {
        let held = memory.counters.borrow().values().max().copied().unwrap();
        let took = used - u64::try_from(held).unwrap();
        let (events, log) = told(&memory, &config, &take(&memory, &config, took));
        let line = format!("alert limit=all kind=mt at={at}/1000 used={used} size=1200");
        assert_eq!(log, Some(line));
        let [Event { event_id, request_id, team, limit, amount, counter, what: What::Alert(alert), .. }] =
            &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(*event_id, format!("alert:tl:2:all:mt::29000000.a{at}:29000001"));
        let texts = [request_id.as_str(), team, limit, counter];
        assert_eq!((texts, *amount), (["r", "acme", "all", ""], Amount::TokensPerMinute));
        assert_eq!((alert.threshold_permille, alert.used, alert.size), (at, used, 1_200));
        let window = (29_000_000 * 60_000, 29_000_001 * 60_000);
        assert_eq!((alert.window_start_ms, alert.window_end_ms), window);
    }
    // Below and above once more.
    memory.counters.borrow_mut().insert("tl:2:all:mt::29000000:29000001".to_owned(), 0);
    assert_eq!(told(&memory, &config, &take(&memory, &config, 999)), (vec![], None));
}

#[test]
fn every_threshold_that_a_settlement_finds_reached_is_told() {
    let config = all("token_quota = 1_200\nperiod = \"week\"\nalert_at = [0.4, 0.8, 1.2]");
    let (memory, at) = (Memory::default(), |alerts: &[quota::Alert<'_>]| {
        alerts.iter().map(|alert| alert.permille).collect::<Vec<_>>()
    });
    assert_eq!(at(&take(&memory, &config, 100).alerts), [0_u64; 0]);
    assert_eq!(at(&take(&memory, &config, 1_500).alerts), [400, 800, 1_200]);
}

#[test]
fn a_limit_that_refuses_is_used_up_whatever_is_left() {
    let (memory, config) =
        (Memory::default(), all("token_quota = 1_200\nperiod = \"month\"\nalert_at = [0.9, 1.0]"));
    take(&memory, &config, 1_000);
    let at = || {
        let (events, _) = told(&memory, &config, &ask(&memory, &config, HELLO));
        let alert = |event: &Event| match &event.what {
            What::Alert(alert) => (alert.threshold_permille, alert.used),
            other => panic!("{other:?}"),
        };
        events.iter().map(alert).collect::<Vec<_>>()
    };
    assert_eq!(at(), [(1_000, 1_000)], "900 thousandths are not reached");
    assert_eq!(at(), [], "once");
}

#[test]
fn an_alert_names_its_window_whatever_its_kind() {
    const DAY_MS: u64 = 86_400_000;
    let day = NOW_MS / DAY_MS * DAY_MS;
    for (amounts, amount, window) in [
        ("request_quota = 1\nperiod = \"day\"", Amount::RequestQuota, (day, day + DAY_MS)),
        (
            "request_quota = 1\nperiod = \"hour\"\nwindow = \"rolling\"",
            Amount::RequestQuota,
            (NOW_MS, NOW_MS + 3_600_000),
        ),
        ("max_parallel = 1\nlease_s = 40", Amount::MaxParallel, (NOW_MS, NOW_MS + 10_000)),
    ] {
        let (memory, config) = (Memory::default(), all(&format!("{amounts}\nalert_at = [1.0]")));
        let (events, _) = told(&memory, &config, &ask(&memory, &config, HELLO));
        let [Event { amount: told, what: What::Alert(alert), .. }] = &events[..] else {
            panic!("{amounts}: {events:?}")
        };
        let seen = (*told, (alert.window_start_ms, alert.window_end_ms));
        assert_eq!(seen, (amount, window), "{amounts}");
    }
}

#[test]
fn use_beyond_the_reservation_is_told_when_it_is_settled() {
    let memory = Memory::default();
    let config = all("token_quota = 1_200\nperiod = \"day\"\nalert_at = [0.5]");
    let reservation = ask(&memory, &config, HELLO).headers[headers::RESERVATION].to_str().unwrap().to_owned();
    let body = format!(
        r#"{{"settlements":[{{"reservation":"{reservation}","outcome":"used","usage":{{"prompt_tokens":700}}}}]}}"#
    );
    let (events, _) = told(&memory, &config, &correct(&memory, &config, &body));
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn what_else_is_wrong_with_a_batch_hides_no_threshold_that_it_reached() {
    let rules = [
        ("week", "counter_key = []\ntoken_quota = 1_200\nperiod = \"week\"\nalert_at = [0.5]"),
        ("other", "counter_key = []\ntokens_per_minute = 1_200"),
    ];
    let config = config(&rules, "");
    let rejected = r#",{"reservation":"?","outcome":"returned"}"#;
    for (broken, rest, status) in [("", "", 204), ("", rejected, 400), (":other:", "", 503)] {
        let memory = Memory::default();
        let reservation = ask(&memory, &config, HELLO).headers[headers::RESERVATION].clone();
        let (reservation, memory) = (reservation.to_str().unwrap(), Memory { broken, ..memory });
        let used = r#""outcome":"used","usage":{"prompt_tokens":700}"#;
        let body = format!(r#"{{"settlements":[{{"reservation":"{reservation}",{used}}}{rest}]}}"#);
        let reply = correct(&memory, &config, &body);
        assert_eq!(reply.status, status);
        let told: Vec<_> = reply.alerts.iter().map(|alert| (alert.limit, alert.used)).collect();
        assert_eq!(told, [("week", 700)], "{broken} {rest}");
    }
}
