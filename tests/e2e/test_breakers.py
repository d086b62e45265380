"""Circuit breakers: when a deployment is left alone, for how long, and who asks it again."""

import asyncio
import statistics
import time

import httpx
import pytest
from support import backends, servers
from support.clients import until
from support.gateway import KEY, Gateway
from support.left_alone import ask, is_left_alone, until_asked_again
from support.load import post
from support.pools import asked, document, route_of

# Each test has deployments of its own, and so breakers of its own; an upstream fails anew for each `x-mock-id`.
# `ttft` has streams take long, and neither errors nor whole answers.
POOLS = """
[[models]]
name = "counted"
retries = { max_attempts = 1 }
breaker = { failures = 3, trip_duration_s = 3 }
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
deployments = [{ backend = "a", model = "mock-probed+flaky=1+ttft=3s" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "probed-in-vain"
breaker = { failures = 1, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-vain+flaky=2" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "slow-timeouts"
timeouts = { first_byte_ms = 2_000 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-slow+silence" }, { backend = "b", model = "mock-slow-else", priority = 1 }]

[[models]]
name = "breaks-off"
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-breaks+cut=3" }, { backend = "b", model = "mock-breaks-else", priority = 1 }]

[[models]]
name = "recooled"
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-recooled+slow=2s+status=429+retry-after-ms=2000" }]

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
name = "under-way"
deployments = [{ backend = "c", model = "mock-under-way+stall=1" }]
"""

# What the router's log says of an instance to which the store did not answer in time.
WENT_ON_ALONE = "this instance's own for now"

