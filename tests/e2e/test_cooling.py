"""Rate limits: what is asked too much is left alone at once, for as long as it says, and by every replica; and nothing else passes for a rate limit."""

import http.server
import threading
import time

import httpx
import pytest
from support import servers
from support.clients import until
from support.gateway import Gateway
from support.left_alone import ask, is_left_alone, until_asked_again
from support.pools import document, route_of

POOLS = """
[cache]
enabled = false

[[models]]
name = "else"
deployments = [{ backend = "b", model = "mock-else" }]

[[models]]
name = "overflowing"
breaker = { trip_duration_s = 3 }
deployments = [{ backend = "a", model = "mock-overflowing+status=429" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "lone"
retries = { max_attempts = 1 }
breaker = { failures = 3 }
deployments = [{ backend = "a", model = "mock-lone+status=429" }]

[[models]]
name = "lone-saying-when"
deployments = [{ backend = "a", model = "mock-lone+status=429+retry-after=60" }]

[[models]]
name = "not-a-failure-here"
retries = { max_attempts = 1 }
breaker = { statuses = ["5xx"] }
deployments = [{ backend = "a", model = "mock-unminded+status=429" }]

[[models]]
name = "heeds-no-hint"
breaker = { failures = 2, trip_duration_s = 3, accept_retry_after = false }
deployments = [{ backend = "a", model = "mock-unheeded+status=429+retry-after=60" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "heeds-no-hint-of-503"
retries = { max_attempts = 1 }
breaker = { failures = 2, trip_duration_s = 60, accept_retry_after = false }
deployments = [{ backend = "a", model = "mock-unheeded+status=503+retry-after=60" }]

[[models]]
name = "hiccup"
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-h+status=500+header=x-ratelimit-reset-requests:8.64s+header=x-ratelimit-remaining-requests:9999" }]

[[models]]
name = "one-of-two-limits"
retries = { max_attempts = 1 }
breaker = { trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-2+status=429+header=x-ratelimit-reset-tokens:3s+header=x-ratelimit-remaining-tokens:0+header=x-ratelimit-reset:1ms" }]

[[models]]
name = "checked-in-vain"
retries = { max_attempts = 1 }
health_check = { interval_s = 1 }
deployments = [{ backend = "a", model = "mock-cooling+flaky=1+status=429+retry-after=4" }]

[[models]]
name = "*"
retries = { max_attempts = 1 }
deployments = [{ backend = "a" }]
"""

# Moments, each three seconds from when the answer was given; those of whole seconds may be a second less. A document's names hold no brackets, so these are asked for.
MOMENTS = [
    "retry-after=@http-date(3)",
    "retry-after=@epoch(3)",
    "header=x-ratelimit-reset-requests:@rfc3339(3)",
    "header=anthropic-ratelimit-tokens-reset:@rfc3339(3)",
    "header=x-ratelimit-reset:@epoch(3)",
    "header=x-ratelimit-reset:@epoch-ms(3)",
]


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


def test_a_tier_that_is_asked_too_much_overflows_at_once_also_without_a_hint(gateway, unique):
    first = ask(gateway, "overflowing", unique, 0)
    (*meanwhile, probe), left_alone_ms = until_asked_again(gateway, "overflowing", unique)
    assert [answer.status_code for answer in (first, *meanwhile, probe)] == [200] * (len(meanwhile) + 2)
    assert first.headers["x-tollgate-attempts"] == "2" and meanwhile and left_alone_ms >= 3_000
    for answer in meanwhile:
        assert answer.headers["x-tollgate-attempts"] == "1"
        assert route_of(answer)["skipped"] == "a/mock-overflowing+status=429:cooling"
    assert probe.headers["x-tollgate-attempts"] == "2", "the probe, and elsewhere"


def test_what_is_alone_and_does_not_say_when_is_asked_again_until_it_has_failed_often(gateway, unique):
    refused = [ask(gateway, "lone", unique, i) for i in range(3)]
    assert [(answer.status_code, answer.headers["x-tollgate-attempts"]) for answer in refused] == [(429, "1")] * 3
    assert is_left_alone(ask(gateway, "lone", unique, 3)) <= 15
    assert len(gateway.received(unique)) == 3


def test_what_is_alone_and_says_when_is_left_alone(gateway, unique):
    assert ask(gateway, "lone-saying-when", unique, 0).status_code == 429
    assert 55 <= is_left_alone(ask(gateway, "lone-saying-when", unique, 1)) <= 60
    assert len(gateway.received(unique)) == 1


def test_a_rate_limit_that_is_no_failure_by_the_document_opens_nothing(gateway, unique):
    assert [ask(gateway, "not-a-failure-here", unique, i).status_code for i in range(3)] == [429] * 3


