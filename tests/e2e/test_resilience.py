"""Retries and fallbacks: whom a request asks when it is refused, how often and when, and what its client is told.

Together with `test_breakers.py`, `test_continued.py` and `test_streams.py` every trap of failover that users of gateways report has a test: cut, malformed and unfinished streams, errors
with a status of success, streams gone on with, long first tokens, clients that leave, runaways, tool calls, split characters, silent routes, hammering, prompts that no retry makes
shorter, fallbacks upon the wrong error, cooldowns cut short, breakers that stay open, timeouts that never fire.
"""

import time

import pytest
from support.clients import ended, promptly
from support.gateway import Gateway
from support.pools import asked, document, route_of, streamed, told

POOLS = """
[defaults.breaker]
enabled = false

[[models]]
name = "second"
deployments = [{ backend = "b", model = "mock-second" }]

# Whoever answers well has the same time for it.
[[models]]
name = "silent-first"
timeouts = { first_byte_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+silence" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "silent"
timeouts = { first_byte_ms = 300 }
deployments = [{ backend = "a", model = "mock-a+silence" }]

[[models]]
name = "tokenless"
timeouts = { first_token_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+ttft=20s" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "hiccup"
deployments = [{ backend = "a", model = "mock-a+flaky=1+reset" }]

[[models]]
name = "quick-once"
retries = { max_attempts = 2, backoff_ms = 60_000, backoff_max_ms = 60_000 }
deployments = [{ backend = "a", model = "mock-a+status=500" }]

[[models]]
name = "patient"
retries = { max_attempts = 4, backoff_ms = 300 }
deployments = [{ backend = "a", model = "mock-a+status=500" }]

[[models]]
name = "hurried"
retries = { max_attempts = 10, total_ms = 2_300, backoff_ms = 1 }
deployments = [{ backend = "a", model = "mock-a+slow=500ms+status=500" }]

[[models]]
name = "only-503-of-500"
retries = { statuses = ["503"] }
deployments = [{ backend = "a", model = "mock-a+status=500" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "only-503-of-503"
retries = { statuses = ["503"] }
deployments = [{ backend = "a", model = "mock-a+status=503" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "waited-for"
deployments = [{ backend = "a", model = "mock-a+flaky=1+status=429+retry-after=1" }]

[[models]]
name = "not-waited-for"
retries = { backoff_max_ms = 500 }
deployments = [{ backend = "a", model = "mock-a+status=429+retry-after=30" }]

[[models]]
name = "elsewhere-meanwhile"
deployments = [{ backend = "a", model = "mock-a+status=429+retry-after=30" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "chain"
deployments = [{ backend = "a", model = "mock-a+status=500" }]
retries = { max_attempts = 1 }
fallbacks = [{ to = "chain-2", on = ["server"] }, { to = "second", on = ["rate_limit"] }]

[[models]]
name = "chain-2"
deployments = [{ backend = "b", model = "mock-b+status=429" }]
retries = { max_attempts = 1 }

[[models]]
name = "all-fail"
retries = { max_attempts = 3 }
deployments = [{ backend = "a", model = "mock-a+status=429+retry-after=7" }, { backend = "b", model = "mock-b+status=500", priority = 1 }, { backend = "c", model = "mock-c+reset", priority = 2 }]
"""

# What two deployments of a pool are asked, and whether the second one's answer is wanted.
HOPELESS = ["status=400+code=context_length_exceeded", "status=500+code=context_length_exceeded", "status=400+code=content_filter", "status=400", "error-200+code=context_length_exceeded"]
HOPEFUL = ["status=500", "status=503", "status=429", "status=401", "status=404", "status=408", "status=409", "reset", "not-json", "truncated-json", "error-200"]
CUT_EARLY = ["error-in-stream=0", "event-error=0", "clean-cut=0", "cut=0", "malformed=1"]

# A fault of each class.
CLASSES = {
    "context_window": "status=400+code=context_length_exceeded",
    "content_policy": "status=400+code=content_filter",
    "rate_limit": "status=429",
    "timeout": "status=504",
    "server": "status=500",
    "auth": "status=401",
    "invalid_request": "status=422",
}


def pools():
    more = []
    for fault in HOPELESS + HOPEFUL + CUT_EARLY:
        more.append(
            f'[[models]]\nname = "{fault}"\n'
            f'deployments = [{{ backend = "a", model = "mock-a+{fault}" }}, {{ backend = "b", model = "mock-b", priority = 1 }}]\n'
        )
    for name, fault in CLASSES.items():
        for on in [*CLASSES, "any"]:
            more.append(
                f'[[models]]\nname = "{name}/{on}"\nretries = {{ max_attempts = 1 }}\n'
                f'deployments = [{{ backend = "a", model = "mock-a+{fault}" }}]\nfallbacks = [{{ to = "second", on = ["{on}"] }}]\n'
            )
    return POOLS + "\n".join(more)


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, pools()))
    yield running
    running.stop()


