"""Which pool a request gets, which deployment of it, and who else gets a copy; and that the answer says so."""

import threading
import time
from collections import Counter

import pytest
from support.clients import until
from support.gateway import OTHER_KEY, Gateway
from support.pools import asked, document, route_of

POOLS = """
[defaults.breaker]
enabled = false

[cache]
enabled = false

[regions]
eu = ["eu-west", "us-east"]

[[models]]
name = "plain"
aliases = ["plain-alias"]
deployments = [{ backend = "a", model = "mock-plain" }]

[[models]]
name = "staging"
deployments = [{ backend = "b", model = "mock-staging" }]

[[models]]
name = "with-tools"
deployments = [{ backend = "b", model = "mock-tools" }]

[[models]]
name = "long"
deployments = [{ backend = "b", model = "mock-long" }]

[[models]]
name = "half"
deployments = [{ backend = "a", model = "mock-half" }]

[[models]]
name = "copied"
deployments = [{ backend = "a", model = "mock-copied" }]

[[models]]
name = "shadow"
deployments = [{ backend = "b", model = "mock-shadow+slow=3s" }]

[[models]]
name = "copied-in-vain"
deployments = [{ backend = "a", model = "mock-copied" }]

[[models]]
name = "broken-shadow"
deployments = [{ backend = "b", model = "mock-shadow+status=500" }]

[[models]]
name = "turns"
strategy = "round_robin"
deployments = [{ backend = "a", model = "mock-1" }, { backend = "b", model = "mock-2" }, { backend = "c", model = "mock-3" }]

[[models]]
name = "sticky"
strategy = "session"
session_key = "header:x-session"
deployments = [{ backend = "a", model = "mock-1" }, { backend = "b", model = "mock-2" }, { backend = "c", model = "mock-3" }]

[[models]]
name = "busy"
strategy = "least_busy"
deployments = [{ backend = "a", model = "mock-busy-1+slow=4s" }, { backend = "b", model = "mock-busy-2+slow=4s" }]

[[models]]
name = "cheap"
strategy = "lowest_cost"
deployments = [{ backend = "a", model = "mock-dear" }, { backend = "b", model = "mock-cheap" }]

[[models]]
name = "quick"
strategy = "lowest_latency"
deployments = [{ backend = "a", model = "mock-tardy+slow=2s" }, { backend = "b", model = "mock-quick" }]

[[models]]
name = "weighted"
deployments = [{ backend = "a", model = "mock-heavy", weight = 3 }, { backend = "b", model = "mock-light" }, { backend = "c", model = "mock-drained", weight = 0 }]

[[models]]
name = "full"
deployments = [{ backend = "a", model = "mock-small", capacity_tokens_per_minute = 200 }, { backend = "b", model = "mock-large", priority = 1 }]

[[models]]
name = "everywhere"
deployments = [{ backend = "a", model = "mock-west", region = "eu-west" }, { backend = "b", model = "mock-east", region = "us-east" }, { backend = "c", model = "mock-asia", region = "asia" }]

[[routes]]
name = "by-header"
models = ["plain"]
headers = { x-environment = "staging" }
to = "staging"

[[routes]]
name = "by-feature"
models = ["plain"]
features = ["tools"]
to = "with-tools"

[[routes]]
name = "by-size"
models = ["plain"]
min_prompt_tokens = 500
to = "long"

[[routes]]
name = "by-consumer"
models = ["half"]
consumers = ["other"]
to = "long"

[[routes]]
name = "by-share"
models = ["half"]
share = 0.5
share_key = "user"
to = "staging"

[[routes]]
name = "copies"
models = ["copied"]
mirror = { to = "shadow" }

[[routes]]
name = "copies-in-vain"
models = ["copied-in-vain"]
mirror = { to = "broken-shadow" }

[pricing."mock-dear"]
prompt_usd_per_million = 10
completion_usd_per_million = 10

[pricing."mock-cheap"]
prompt_usd_per_million = 1
completion_usd_per_million = 1
"""

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


def deployments(gateway, model, unique, count, **options):
    return [
        gateway.chat(model, f"{unique} {i}", **options).headers["x-tollgate-deployment"].split("/")[1] for i in range(count)
    ]


