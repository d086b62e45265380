//! Who is admitted, who is refused, and what the answer says.

use super::{HELLO, Memory, NOW_MS, all, ask, config, kept, seen};
use crate::reserve;
use bytes::Bytes;
use contracts::headers;
use futures::executor::block_on;
use gateway_config::{LimiterConfig, OnStoreError};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;

#[test]
fn an_admission_carries_the_reservation_and_the_tightest_limits() {
    let rules = [
        (
            "each",
            "counter_key = [\"consumer\", \"model\"]\ntokens_per_minute = 20_000\nrequests_per_minute = 3",
        ),
        ("team", "counter_key = [\"team\"]\ntokens_per_minute = 1_200"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    assert_eq!((status, body.as_str()), (204, ""));
    let expected = [
        "x-ratelimit-consumed-tokens: 500",
        "x-ratelimit-limit-requests: 3",
        "x-ratelimit-limit-tokens: 1200",
        "x-ratelimit-remaining-requests: 2",
        "x-ratelimit-remaining-tokens: 700",
        "x-ratelimit-reset-requests: 1m50s",
        "x-ratelimit-reset-tokens: 1m50s",
        "x-tollgate-for-client: x-ratelimit-limit-tokens,x-ratelimit-remaining-tokens,x-ratelimit-reset-tokens,\
         x-ratelimit-limit-requests,x-ratelimit-remaining-requests,x-ratelimit-reset-requests,\
         x-ratelimit-consumed-tokens",
        "x-tollgate-prompt-tokens: 9",
        "x-tollgate-reservation: 2;500:each:mt:alice+gpt-oss%3A20b:29000000:29000001;\
         1:each:mn:alice+gpt-oss%3A20b:29000000:29000001;500:team:mt:acme:29000000:29000001",
    ];
    assert_eq!(headers, expected);
}

#[test]
fn headers_have_the_names_that_the_document_gives_them() {
    let rules = [("all", "counter_key = []\ntokens_per_minute = 1_200")];
    let names = "[limiter.headers]\nlimit_tokens = \"X-Size\"\nconsumed_tokens = \"x-taken\"";
    let config = config(&rules, names);
    let reply = ask(&Memory::default(), &config, HELLO);
    assert_eq!(
        (&reply.headers["x-size"], &reply.headers["x-taken"]),
        (&"1200".parse().unwrap(), &"500".parse().unwrap())
    );
    let for_client = reply.headers["x-tollgate-for-client"].to_str().unwrap();
    assert_eq!(for_client, "x-size,x-ratelimit-remaining-tokens,x-ratelimit-reset-tokens,x-taken");
}

#[test]
fn a_refusal_says_which_limit_how_full_and_when_to_come_back() {
    // Asked until it is refused.
    for (amounts, code, message, expected) in [
        (
            "tokens_per_minute = 1_200",
            "rate_limit_exceeded",
            r#"Limit \"all\" allows 1200 tokens in 60 seconds; 1000 are used and this request needs an estimated 500."#,
            // 1,000 are used: admitted when they weigh 700, 18 s into the next window.
            &["retry-after: 68", "x-ratelimit-limit-tokens: 1200", "x-ratelimit-remaining-tokens: 200"][..],
        ),
        (
            "requests_per_minute = 2",
            "rate_limit_exceeded",
            r#"allows 2 requests in 60 seconds; 2 are used and this request needs an estimated 1."#,
            &["retry-after: 80", "x-ratelimit-limit-requests: 2", "x-ratelimit-remaining-requests: 0"],
        ),
        (
            "request_quota = 1\nperiod = \"hour\"",
            "insufficient_quota",
            r#"allows 1 requests in its window; 1 are used and this request needs an estimated 1."#,
            &["retry-after: 2390", "x-should-retry: false", "x-ratelimit-reset-requests: 39m50s"],
        ),
        (
            "max_parallel = 1",
            "rate_limit_exceeded",
            r#"Limit \"all\" allows 1 requests at the same time; 1 are running."#,
            &["retry-after: 1"],
        ),
    ] {
        let (memory, config) = (Memory::default(), all(amounts));
        let reply = (0..9).map(|_| ask(&memory, &config, HELLO)).find(|reply| reply.status != 204).unwrap();
        let (status, headers, body) = seen(&reply);
        assert_eq!(status, 429);
        for line in expected {
            assert!(headers.iter().any(|header| header == line), "{line} is not in {headers:?}");
        }
        assert!(body.contains(&format!(r#""code":"{code}""#)), "{body}");
        assert!(body.contains(message), "{body}");
        assert_eq!(reply.headers["content-length"], body.len().to_string());
    }
}

#[test]
fn a_request_larger_than_a_limit_is_told_not_to_come_back() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 499"));
    let (status, headers, body) = seen(&ask(&memory, &config, HELLO));
    let expected = [
        "x-ratelimit-limit-tokens: 499",
        "x-should-retry: false",
        "x-tollgate-for-client: x-ratelimit-limit-tokens",
    ];
    assert_eq!((status, headers), (429, expected.map(str::to_owned).to_vec()));
    assert!(body.contains("estimated 500 tokens") && body.contains(r#"limit \"all\""#), "{body}");
    assert!(memory.counters.borrow().is_empty());
}

#[test]
fn a_rule_that_observes_refuses_nothing_and_says_so_in_the_log() {
    let (memory, config) = (Memory::default(), all("requests_per_minute = 1\nmode = \"observe\""));
    assert_eq!(ask(&memory, &config, HELLO).log, None);
    let reply = ask(&memory, &config, HELLO);
    assert_eq!(reply.status, 204);
    assert_eq!(reply.log.as_deref(), Some("observe limit=all kind=mn would refuse: used=1 size=1"));
    assert_eq!(reply.headers[headers::OBSERVED], "all");
}

#[test]
fn a_refusal_says_of_tokens_and_of_requests_how_the_tightest_limits_stand() {
    let rules = [
        ("wide", "counter_key = [\"consumer\"]\ntokens_per_minute = 20_000\nrequests_per_minute = 7"),
        ("tight", "counter_key = [\"team\"]\ntokens_per_minute = 5_000\nrequests_per_minute = 2"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    let reply = (0..9).map(|_| ask(&memory, &config, HELLO)).find(|reply| reply.status != 204).unwrap();
    let (status, headers, _) = seen(&reply);
    assert_eq!(status, 429);
    for line in [
        "x-ratelimit-limit-requests: 2",
        "x-ratelimit-remaining-requests: 0",
        "x-ratelimit-reset-requests: 1m50s",
        "x-ratelimit-limit-tokens: 5000",
        "x-ratelimit-remaining-tokens: 4000",
        "x-ratelimit-reset-tokens: 1m50s",
    ] {
        assert!(headers.iter().any(|header| header == line), "{line} is not in {headers:?}");
    }
}

#[test]
fn the_upstream_models_tokenizer_counts() {
    let config = all("tokens_per_minute = 100_000");
    let prompt = |upstream: Option<&'static str>| {
        let mut facts = HeaderMap::new();
        facts.insert(headers::MODEL, HeaderValue::from_static("fast"));
        facts.extend(upstream.map(|name| {
            (headers::UPSTREAM_MODEL.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(name))
        }));
        let text = "Ünïcödé wörds, 1234567890, ".repeat(20);
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let body = Full::new(Bytes::from(body));
        let reply = block_on(reserve::reserve(
            &facts,
            body,
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        reply.unwrap().headers[headers::PROMPT_TOKENS].to_str().unwrap().parse::<u64>().unwrap()
    };
    assert_ne!(prompt(Some("gpt-4o")), prompt(Some("gpt-4")), "they count differently");
    assert_ne!(prompt(None), prompt(Some("gpt-4o")));
}

#[test]
fn a_route_to_or_from_a_listed_model_does_not_lead_around_the_rule() {
    let rules = [(
        "own",
        "counter_key = [\"model\", \"pool\"]\nmatch = { models = [\"m\"] }\nrequests_per_minute = 3",
    )];
    let config = config(&rules, "");
    for (asked, served, counter) in [
        ("m", "m", Some("m+p")),
        ("m", "other", Some("m+p")),
        ("other", "m", Some("other+p")),
        ("m", "", Some("m+p")),
        ("other", "other", None),
    ] {
        let mut facts = HeaderMap::new();
        for (name, value) in [(headers::MODEL, asked), (headers::SERVED_MODEL, served), (headers::POOL, "p")]
        {
            facts.insert(name, HeaderValue::from_static(value));
        }
        let reply = block_on(reserve::reserve(
            &facts,
            Full::new(Bytes::from(r#"{"messages":[]}"#)),
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        let headers = reply.unwrap().headers;
        let reservation = headers.get(headers::RESERVATION).map(|text| text.to_str().unwrap());
        let expected = counter.map(|counter| format!("2;1:own:mn:{counter}:29000000:29000001"));
        assert_eq!(reservation, expected.as_deref(), "{asked} {served}");
    }
}

#[test]
fn the_user_and_the_clients_headers_have_counters_of_their_own() {
    let rules =
        [("own", "counter_key = [\"user\", \"header:x-project\", \"client_ip\"]\nrequests_per_minute = 3")];
    let config = config(&rules, "");
    let mut facts = HeaderMap::new();
    for (name, value) in [("x-tollgate-header-x-project", "pö"), (headers::CLIENT_IP, "10.0.0.1")] {
        facts.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    for (user, expected) in [(r#","user":"ünal""#, "%C3%BCnal"), ("", ""), (r#","user":7"#, "")] {
        let body = format!(r#"{{"messages":[]{user}}}"#);
        let reservation = block_on(reserve::reserve(
            &facts,
            Full::new(Bytes::from(body)),
            &config,
            &kept(&Memory::default()),
            || NOW_MS,
            async || {},
        ));
        let headers = reservation.unwrap().headers;
        let text = headers[headers::RESERVATION].to_str().unwrap();
        assert_eq!(text, format!("2;1:own:mn:{expected}+10.0.0.1+p%C3%B6:29000000:29000001"));
    }
}

#[test]
fn a_user_as_long_as_a_body_may_be_is_counted_by_its_beginning() {
    let config = config(&[("own", "counter_key = [\"user\"]\nrequests_per_minute = 1")], "");
    let memory = Memory::default();
    let of = |user: &str| ask(&memory, &config, &format!(r#"{{"messages":[],"user":"{user}"}}"#)).status;
    let long = "ü".repeat(4 << 20);
    for (user, status) in [(long.as_str(), 204), (&long[..1_024], 429), (&long[..1_022], 204)] {
        assert_eq!(of(user), status, "{} bytes", user.len());
    }
}

#[test]
fn a_body_that_is_no_chat_request_is_refused_by_its_field() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 1_200"));
    let (status, _, body) = seen(&ask(&memory, &config, r#"{"messages":[{"content":7}]}"#));
    assert_eq!(status, 400);
    assert!(body.contains(r#""param":"messages[0].content""#), "{body}");
}

#[test]
fn without_limits_everything_is_admitted_unread() {
    let memory = Memory { is_down: true, ..Memory::default() };
    let (status, headers, _) = seen(&ask(&memory, &LimiterConfig::default(), "junk"));
    assert_eq!((status, headers), (204, vec![]));
}

#[test]
fn a_dead_store_refuses_or_admits_uncounted_as_configured_and_is_logged() {
    let memory = Memory { is_down: true, ..Memory::default() };
    for (policy, status, header) in [
        (OnStoreError::Deny, 503, "retry-after: 1"),
        (OnStoreError::Allow, 204, "x-tollgate-uncounted: store-error"),
    ] {
        let config = LimiterConfig { on_store_error: policy, ..all("tokens_per_minute = 1_200") };
        let reply = ask(&memory, &config, HELLO);
        let (seen_status, headers, body) = seen(&reply);
        assert_eq!((seen_status, headers), (status, vec![header.to_owned()]));
        assert!(!body.contains("secret-host"), "{body}");
        assert!(reply.log.unwrap().contains("secret-host"));
    }
}