def test_where_the_document_heeds_no_hint_a_rate_limit_lasts_as_long_as_a_trip(gateway, unique):
    first = ask(gateway, "heeds-no-hint", unique, 0)
    (*meanwhile, probe), left_alone_ms = until_asked_again(gateway, "heeds-no-hint", unique)
    told = {(answer.status_code, answer.headers["x-tollgate-attempts"]) for answer in meanwhile}
    assert told == {(200, "1")} and 3_000 <= left_alone_ms < 60_000
    assert [(answer.status_code, answer.headers["x-tollgate-attempts"]) for answer in (first, probe)] == [(200, "2")] * 2


def test_and_any_other_failure_counts_as_one_without_a_hint(gateway, unique):
    assert [ask(gateway, "heeds-no-hint-of-503", unique, i).status_code for i in range(2)] == [503, 503]
    assert len(gateway.received(unique)) == 2, "the first left nothing alone"
    assert is_left_alone(ask(gateway, "heeds-no-hint-of-503", unique, 2)) > 50
    assert len(gateway.received(unique)) == 2


def test_a_failure_with_the_headers_that_every_answer_has_is_a_failure_and_no_more(gateway, unique):
    assert [ask(gateway, "hiccup", unique, i).status_code for i in range(4)] == [500] * 4
    assert len(gateway.received(unique)) == 4


def test_of_two_limits_the_one_that_is_used_up_says_when(gateway, unique):
    assert ask(gateway, "one-of-two-limits", unique, 0).status_code == 429
    (*refused, then), left_alone_ms = until_asked_again(gateway, "one-of-two-limits", unique)
    assert refused and 3_000 <= left_alone_ms < 60_000
    assert all(is_left_alone(answer) <= 3 for answer in refused)
    assert then.status_code == 429 and len(gateway.received(unique)) == 2


@pytest.mark.parametrize("said", MOMENTS)
def test_nobody_is_asked_before_the_moment_that_it_named(gateway, unique, said):
    assert ask(gateway, f"mock+status=429+{said}", unique, 0).status_code == 429
    (*refused, then), left_alone_ms = until_asked_again(gateway, f"mock+status=429+{said}", unique)
    assert refused and left_alone_ms >= 2_000
    assert all(1 <= is_left_alone(answer) <= 3 for answer in refused)
    assert then.status_code == 429 and len(gateway.received(unique)) == 2


def test_a_health_check_does_not_end_what_the_provider_asked_for(gateway, unique):
    def checks():
        log = httpx.get(f"{gateway.mock.url}/mock/log", timeout=60).json()
        return [entry["received_at_ms"] for entry in log if (entry["method"], entry["path"]) == ("GET", "/v1/models")]

    assert ask(gateway, "checked-in-vain", unique, 0).status_code == 429
    (*refused, then), left_alone_ms = until_asked_again(gateway, "checked-in-vain", unique)
    assert refused and left_alone_ms >= 4_000
    for answer in refused:
        is_left_alone(answer)
    asked_at_ms = gateway.received(unique)[0]["received_at_ms"]
    assert not [at_ms for at_ms in checks() if asked_at_ms <= at_ms < asked_at_ms + 4_000]
    assert then.status_code == 200


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        self.send_response(429)
        self.send_header("retry-after-ms", "20000")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_of_two_replicas_the_longer_time_holds_at_both(new_gateway, mock, unique, tmp_path):
    redis = servers.start_redis(tmp_path)
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        runtime = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
        pool = document(
            mock,
            '[cache]\nenabled = false\n[[models]]\nname = "m"\nretries = { max_attempts = 1 }\n'
            'deployments = [{ backend = "a", model = "mock+slow=1500ms+status=429+retry-after-ms=3000" }]\n',
        )
        # The same deployment by its label, whose two servers say different times.
        url = f"http://127.0.0.1:{other.server_port}"
        one = new_gateway(document=pool, runtime_config=runtime)
        two = new_gateway(document=pool.replace(mock.url, url), runtime_config=runtime, variables={"http_backend_1": url})
        first = threading.Thread(target=ask, args=(one, "m", unique, 0))
        first.start()
        until("the first is asked", lambda: one.received(unique))
        assert ask(two, "m", unique, 1).headers["retry-after-ms"] == "20000"
        first.join()
        # The first is told three seconds by its own server, after the other was told twenty. They are asked meanwhile, so that
        # none ends for being idle: should the store be slow when one tells it, it does so again at its next look.
        told_at, number = time.monotonic(), 2
        while time.monotonic() < told_at + 3.2:
            for gateway in (one, two):
                is_left_alone(ask(gateway, "m", unique, number))
                number += 1
            time.sleep(0.3)
        assert all(3 < is_left_alone(ask(gateway, "m", unique, f"then {i}")) <= 17 for i, gateway in enumerate((one, two)))
        assert len(one.received(unique)) == 1
    finally:
        other.shutdown()
        redis.stop()