@pytest.mark.parametrize(
    ("options", "route", "upstream"),
    [
        ({}, None, "mock-plain"),
        ({"headers": {"x-environment": "staging"}}, "by-header", "mock-staging"),
        ({"headers": {"x-environment": "production"}}, None, "mock-plain"),
        ({"tools": TOOLS}, "by-feature", "mock-tools"),
        ({"tools": []}, None, "mock-plain"),
        ({"more": " many words" * 300}, "by-size", "mock-long"),
        ({"model": "plain-alias", "tools": TOOLS}, "by-feature", "mock-tools"),
    ],
)
def test_the_first_route_that_matches_decides_and_the_answer_says_which(gateway, unique, options, route, upstream):
    text = unique + options.pop("more", "")
    response = gateway.chat(**{"model": "plain", "text": text, **options})
    assert response.status_code == 200 and asked(gateway, unique) == [upstream]
    explained = route_of(response)
    assert explained.get("route") == route and explained["deployment"].endswith(f"/{upstream}")
    assert (explained["strategy"], explained["tier"], explained["attempts"]) == ("weighted", "0", "1")
    record = gateway.record_of(response)
    assert record["route"] == response.headers["x-tollgate-route"]
    assert record["deployment"] == response.headers["x-tollgate-deployment"] == explained["deployment"]


def test_a_route_may_be_a_consumers_own(gateway, unique):
    theirs = gateway.chat("half", unique, headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert route_of(theirs)["route"] == "by-consumer" and asked(gateway, unique) == ["mock-long"]
    assert route_of(gateway.chat("half", unique)).get("route") != "by-consumer"


def test_a_user_stays_on_its_side_of_a_share(gateway, unique):
    sides = {f"user-{i}": set(deployments(gateway, "half", f"{unique} {i}", 3, user=f"user-{i}")) for i in range(40)}
    assert all(len(side) == 1 for side in sides.values())
    counts = Counter(side for sides in sides.values() for side in sides)
    assert set(counts) == {"mock-half", "mock-staging"} and min(counts.values()) >= 8, counts


@pytest.mark.parametrize("stream", [False, True])
def test_a_copy_is_neither_waited_for_nor_seen(gateway, unique, stream):
    response = gateway.chat("copied", unique, stream=stream)
    answered_at_ms = time.time() * 1000
    assert response.status_code == 200
    assert response.headers["x-tollgate-deployment"] == "a/mock-copied" and "shadow" not in response.text
    assert (route_of(response)["route"], route_of(response)["mirror"]) == ("copies", "shadow")
    copy = until("the copy is answered", lambda: [e for e in gateway.received(unique) if "shadow" in e["body"]["model"] and e["ended"]])
    assert copy[0]["ended"] == "completed" and len(gateway.received(unique)) == 2
    assert answered_at_ms < copy[0]["ended_at_ms"], "not waited for"
    assert copy[0]["body"]["messages"] == [{"role": "user", "content": unique}]
    records = until("both are in the books", lambda: both if len(both := records_of(gateway, response)) == 2 else None)
    assert sorted((r["deployment"], r["outcome"]) for r in records) == [("a/mock-copied", "completed"), ("b/mock-shadow+slow=3s", "completed")]
    assert {(r["pool"], r.get("mirror", False)) for r in records} == {("copied", False), ("shadow", True)} and all(r["completion_tokens"] > 0 for r in records)


def records_of(gateway, response):
    """The records of a request and of its copy, which have its id in common."""
    page = gateway.admin.get("/admin/requests", params={"limit": 1000}).json()["requests"]
    return [record for record in page if record["request_id"] == response.headers["x-request-id"]]


def test_a_copy_that_fails_harms_nobody(gateway, unique):
    response = gateway.chat("copied-in-vain", unique)
    assert response.status_code == 200 and response.headers["x-tollgate-attempts"] == "1"
    until("the copy is asked", lambda: "mock-shadow+status=500" in asked(gateway, unique))


def test_round_robin_takes_turns(gateway, unique):
    # Each instance counts turns for itself, and on a busy machine another one may begin in between.
    for i in range(3):
        turns = deployments(gateway, "turns", f"{unique} {i}", 9)
        if takes_turns := turns[:3] * 3 == turns and len(set(turns)) == 3:
            break
    assert takes_turns, turns


def test_a_session_stays_where_it_is(gateway, unique):
    homes = {
        session: set(deployments(gateway, "sticky", f"{unique} {session}", 3, headers={"x-session": f"s{session}"}))
        for session in range(20)
    }
    assert all(len(home) == 1 for home in homes.values())
    assert set.union(*homes.values()) == {"mock-1", "mock-2", "mock-3"}


def test_the_least_busy_is_asked(gateway, unique):
    answers = []

    def one(i):
        answers.append(gateway.chat("busy", f"{unique} {i}").headers["x-tollgate-deployment"])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(6)]
    for i, thread in enumerate(threads):
        thread.start()
        until("it is asked", lambda: gateway.received(f"{unique} {i}"))
    for thread in threads:
        thread.join()
    assert sorted(Counter(answers).values()) == [3, 3]


