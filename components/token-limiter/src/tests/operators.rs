//! The operator's pages.

use super::{HELLO, Memory, NOW_MS, all, ask, config, kept};
use crate::admin::{self, Deed, Page};
use crate::error::Cause;
use crate::reply::Reply;
use contracts::Event;
use contracts::event::{Amount, What};
use futures::executor::block_on;
use gateway_config::LimiterConfig;

#[test]
fn a_path_of_the_operators_pages_names_a_page_and_a_counter() {
    for (path, page) in [
        ("/admin/limits", Some(Page::Rules)),
        ("/admin/limits/", Some(Page::Rules)),
        ("/admin/limits/all", Some(Page::Counter("all"))),
        ("/admin/limits/m:openai/gpt-4o", Some(Page::Counter("m:openai/gpt-4o"))),
        ("/admin/limits/m:openai/gpt-4o/reset", Some(Page::Reset("m:openai/gpt-4o"))),
        ("/admin/limitsx", None),
        ("/reserve", None),
    ] {
        assert_eq!(Page::at(path), page, "{path}");
    }
}

fn stands(memory: &Memory, config: &LimiterConfig, name: &str) -> (u16, serde_json::Value) {
    let reply = block_on(admin::counter(name, config, &kept(memory), NOW_MS))
        .unwrap_or_else(|cause| Reply::from(&cause));
    (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn a_counter_is_found_by_its_values_and_by_what_events_call_it() {
    let long = "l".repeat(80);
    let rules = [
        ("two", "counter_key = [\"team\", \"user\"]\nrequests_per_minute = 3"),
        ("one", "counter_key = [\"user\"]\nrequests_per_minute = 3"),
        ("none", "counter_key = []\nrequests_per_minute = 3"),
    ];
    let (memory, config) = (Memory::default(), config(&rules, ""));
    for user in ["a+b %", &long] {
        let body = format!(r#"{{"messages":[],"user":"{user}"}}"#);
        assert_eq!(ask(&memory, &config, &body).status, 204);
    }
    let hashed = quota::Counter::new("one", quota::Kind::of(&config.limits[1].checks[0]), [long.as_str()]);
    for (name, used) in [
        ("two:acme+a%2Bb%20%25", 1),
        ("two%3Aacme+a%2Bb%20%25", 1),
        ("two:acme+", 0),
        (&format!("one:{long}"), 1),
        (&format!("one:{}", hashed.value()), 1),
        ("none", 2),
        ("none:", 2),
    ] {
        let (status, state) = stands(&memory, &config, name);
        assert_eq!((status, &state["amounts"][0]["used"]), (200, &used.into()), "{name} {state}");
    }
    for (name, status) in [
        ("gone:acme", 404),
        ("one:%", 404),
        ("one:%+1", 404),
        ("one:%FF", 404),
        ("one:~0123456789abcdef0123456789abcde:", 404),
        ("", 404),
        ("one", 400),
        ("two:acme", 400),
        ("two:acme+a+b", 400),
        ("none:x", 400),
    ] {
        assert_eq!(stands(&memory, &config, name).0, status, "{name}");
    }
}

#[test]
fn a_reset_makes_room_and_is_audited() {
    let (memory, config) = (Memory::default(), all("tokens_per_minute = 600\nrequests_per_minute = 5"));
    assert_eq!(ask(&memory, &config, HELLO).status, 204);
    assert_eq!(ask(&memory, &config, HELLO).status, 429);
    let deed = || Deed { id: "1".to_owned(), address: "10.0.0.9".to_owned(), at_ms: NOW_MS };
    let mut told = Vec::new();
    let tell = async |events: &[Event]| {
        told.extend(events.to_vec());
        true
    };
    let reply = block_on(admin::reset("all", &config, &kept(&memory), deed(), tell)).unwrap();
    let log = "audit reset limit=all counter= by=admin address=10.0.0.9 before mt=500 mn=1 recorded=true";
    assert_eq!(reply.log.as_deref(), Some(log));
    let state: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&state["recorded"], &state["amounts"][0]["used_before"]), (&true.into(), &500.into()));
    assert_eq!(state["amounts"][0]["used"], 0);
    let audit = |event: &Event| match &event.what {
        What::Audit(audit) => (event.amount, audit.before, audit.after, audit.address.clone()),
        What::Alert(_) => panic!("{event:?}"),
    };
    let address = || "10.0.0.9".to_owned();
    assert_eq!(
        told.iter().map(audit).collect::<Vec<_>>(),
        [(Amount::TokensPerMinute, 500, 0, address()), (Amount::RequestsPerMinute, 1, 0, address())]
    );
    assert_eq!(ask(&memory, &config, HELLO).status, 204, "there is room again");

    let unheard =
        block_on(admin::reset("all", &config, &kept(&memory), deed(), async |_: &[Event]| false)).unwrap();
    assert!(unheard.log.unwrap().ends_with("recorded=false"), "a deed is logged all the same");
    let nobody =
        block_on(admin::reset("x", &config, &kept(&memory), deed(), async |_: &[Event]| panic!("told")));
    assert!(matches!(nobody, Err(Cause::UnknownCounter { .. })));
}
