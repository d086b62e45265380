//! Batches of settlements.

use super::{HELLO, Memory, all, ask, correct, seen};
use contracts::limiter::{MAX_BATCH, SettleBatch, SettleOutcome, SettledUsage, Settlement};
use contracts::{RetriedUsage, headers};
use gateway_config::LimiterConfig;

/// A rule that no counter of these batches is of.
fn another() -> LimiterConfig {
    all("tokens_per_minute = 1")
}

/// A settlement of a request that took so many prompt tokens.
fn taking(reservation: &str, prompt_tokens: u64) -> Settlement {
    Settlement {
        reservation: reservation.to_owned(),
        outcome: SettleOutcome::Used,
        usage: SettledUsage { prompt_tokens, ..SettledUsage::default() },
        model: String::new(),
        deployment: String::new(),
        retried: Vec::new(),
    }
}

fn batch(settlement: Settlement) -> String {
    serde_json::to_string(&SettleBatch { settlements: vec![settlement] }).unwrap()
}

#[test]
fn a_settlement_makes_room_again_or_leaves_a_debt() {
    let config = all("tokens_per_minute = 1_200");
    for (used, remaining) in [(0, 700), (100, 600), (500, 200), (700, 0)] {
        let memory = Memory::default();
        let reservation = ask(&memory, &config, HELLO).headers[headers::RESERVATION].clone();
        let settlement = taking(reservation.to_str().unwrap(), used);
        assert_eq!(correct(&memory, &config, &batch(settlement)).status, 204);
        let reply = ask(&memory, &config, HELLO);
        assert_eq!(reply.headers["x-ratelimit-remaining-tokens"], remaining.to_string(), "{used}");
    }
}

#[test]
fn an_answer_of_many_minutes_leaves_its_debt_in_the_minute_of_now() {
    let config = all("tokens_per_minute = 1_200");
    // Reserved ten minutes ago.
    for (used, status) in [(0, 204), (500, 204), (1_200, 204), (1_201, 429)] {
        let memory = Memory::default();
        let settlement = taking("2;500:all:mt::28999990:28999991", used);
        assert_eq!(correct(&memory, &config, &batch(settlement)).status, 204);
        assert_eq!(ask(&memory, &config, HELLO).status, status, "{used}");
    }
}

#[test]
fn cached_and_reasoning_tokens_of_failed_attempts_weigh_what_such_tokens_weigh() {
    let config = all("tokens_per_minute = 9_000\n\
         counts = { cached_tokens = 0.1, completion_tokens = 4, reasoning_tokens = 2 }");
    let memory = Memory::default();
    let attempt = RetriedUsage {
        prompt_tokens: 400,
        cached_tokens: 300,
        completion_tokens: 50,
        reasoning_tokens: 30,
        ..RetriedUsage::default()
    };
    let settlement = Settlement { retried: vec![attempt], ..taking("2;1:all:mw::29000000:29000001", 7) };
    assert_eq!(correct(&memory, &config, &batch(settlement)).status, 204);
    let weighed = 7 + 100 + 30 + 4 * 20 + 2 * 30;
    // One was charged: by nobody, here.
    assert_eq!(memory.counters.borrow()["tl:2:all:mw::29000000:29000001"], weighed - 1);
}

#[test]
fn a_wrong_settlement_is_named_and_the_others_are_made() {
    let memory = Memory::default();
    let (status, _, body) = seen(&correct(
        &memory,
        &another(),
        r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"used","usage":{"completion_tokens":9}},{"reservation":"?","outcome":"returned"}]}"#,
    ));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"settlements[1].reservation""#), "{body}");
    assert_eq!(memory.counters.borrow()["tl:2:a:mt::29000000:29000001"], 4);
}

#[test]
fn a_batch_that_is_none_settles_nothing() {
    let one = r#"{"reservation":"2;5:a:mt::1:2","outcome":"returned"}"#;
    let too_many = format!(r#"{{"settlements":[{}]}}"#, vec![one; MAX_BATCH + 1].join(","));
    for body in ["", "[]", r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"lost"}]}"#, &too_many]
    {
        let memory = Memory::default();
        let (status, _, answer) = seen(&correct(&memory, &another(), body));
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("Nothing was settled."), "{answer}");
        assert!(memory.counters.borrow().is_empty());
    }
}

#[test]
fn a_settlement_that_the_store_does_not_take_is_not_to_be_repeated() {
    let memory = Memory { is_down: true, ..Memory::default() };
    let config = another();
    let body = r#"{"settlements":[{"reservation":"2;5:a:mt::1:2","outcome":"returned"}]}"#;
    let reply = correct(&memory, &config, body);
    assert_eq!(seen(&reply).0, 503);
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert!(reply.log.unwrap().contains("1 of 1"));
}