def test_the_cheapest_is_asked(gateway, unique):
    assert set(deployments(gateway, "cheap", unique, 6)) == {"mock-cheap"}


def test_the_quickest_is_asked_once_it_is_known(gateway, unique):
    deployments(gateway, "quick", unique, 6)
    assert Counter(deployments(gateway, "quick", unique + " then", 10))["mock-quick"] >= 9


def test_weights_are_shares_and_what_is_drained_is_never_asked(gateway, unique):
    counts = Counter(deployments(gateway, "weighted", unique, 80))
    assert set(counts) == {"mock-heavy", "mock-light"} and 42 <= counts["mock-heavy"] <= 76, counts


def test_what_is_over_a_capacity_goes_to_the_next_priority(gateway, unique):
    first, *rest = (gateway.chat("full", f"{unique} {i}", max_tokens=200) for i in range(4))
    assert first.headers["x-tollgate-deployment"] == "a/mock-small", "one that is idle takes any"
    for response in rest:
        assert response.headers["x-tollgate-deployment"] == "b/mock-large"
        assert (route_of(response)["skipped"], route_of(response)["tier"]) == ("a/mock-small:full", "1")


@pytest.mark.parametrize(
    ("headers", "deployment", "region"),
    [
        ({"x-user-region": "eu-north"}, "mock-west", "eu-west"),
        ({"x-user-region": "us-west"}, "mock-east", "us-east"),
        ({"x-user-region": "asia"}, "mock-asia", "asia"),
        ({"x-forwarded-region": "asia"}, "mock-asia", "asia"),
        ({"x-user-region": "eu", "x-forwarded-region": "asia"}, "mock-west", "eu-west"),
    ],
)
def test_the_nearest_region_is_asked(gateway, unique, headers, deployment, region):
    assert set(deployments(gateway, "everywhere", unique, 5, headers=headers)) == {deployment}
    assert route_of(gateway.chat("everywhere", unique, headers=headers))["region"] == region
    assert "region" not in route_of(gateway.chat("everywhere", unique))


# What is marked so goes to another pool.
STAGED = """
[[models]]
name = "plain"
deployments = [{ backend = "a", model = "mock-plain" }]

[[models]]
name = "staging"
deployments = [{ backend = "b", model = "mock-staging" }]

[[routes]]
name = "canary"
headers = { x-stage = "canary" }
to = "staging"
"""


def test_a_refusal_says_which_route_led_to_it(new_gateway, mock, unique):
    limited = """
[[limits]]
name = "one"
counter_key = ["model"]
requests_per_minute = 1
"""
    gateway = new_gateway(document=document(mock, f"{STAGED}mirror = {{ to = 'plain' }}\n{limited}"))
    answers = [gateway.chat("plain", f"{unique} {n}", headers={"x-stage": "canary"}) for n in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    decided = "route=canary;model=staging"
    assert answers[1].headers["x-tollgate-route"] == decided, "and no copy was made"
    record = gateway.record_of(answers[1])
    assert (record["route"], record["pool"], record["outcome"]) == (decided, "staging", "refused")


def test_a_cached_answer_says_which_route_led_to_it(new_gateway, mock, unique):
    gateway = new_gateway(document=document(mock, STAGED))
    for headers, decision in [({"x-stage": "canary"}, "route=canary;model=staging"), (None, None)]:
        first = gateway.chat("plain", unique, headers=headers)
        assert first.headers["x-tollgate-cache"] != "exact" and first.headers["x-tollgate-route"].startswith(decision or "model=plain")
        hit = until("it is cached", lambda: (r := gateway.chat("plain", unique, headers=headers)).headers["x-tollgate-cache"] == "exact" and r)
        assert hit.headers.get("x-tollgate-route") == decision
        record = gateway.record_of(hit)
        assert (record.get("route") or None, record.get("pool") or None) == (decision, "staging" if decision else None)
