"""Circuit breakers: when a deployment is left alone, for how long, and who asks it again."""

import asyncio
import signal
import time

import httpx
import pytest
from support import backends, servers
from support.gateway import KEY, Gateway
from support.load import post
from support.pools import asked, document, route_of

# Each test has deployments of its own, and so breakers of its own; an upstream fails anew for each `x-mock-id`.
POOLS = """
[[models]]
name = "counted"
retries = { max_attempts = 1 }
breaker = { failures = 3, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-counted+flaky=3" }]

[[models]]
name = "ratio"
retries = { max_attempts = 1 }
breaker = { failure_ratio = 0.5, min_requests = 4, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-ratio+status=500" }]

[[models]]
name = "at-fault-itself"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-fault+status=400" }]

[[models]]
name = "probed"
breaker = { failures = 1, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-probed+flaky=1+slow=600ms" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "probed-in-vain"
breaker = { failures = 1, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-vain+flaky=2" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "slow-timeouts"
timeouts = { first_byte_ms = 200 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-slow+silence" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "breaks-off"
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-breaks+cut=3" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "recooled"
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-recooled+slow=800ms+status=429+retry-after-ms=1500" }]

[[models]]
name = "checked"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 600 }
health_check = { interval_s = 1 }
deployments = [{ backend = "a", model = "mock-checked+flaky=1" }]

[[models]]
name = "open-falls-back"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-open+status=500" }]
fallbacks = [{ to = "else", on = ["server"] }]

[[models]]
name = "else"
deployments = [{ backend = "b", model = "mock-else" }]

[[models]]
name = "shared"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 3 }
deployments = [{ backend = "a", model = "mock-shared+flaky=1+slow=800ms" }]
"""

# How providers say when to come back, each about two seconds from now; dates and moments are read in `routing`'s own tests.
COOLING = [
    "retry-after=2",
    "retry-after-ms=1800",
    "header=x-ratelimit-reset-requests:2s",
    "header=x-ratelimit-reset-tokens:0m1.8s",
    "header=retry-after:2.0",
]


def pools():
    cooling = (
        f'[[models]]\nname = "cooling-{i}"\nretries = {{ max_attempts = 1 }}\n'
        f'deployments = [{{ backend = "a", model = "mock+status=429+{header}" }}]\n'
        for i, header in enumerate(COOLING)
    )
    return POOLS + "\n".join(cooling)


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, pools()))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def alone(mock, tmp_path_factory):
    """A gateway that is asked one thing at a time, and so has one instance: others would learn of an opening a moment later."""
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, pools()))
    yield running
    running.stop()


def ask(gateway, model, unique, number):
    """One of several requests of a test, each with a text of its own."""
    return gateway.chat(model, f"{unique} {number}", headers={"x-mock-id": unique})


def is_left_alone(response):
    """Whether the gateway answered in the place of a deployment that is left alone: with when to come back."""
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_available_backend"), response.text
    assert response.headers["x-tollgate-attempts"] == "0"
    return int(response.headers["retry-after"])


# What has recovered is used again.


def test_a_deployment_that_fails_too_often_is_left_alone_and_used_again_when_it_is_well(gateway, unique):
    assert [ask(gateway, "counted", unique, i).status_code for i in range(3)] == [503] * 3
    assert len(gateway.received(unique)) == 3
    for i in range(3, 6):
        started = time.monotonic()
        response = ask(gateway, "counted", unique, i)
        assert is_left_alone(response) == 1 and time.monotonic() - started < 0.3
        assert route_of(response)["skipped"] == "a/mock-counted+flaky=3:open"
    assert len(gateway.received(unique)) == 3, "nothing reached it"
    record = gateway.record_of(response)
    assert (record["outcome"], record["attempts"], record["error_code"]) == ("upstream_failed", 0, "no_available_backend")
    time.sleep(1.2)
    assert [ask(gateway, "counted", unique, i).status_code for i in range(6, 10)] == [200] * 4
    assert len(gateway.received(unique)) == 7


def test_a_ratio_counts_only_once_there_were_enough_requests(gateway, unique):
    assert [ask(gateway, "ratio", unique, i).status_code for i in range(4)] == [500] * 4
    assert is_left_alone(ask(gateway, "ratio", unique, 4)) > 50
    assert len(gateway.received(unique)) == 4


def test_requests_that_are_wrong_say_nothing_about_the_deployment(gateway, unique):
    assert [ask(gateway, "at-fault-itself", unique, i).status_code for i in range(4)] == [400] * 4
    assert len(gateway.received(unique)) == 4