def waits_ms(gateway, text):
    """How long after the one before each attempt came."""
    at = [entry["received_at_ms"] for entry in gateway.received(text)]
    return [later - earlier for earlier, later in zip(at, at[1:])]


# Whoever is silent is not asked twice. Timeouts fire.


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_deployment_is_left_for_another_after_its_timeout(gateway, unique, stream):
    started = time.monotonic()
    response = gateway.chat("silent-first", unique, stream=stream)
    assert response.status_code == 200 and 2 < time.monotonic() - started < 15
    assert asked(gateway, unique) == ["mock-a+silence", "mock-b"]
    assert ended(gateway, unique) == "client_gone", "it was hung up on"
    record = gateway.record_of(response)
    assert (record["deployment"], record["attempts"], record.get("retried_usage")) == ("b/mock-b", 2, None)


def test_a_silent_deployment_that_is_alone_is_not_asked_twice(gateway, unique):
    started = time.monotonic()
    response = gateway.chat("silent", unique)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    assert 0.3 < time.monotonic() - started < 15 and asked(gateway, unique) == ["mock-a+silence"]


def test_a_stream_without_a_first_token_is_left_for_another(gateway, unique):
    answer = streamed(gateway, "tokenless", unique)
    assert answer.is_whole and 2 < answer.first("data:") < 15
    assert asked(gateway, unique) == ["mock-a+ttft=20s", "mock-b"]
    assert ended(gateway, unique) == "client_gone"


# What the same model would refuse again is not sent to it again.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", HOPELESS)
def test_what_is_wrong_with_the_request_is_told_at_once(gateway, unique, fault, stream):
    def took(i):
        text = f"{unique} {i}"
        started = time.monotonic()
        response = gateway.chat(fault, text, stream=stream)
        seconds = time.monotonic() - started
        assert asked(gateway, text) == [f"mock-a+{fault}"]
        assert response.status_code == (500 if fault.startswith("status=500") else 400)
        body = {"model": f"mock-a+{fault}", "messages": [{"role": "user", "content": text}], "stream": stream}
        direct = gateway.http.post(f"{gateway.mock.url}/v1/chat/completions", json=body)
        assert response.json() == direct.json(), "the provider's own words"
        record = gateway.record_of(response)
        assert (record["outcome"], record["attempts"], record["completion_tokens"]) == ("upstream_error", 1, 0)
        return seconds

    promptly(took)


# What breaks off in its JSON is no stream: of those CUT_EARLY has its own.
@pytest.mark.parametrize(("fault", "stream"), [(f, s) for f in HOPEFUL for s in (False, True) if not (s and f == "truncated-json")])
def test_what_another_deployment_may_do_better_is_asked_of_it_at_once(gateway, unique, fault, stream):
    def took(i):
        text = f"{unique} {i}"
        started = time.monotonic()
        response = gateway.chat(fault, text, stream=stream)
        seconds = time.monotonic() - started
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
        assert not stream or (response.text.endswith("data: [DONE]\n\n") and '"error"' not in response.text)
        assert asked(gateway, text) == [f"mock-a+{fault}", "mock-b"]
        assert response.headers["x-tollgate-deployment"] == "b/mock-b"
        route = route_of(response)
        assert (route["model"], route["attempts"], route["skipped"]) == (fault, "2", f"a/mock-a+{fault}:failed")
        record = gateway.record_of(response)
        assert (record["deployment"], record["attempts"], record["outcome"]) == ("b/mock-b", 2, "completed")
        assert record["stream"] == stream and not record["estimated"] and record["completion_tokens"] > 0
        assert record["route"] == response.headers["x-tollgate-route"]
        return seconds

    promptly(took)


# An error inside a stream of 200.


@pytest.mark.parametrize("fault", CUT_EARLY)
def test_a_stream_that_fails_before_it_has_said_anything_is_asked_of_another(gateway, unique, fault):
    def took(i):
        text = f"{unique} {i}"
        answer = streamed(gateway, fault, text)
        assert asked(gateway, text) == [f"mock-a+{fault}", "mock-b"]
        assert answer.is_whole and answer.text == told(gateway, "mock", text)
        assert gateway.record_of(answer.response)["attempts"] == 2
        return answer.first("data:")

    promptly(took)


# Retries of one deployment.


def test_the_first_retry_is_quick(gateway, unique):
    started = time.monotonic()
    assert gateway.chat("quick-once", unique).status_code == 500
    assert len(asked(gateway, unique)) == 2 and time.monotonic() - started < 10, "not by chance up to a minute"


