"""Who is asked when the nearest, the session's own or the first tier is out; and what else routes and copies go by."""

import time
from collections import Counter

import pytest
from support.clients import until
from support.gateway import OTHER_KEY, Gateway
from support.pools import asked, document, route_of

THREE = '[{ backend = "a", model = "mock-1" }, { backend = "b", model = "mock-2" }, { backend = "c", model = "mock-3" }]'

POOLS = f"""
[cache]
enabled = false

[regions]
eu = ["eu-west", "us-east"]

[[models]]
name = "regional"
breaker = {{ failures = 1, trip_duration_s = 60 }}
deployments = [{{ backend = "a", model = "mock-west+status=503", region = "eu-west" }}, {{ backend = "b", model = "mock-east", region = "us-east" }}, {{ backend = "c", model = "mock-asia", region = "asia" }}]

[[models]]
name = "homely"
strategy = "session"
session_key = "header:x-session"
breaker = {{ failures = 1, trip_duration_s = 3 }}
deployments = [{{ backend = "a", model = "mock-home+flaky=1" }}, {{ backend = "b", model = "mock-other" }}]

[[models]]
name = "by-cookie"
strategy = "session"
session_key = "cookie:sid"
deployments = {THREE}

[[models]]
name = "by-its-consumer"
strategy = "session"
deployments = {THREE}

[[models]]
name = "by-conversation"
strategy = "session"
session_key = "conversation"
deployments = {THREE}

[[models]]
name = "cheap"
strategy = "lowest_cost"
deployments = [{{ backend = "a", model = "mock-cheap-prompt" }}, {{ backend = "b", model = "mock-cheap-answer" }}]

[[models]]
name = "full"
deployments = [{{ backend = "a", model = "mock-full", capacity_tokens_per_minute = 2000 }}]

[[models]]
name = "shared-capacity"
deployments = [{{ backend = "a", model = "mock-capacity+tokens=900", capacity_tokens_per_minute = 1200 }}, {{ backend = "b", model = "mock-spill", priority = 1 }}]

[[models]]
name = "sampled"
deployments = [{{ backend = "a", model = "mock-sampled" }}]

[[models]]
name = "shadow"
deployments = [{{ backend = "b", model = "mock-shadow" }}]

[[models]]
name = "plain"
deployments = [{{ backend = "a", model = "mock-plain" }}]

[[models]]
name = "special"
deployments = [{{ backend = "b", model = "mock-special" }}]

[[routes]]
name = "team"
models = ["plain"]
headers = {{ x-test = "team" }}
teams = ["tests"]
to = "special"

[[routes]]
name = "tag"
models = ["plain"]
headers = {{ x-test = "tag" }}
tags = ["production"]
to = "special"

[[routes]]
name = "sees"
models = ["plain"]
features = ["vision"]
to = "special"

[[routes]]
name = "formats"
models = ["plain"]
features = ["json"]
to = "special"

[[routes]]
name = "samples"
models = ["sampled"]
mirror = {{ to = "shadow", share = 0.5 }}

[pricing."mock-cheap-prompt"]
prompt_usd_per_million = 1
completion_usd_per_million = 10

[pricing."mock-cheap-answer"]
prompt_usd_per_million = 2
completion_usd_per_million = 5
"""

OTHER = {"authorization": f"Bearer {OTHER_KEY}"}


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


def upstream(response):
    assert response.status_code == 200, response.text
    return response.headers["x-tollgate-deployment"].split("/")[1]


def test_the_next_region_is_asked_when_the_nearest_is_down(gateway, unique):
    answers = [gateway.chat("regional", f"{unique} {i}", headers={"x-user-region": "eu-north"}) for i in range(5)]
    assert [upstream(answer) for answer in answers] == ["mock-east"] * 5
    attempts = [answer.headers["x-tollgate-attempts"] for answer in answers]
    # In between, an instance of which the machine kept the news may find out for itself.
    assert (attempts[0], attempts[-1]) == ("2", "1"), attempts
    assert upstream(gateway.chat("regional", unique, headers={"x-user-region": "asia"})) == "mock-asia"