@pytest.mark.parametrize(("model", "first"), [("slow-timeouts", "mock-slow+silence"), ("breaks-off", "mock-breaks+cut=3")])
def test_timeouts_and_answers_that_break_off_count(gateway, unique, model, first):
    gateway.chat(model, f"{unique} 0", stream=True)
    started = time.monotonic()
    response = gateway.chat(model, f"{unique} 1", stream=True)
    assert response.headers["x-tollgate-deployment"] == "b/mock-else" and time.monotonic() - started < 0.2
    assert asked(gateway, f"{unique} 1") == ["mock-else"] and asked(gateway, unique).count(first) == 1


def test_one_request_at_a_time_asks_whether_it_is_well(new_gateway, mock, unique):
    # Of its own: many requests at once have instances begin, which would learn of other tests' openings a moment later.
    gateway = new_gateway(document=document(mock, POOLS))
    first = ask(gateway, "probed", unique, "first")
    assert first.status_code == 200 and first.headers["x-tollgate-attempts"] == "2"
    time.sleep(1.2)

    async def many():
        body = lambda i: {"model": "probed", "messages": [{"role": "user", "content": f"{unique} probe {i}"}]}  # noqa: E731
        return await asyncio.gather(
            *(post(gateway.url, KEY, f"{unique} {i}".replace(" ", "-"), body(i), {"x-mock-id": unique}) for i in range(12))
        )

    answers = asyncio.run(many())
    assert [answer.status for answer in answers] == [200] * 12
    assert sorted(asked(gateway, f"{unique} probe")) == ["mock-else"] * 11 + ["mock-probed+flaky=1+slow=600ms"]
    quick = [answer.finished - answer.started for answer in answers if answer.headers["x-tollgate-deployment"] == "b/mock-else"]
    assert len(quick) == 11 and max(quick) < 0.6, "nobody waits for the probe"
    # The instance of the probe knows at once; the others at their next look, once a second.
    time.sleep(1.1)
    after = ask(gateway, "probed", unique, "after")
    assert after.headers["x-tollgate-deployment"].startswith("a/"), "closed by the probe"


def test_a_probe_that_fails_leaves_it_open_for_as_long_again(gateway, unique):
    assert ask(gateway, "probed-in-vain", unique, 0).headers["x-tollgate-attempts"] == "2"
    time.sleep(1.2)
    assert ask(gateway, "probed-in-vain", unique, 1).headers["x-tollgate-attempts"] == "2", "the probe, and elsewhere"
    assert [ask(gateway, "probed-in-vain", unique, i).headers["x-tollgate-attempts"] for i in (2, 3)] == ["1", "1"]
    assert asked(gateway, unique).count("mock-vain+flaky=2") == 2
    time.sleep(1.2)
    assert [ask(gateway, "probed-in-vain", unique, i).headers["x-tollgate-deployment"][0] for i in (4, 5)] == ["a", "a"]


# Nobody is asked before the time that it named.


@pytest.mark.parametrize("i", range(len(COOLING)), ids=COOLING)
def test_nobody_is_asked_before_the_time_that_it_named(alone, unique, i):
    assert ask(alone, f"cooling-{i}", unique, 0).status_code == 429
    refused_at = time.monotonic()
    for n in range(1, 6):
        response = ask(alone, f"cooling-{i}", unique, n)
        assert 1 <= is_left_alone(response) <= 3
        assert route_of(response)["skipped"].endswith(":cooling")
    assert len(alone.received(unique)) == 1
    time.sleep(max(0, refused_at + 1.3 - time.monotonic()))
    is_left_alone(ask(alone, f"cooling-{i}", unique, 6))
    time.sleep(max(0, refused_at + 3.2 - time.monotonic()))
    assert ask(alone, f"cooling-{i}", unique, 7).status_code == 429
    assert len(alone.received(unique)) == 2


# Of two times that were named, the later holds.


def test_a_later_time_is_not_forgotten_for_an_earlier_one(gateway, unique):
    async def two():
        body = lambda i: {"model": "recooled", "messages": [{"role": "user", "content": f"{unique} {i}"}]}  # noqa: E731
        first = asyncio.create_task(post(gateway.url, KEY, "recooled-0", body(0)))
        await asyncio.sleep(0.7)
        second = await post(gateway.url, KEY, "recooled-1", body(1))
        return await first, second

    first, second = asyncio.run(two())
    assert [first.status, second.status] == [429, 429]
    assert second.finished - first.finished > 0.4
    time.sleep(max(0, first.finished + 1.7 - time.monotonic()))
    is_left_alone(ask(gateway, "recooled", unique, 2))
    time.sleep(max(0, second.finished + 1.7 - time.monotonic()))
    assert ask(gateway, "recooled", unique, 3).status_code == 429
    assert len(gateway.received(unique)) == 3