# How providers say when to come back, each about three seconds from now; dates and moments are read in `routing`'s own tests.
COOLING = [
    "retry-after=3",
    "retry-after-ms=2800",
    "header=x-ratelimit-reset-requests:3s",
    "header=x-ratelimit-reset-tokens:0m2.8s",
    "header=retry-after:3.0",
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


# What has recovered is used again.


def test_a_deployment_that_fails_too_often_is_left_alone_and_used_again_when_it_is_well(gateway, unique):
    assert [ask(gateway, "counted", unique, i).status_code for i in range(3)] == [503] * 3
    assert len(gateway.received(unique)) == 3
    (*refused, well), left_alone_ms = until_asked_again(gateway, "counted", unique)
    assert refused and left_alone_ms >= 3_000, "nothing reached it"
    for response in refused:
        assert 1 <= is_left_alone(response) <= 3
        assert route_of(response)["skipped"] == "a/mock-counted+flaky=3:open"
    record = gateway.record_of(refused[-1])
    assert (record["outcome"], record["attempts"], record["error_code"]) == ("upstream_failed", 0, "no_available_backend")
    assert [well.status_code, *(ask(gateway, "counted", unique, i).status_code for i in range(3, 6))] == [200] * 4
    assert len(gateway.received(unique)) == 7


def test_a_ratio_counts_only_once_there_were_enough_requests(gateway, unique):
    assert [ask(gateway, "ratio", unique, i).status_code for i in range(4)] == [500] * 4
    assert is_left_alone(ask(gateway, "ratio", unique, 4)) > 50
    assert len(gateway.received(unique)) == 4


def test_requests_that_are_wrong_say_nothing_about_the_deployment(gateway, unique):
    assert [ask(gateway, "at-fault-itself", unique, i).status_code for i in range(4)] == [400] * 4
    assert len(gateway.received(unique)) == 4


@pytest.mark.parametrize(
    ("model", "first", "other"),
    [("slow-timeouts", "mock-slow+silence", "mock-slow-else"), ("breaks-off", "mock-breaks+cut=3", "mock-breaks-else")],
)
def test_timeouts_and_answers_that_break_off_count(gateway, unique, model, first, other):
    # Its record comes after what it says of the deployment.
    gateway.record_of(gateway.chat(model, f"{unique} 0", stream=True))
    response = gateway.chat(model, f"{unique} 1", stream=True)
    assert response.headers["x-tollgate-deployment"] == f"b/{other}"
    assert asked(gateway, f"{unique} 1") == [other] and asked(gateway, unique).count(first) == 1


def test_one_request_at_a_time_asks_whether_it_is_well(new_gateway, mock, unique):
    # Of its own: many requests at once have instances begin, which would learn of other tests' openings a moment later.
    gateway = new_gateway(document=document(mock, POOLS))

    def trips_and_is_probed(text):
        first = ask(gateway, "probed", text, "first")
        assert first.status_code == 200 and first.headers["x-tollgate-attempts"] == "2"
        time.sleep(1.2)

        async def many():
            body = lambda i: {"model": "probed", "messages": [{"role": "user", "content": f"{text} probe {i}"}], "stream": True}  # noqa: E731
            return await asyncio.gather(
                *(post(gateway.url, KEY, f"{text} {i}".replace(" ", "-"), body(i), {"x-mock-id": text}) for i in range(12))
            )

        return asyncio.run(many())

    # An instance that the machine keeps from the store for too long goes on alone, and says so: that is no matter of this test.
    for i in range(3):
        went_on_alone, text = gateway.server.log().count(WENT_ON_ALONE), f"{unique} {i}"
        answers = trips_and_is_probed(text)
        if gateway.server.log().count(WENT_ON_ALONE) == went_on_alone:
            break
    assert [answer.status for answer in answers] == [200] * 12
    assert sorted(asked(gateway, f"{text} probe")) == ["mock-else"] * 11 + ["mock-probed+flaky=1+ttft=3s"]
    *quick, probe = sorted(answers, key=lambda answer: answer.headers["x-tollgate-deployment"] != "b/mock-else")
    assert max(answer.finished for answer in quick) < probe.finished, "nobody waits for the probe"
    # The instance of the probe knows at once; the others at their next look, once a second.
    until("closed by the probe", lambda: ask(gateway, "probed", text, "after").headers["x-tollgate-deployment"].startswith("a/"))


def test_a_probe_that_fails_leaves_it_open_for_as_long_again(gateway, unique):
    assert ask(gateway, "probed-in-vain", unique, 0).headers["x-tollgate-attempts"] == "2"
    (*meanwhile, probe), left_alone_ms = until_asked_again(gateway, "probed-in-vain", unique)
    assert left_alone_ms >= 1_000 and {answer.headers["x-tollgate-attempts"] for answer in meanwhile} <= {"1"}
    assert probe.headers["x-tollgate-attempts"] == "2", "the probe, and elsewhere"
    (*meanwhile, probe), left_alone_ms = until_asked_again(gateway, "probed-in-vain", unique)
    assert left_alone_ms >= 1_000 and {answer.headers["x-tollgate-attempts"] for answer in meanwhile} <= {"1"}
    after = ask(gateway, "probed-in-vain", unique, "after")
    assert [answer.headers["x-tollgate-deployment"][0] for answer in (probe, after)] == ["a", "a"]


# Nobody is asked before the time that it named.


@pytest.mark.parametrize("i", range(len(COOLING)), ids=COOLING)
def test_nobody_is_asked_before_the_time_that_it_named(alone, unique, i):
    assert ask(alone, f"cooling-{i}", unique, 0).status_code == 429
    (*refused, then), left_alone_ms = until_asked_again(alone, f"cooling-{i}", unique)
    assert refused and left_alone_ms >= 2_800
    for response in refused:
        assert 1 <= is_left_alone(response) <= 3
        assert route_of(response)["skipped"].endswith(":cooling")
    assert then.status_code == 429 and len(alone.received(unique)) == 2


# Of two times that were named, the later holds.


def test_a_later_time_is_not_forgotten_for_an_earlier_one(gateway, unique):
    async def two():
        body = lambda i: {"model": "recooled", "messages": [{"role": "user", "content": f"{unique} {i}"}]}  # noqa: E731
        first = asyncio.create_task(post(gateway.url, KEY, "recooled-0", body(0)))
        await asyncio.to_thread(until, "the first is asked", lambda: gateway.received(unique))
        await asyncio.sleep(0.4)  # long before the first is answered
        second = await post(gateway.url, KEY, "recooled-1", body(1))
        return await first, second

    first, second = asyncio.run(two())
    assert [first.status, second.status] == [429, 429]
    (*refused, then), left_alone_ms = until_asked_again(gateway, "recooled", unique)
    assert left_alone_ms >= 2_000 + 2_000, "of the second: until it was answered, and as long as it said"
    for answer in refused:
        is_left_alone(answer)
    assert then.status_code == 429 and len(gateway.received(unique)) == 3


def test_a_health_check_closes_early(gateway, unique):
    def checks():
        log = httpx.get(f"{gateway.mock.url}/mock/log", timeout=60).json()
        return sum((entry["method"], entry["path"]) == ("GET", "/v1/models") for entry in log)

    before, began = checks(), time.monotonic()
    assert ask(gateway, "checked", unique, 0).status_code == 503
    (*refused, well), left_alone_ms = until_asked_again(gateway, "checked", unique)
    assert refused and well.status_code == 200 and left_alone_ms < 60_000
    assert len(gateway.received(unique)) == 2, "the failure, and when it was well"
    assert 1 <= checks() - before <= time.monotonic() - began + 2, "once a second"


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
        began, asks = time.monotonic(), 0
        while len(down.asked) < 4:
            assert is_left_alone(ask(gateway, "checked-in-vain", unique, asks)) > 500
            asks += 1
            time.sleep(0.1)
        # The check was answered before the next one was due.
        is_left_alone(ask(gateway, "checked-in-vain", unique, asks))
        first_lines = [request.split(b"\r\n")[0] for request in down.asked]
        assert first_lines[0] == b"POST /v1/chat/completions HTTP/1.1"
        assert set(first_lines[1:]) == {b"GET /v1/models HTTP/1.1"}, "nobody's question"
        assert 3 <= len(first_lines[1:]) <= time.monotonic() - began + 2, "once a second"
    finally:
        down.stop()


def test_a_pool_that_is_out_of_service_falls_back(gateway, unique):
    for i, attempts in [(0, "2"), (1, "1"), (2, "1")]:
        response = ask(gateway, "open-falls-back", unique, i)
        assert (response.status_code, response.headers["x-tollgate-attempts"]) == (200, attempts)
        assert route_of(response)["fallback"] == "open-falls-back:server"
    assert asked(gateway, unique) == ["mock-open+status=500", "mock-else", "mock-else", "mock-else"]


def test_a_store_that_hangs_costs_a_moment_and_each_instance_goes_on_alone(new_gateway, mock, unique, tmp_path):
    redis = servers.start_redis(tmp_path)
    runtime = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
    gateway = new_gateway(document=document(mock, "[cache]\nenabled = false\n" + POOLS), runtime_config=runtime)
    try:
        assert ask(gateway, "else", unique, 0).status_code == 200
        body = {"model": "under-way", "messages": [{"role": "user", "content": unique}], "stream": True}
        # While an answer is under way the instance is kept, and what it counted, however long the machine pauses.
        with gateway.http.stream("POST", "/v1/chat/completions", json=body) as under_way:
            assert under_way.status_code == 200
            redis.hang()
            took = []
            for model, status in [("else", 200), ("counted", 503), ("counted", 503), ("counted", 503), ("counted", 503), ("else", 200)]:
                started = time.monotonic()
                assert ask(gateway, model, unique, len(took) + 1).status_code == status
                took.append(time.monotonic() - started)
            # A pause of the machine may delay one or two of them.
            assert statistics.median(took) < 1, took
            assert asked(gateway, unique).count("mock-counted+flaky=3") == 3, "the fourth found it open"
            until("it is well", lambda: ask(gateway, "counted", unique, "probe").status_code == 200, within=60)
    finally:
        redis.stop()