def test_a_session_moves_while_its_deployment_is_out_and_then_returns(gateway, unique):
    def ask(session):
        headers = {"x-session": f"{unique} {session}", "x-mock-id": f"{unique} {session}".replace(" ", "-")}
        return gateway.chat("homely", f"{unique} {time.monotonic()}", headers=headers)

    session, moved = next((s, answer) for s in range(50) if (answer := ask(s)).headers["x-tollgate-attempts"] == "2")
    assert upstream(moved) == "mock-other"
    away = ask(session)
    assert (upstream(away), route_of(away)["skipped"]) == ("mock-other", "a/mock-home+flaky=1:open")
    until("it returns", lambda: upstream(ask(session)) == "mock-home+flaky=1")
    assert [upstream(ask(session)) for _ in range(3)] == ["mock-home+flaky=1"] * 3


def test_a_cookie_keeps_a_session_where_it_is(gateway, unique):
    homes = [
        {upstream(gateway.chat("by-cookie", f"{unique} {i} {n}", headers={"cookie": f"x=1; sid=s{i}"})) for n in range(3)}
        for i in range(15)
    ]
    assert all(len(home) == 1 for home in homes) and len(set.union(*homes)) == 3


def test_a_consumer_is_a_session_by_itself(gateway, unique):
    for headers in ({}, OTHER):
        assert len({upstream(gateway.chat("by-its-consumer", f"{unique} {n}", headers=headers)) for n in range(8)}) == 1


def test_a_conversation_stays_where_it_began(gateway, unique):
    def turn(i, turns):
        more = [{"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}] * turns
        return upstream(gateway.chat("by-conversation", "", messages=[{"role": "user", "content": f"{unique} {i}"}, *more]))

    homes = [{turn(i, turns) for turns in range(3)} for i in range(15)]
    assert all(len(home) == 1 for home in homes) and len(set.union(*homes)) == 3


def test_the_price_of_an_answer_counts_where_its_length_is_not_said(gateway, unique):
    assert upstream(gateway.chat("cheap", unique)) == "mock-cheap-answer"
    assert upstream(gateway.chat("cheap", unique + "!", max_tokens=1)) == "mock-cheap-prompt"


def test_where_all_are_at_capacity_it_is_said_when_to_come_back(gateway, unique):
    assert gateway.chat("full", unique, max_tokens=1990).status_code == 200
    refused = gateway.chat("full", unique + "!", max_tokens=1990)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_available_backend")
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert route_of(refused)["skipped"] == "a/mock-full:full"


def test_a_capacity_is_what_all_instances_send(gateway, unique):
    assert upstream(gateway.chat("shared-capacity", unique)) == "mock-capacity+tokens=900"
    # An instance that nobody asks lives for a second: another one begins, and knows. A store that took too long was told
    # nothing; but of four instances that know nothing, each would ask the first.
    for i in range(3):
        time.sleep(1.5)
        then = gateway.chat("shared-capacity", f"{unique} {i}")
        if upstream(then) == "mock-spill":
            break
    assert upstream(then) == "mock-spill"
    assert route_of(then)["skipped"] == "a/mock-capacity+tokens=900:full"


def test_a_share_of_the_requests_is_copied(gateway, unique):
    for i in range(40):
        assert upstream(gateway.chat("sampled", f"{unique} {i}")) == "mock-sampled"
    until("all are in the log", lambda: asked(gateway, unique).count("mock-sampled") == 40)
    time.sleep(0.3)
    copies = Counter(asked(gateway, unique))["mock-shadow"]
    # 20 in the mean; outside of this once in 100,000 runs.
    assert 6 <= copies <= 34, copies


IMAGE = {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}


@pytest.mark.parametrize(
    ("options", "route"),
    [
        ({"headers": {"x-test": "team"}}, "team"),
        ({"headers": {"x-test": "team", **OTHER}}, None),
        ({"headers": {"x-test": "tag"}}, "tag"),
        ({"headers": {"x-test": "tag", **OTHER}}, None),
        ({"messages": [IMAGE]}, "sees"),
        ({"response_format": {"type": "json_object"}}, "formats"),
        ({"response_format": {"type": "text"}}, None),
    ],
)
def test_routes_go_by_team_tag_and_what_a_request_uses(gateway, unique, options, route):
    response = gateway.chat("plain", unique, **options)
    assert route_of(response).get("route") == route
    assert upstream(response) == ("mock-special" if route else "mock-plain")