def test_a_health_check_closes_early(gateway, unique):
    assert ask(gateway, "checked", unique, 0).status_code == 503
    deadline, refused = time.monotonic() + 6, 0
    while (response := ask(gateway, "checked", unique, f"then {refused}")).status_code == 503 and time.monotonic() < deadline:
        refused += 1
        time.sleep(0.2)
    assert response.status_code == 200 and refused >= 1
    assert len(gateway.received(unique)) == 2, "the failure, and when it was well"
    log = httpx.get(f"{gateway.mock.url}/mock/log").json()
    checks = [entry for entry in log if (entry["method"], entry["path"]) == ("GET", "/v1/models")]
    assert 1 <= len(checks) <= 3


def test_a_health_check_that_fails_closes_nothing(new_gateway, mock, unique):
    down = backends.Scripted(backends.head(2, "connection: close", status="503 Service Unavailable") + b"{}", None)
    pools = f"""
[[backends]]
id = "down"
base_url = "{down.url}/v1"

[[models]]
name = "checked-in-vain"
retries = {{ max_attempts = 1 }}
breaker = {{ failures = 1, trip_duration_s = 600 }}
health_check = {{ interval_s = 1 }}
deployments = [{{ backend = "down", model = "m" }}]
"""
    try:
        gateway = new_gateway(document=document(mock, pools), variables={"http_backend_3": down.url})
        assert gateway.chat("checked-in-vain", unique).status_code == 503
        until, asks = time.monotonic() + 3.5, 0
        while time.monotonic() < until:
            assert is_left_alone(ask(gateway, "checked-in-vain", unique, asks)) > 590
            asks += 1
            time.sleep(0.1)
        assert asks > 10
        first_lines = [request.split(b"\r\n")[0] for request in down.asked]
        assert first_lines[0] == b"POST /v1/chat/completions HTTP/1.1"
        assert set(first_lines[1:]) == {b"GET /v1/models HTTP/1.1"}, "nobody's question"
        assert 2 <= len(first_lines[1:]) <= 5
    finally:
        down.stop()


def test_a_pool_that_is_out_of_service_falls_back(gateway, unique):
    for i, attempts in [(0, "2"), (1, "1"), (2, "1")]:
        response = ask(gateway, "open-falls-back", unique, i)
        assert (response.status_code, response.headers["x-tollgate-attempts"]) == (200, attempts)
        assert route_of(response)["fallback"] == "open-falls-back:server"
    assert asked(gateway, unique) == ["mock-open+status=500", "mock-else", "mock-else", "mock-else"]


def test_replicas_that_share_a_store_share_what_they_know(new_gateway, mock, unique, tmp_path):
    redis = servers.start_redis(tmp_path)
    try:
        runtime = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
        one, two = (new_gateway(document=document(mock, POOLS), runtime_config=runtime) for _ in range(2))
        assert ask(one, "shared", unique, 0).status_code == 503
        assert 1 <= is_left_alone(ask(two, "shared", unique, 1)) <= 3
        assert len(one.received(unique)) == 1
        time.sleep(3.2)

        async def six_at_each():
            body = lambda i: {"model": "shared", "messages": [{"role": "user", "content": f"{unique} probe {i}"}]}  # noqa: E731
            return await asyncio.gather(
                *(post(url, KEY, f"shared-{i}", body(i), {"x-mock-id": unique}) for i, url in enumerate([one.url, two.url] * 6))
            )

        answers = asyncio.run(six_at_each())
        assert sorted(answer.status for answer in answers) == [200] + [503] * 11
        assert {answer.json()["error"]["code"] for answer in answers if answer.status == 503} == {"no_available_backend"}
        assert len(one.received(f"{unique} probe")) == 1, "one probe for all replicas"
        # Whoever has not probed learns at its next look, once a second.
        time.sleep(1.1)
        assert [ask(gateway, "shared", unique, i).status_code for i, gateway in ((2, one), (3, two))] == [200, 200]
    finally:
        redis.stop()


def test_a_store_that_hangs_costs_a_moment_and_each_instance_goes_on_alone(new_gateway, mock, unique, tmp_path):
    redis = servers.start_redis(tmp_path)
    runtime = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
    gateway = new_gateway(document=document(mock, "[cache]\nenabled = false\n" + POOLS), runtime_config=runtime)
    try:
        assert ask(gateway, "else", unique, 0).status_code == 200
        redis.process.send_signal(signal.SIGSTOP)
        took = []
        for model, status in [("else", 200), ("counted", 503), ("counted", 503), ("counted", 503), ("counted", 503), ("else", 200)]:
            started = time.monotonic()
            assert ask(gateway, model, unique, len(took) + 1).status_code == status
            took.append(time.monotonic() - started)
        assert max(took) < 1, took
        assert asked(gateway, unique).count("mock-counted+flaky=3") == 3, "the fourth found it open"
        time.sleep(1.2)
        assert ask(gateway, "counted", unique, "probe").status_code == 200
    finally:
        redis.process.send_signal(signal.SIGCONT)
        redis.stop()