def test_later_ones_back_off(gateway, unique):
    waits = []
    for text in (f"{unique} {i}" for i in range(3)):
        response = gateway.chat("patient", text)
        assert (response.status_code, response.headers["x-should-retry"]) == (500, "false")
        assert response.headers["x-tollgate-attempts"] == "4" and len(asked(gateway, text)) == 4
        waits.append(waits_ms(gateway, text))
    _, second, third = zip(*waits)
    # By chance up to 300 and 600 ms: of three not all take longer, and all together is not next to nothing.
    assert min(second) < 450 and min(third) < 750 and sum(second + third) > 150, waits


def test_a_connection_that_breaks_once_is_tried_again(gateway, unique):
    response = gateway.chat("hiccup", unique, headers={"x-mock-id": unique})
    assert response.status_code == 200 and len(asked(gateway, unique)) == 2
    assert gateway.record_of(response)["attempts"] == 2


def test_no_attempt_begins_after_the_time_for_retries(gateway, unique):
    assert gateway.chat("hurried", unique).status_code == 500
    assert 2 <= len(asked(gateway, unique)) <= 5, "each takes half a second"


def test_only_configured_statuses_are_tried_again(gateway, unique):
    response = gateway.chat("only-503-of-500", unique)
    assert response.status_code == 500 and asked(gateway, unique) == ["mock-a+status=500"]
    response = gateway.chat("only-503-of-503", unique + "!")
    assert response.status_code == 200 and asked(gateway, unique + "!") == ["mock-a+status=503", "mock-b"]


# Whoever says when to come back is not asked before.


def test_a_wait_that_is_short_is_waited_for(gateway, unique):
    started = time.monotonic()
    response = gateway.chat("waited-for", unique, headers={"x-mock-id": unique})
    assert response.status_code == 200 and 1 < time.monotonic() - started < 15
    assert len(waits := waits_ms(gateway, unique)) == 1 and waits[0] >= 1000


def test_a_wait_that_is_long_is_told_to_the_client(gateway, unique):
    def took(i):
        text = f"{unique} {i}"
        started = time.monotonic()
        response = gateway.chat("not-waited-for", text)
        seconds = time.monotonic() - started
        assert (response.status_code, response.headers["retry-after"]) == (429, "30")
        assert len(asked(gateway, text)) == 1
        return seconds

    promptly(took)


def test_another_deployment_is_asked_meanwhile(gateway, unique):
    def took(i):
        text = f"{unique} {i}"
        started = time.monotonic()
        assert gateway.chat("elsewhere-meanwhile", text).status_code == 200
        seconds = time.monotonic() - started
        assert asked(gateway, text) == ["mock-a+status=429+retry-after=30", "mock-b"]
        return seconds

    promptly(took)


def test_when_all_fail_the_most_telling_failure_is_told(gateway, unique):
    response = gateway.chat("all-fail", unique)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7"), "when to come back"
    assert (response.headers["x-tollgate-deployment"], response.headers["x-should-retry"]) == ("a/mock-a+status=429+retry-after=7", "false")
    assert [model[:6] for model in asked(gateway, unique)] == ["mock-a", "mock-b", "mock-c"]


# A fallback is for the errors that it names.


@pytest.mark.parametrize("fault", CLASSES)
def test_a_fallback_is_taken_upon_the_class_that_it_names_and_no_other(gateway, unique, fault):
    for on in [*CLASSES, "any"]:
        text = f"{unique} {on}"
        response = gateway.chat(f"{fault}/{on}", text)
        first = f"mock-a+{CLASSES[fault]}"
        if on == fault or (on == "any" and fault != "invalid_request"):
            assert response.status_code == 200 and asked(gateway, text) == [first, "mock-second"], on
            assert route_of(response)["fallback"] == f"{fault}/{on}:{fault}"
            record = gateway.record_of(response)
            assert (record["pool"], record["deployment"], record["attempts"]) == ("second", "b/mock-second", 2)
        else:
            assert response.status_code >= 400 and asked(gateway, text) == [first], on
            assert "fallback" not in route_of(response)


def test_a_fallback_that_fails_leads_to_what_is_left(gateway, unique):
    response = gateway.chat("chain", unique)
    assert response.status_code == 200
    assert asked(gateway, unique) == ["mock-a+status=500", "mock-b+status=429", "mock-second"]
    assert route_of(response)["fallback"] == "chain:server,chain-2:rate_limit"
    time.sleep(0.4)  # what is stored is stored by then
    again = gateway.chat("chain", unique)
    assert again.headers["x-tollgate-cache"] != "exact", "another model's answer is not this one's"
