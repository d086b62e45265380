"""Rate limits: what is asked too much is left alone at once, for as long as it says, and by every replica; and nothing else passes for a rate limit."""

import http.server
import threading
import time

import httpx
import pytest
from support import servers
from support.gateway import Gateway
from support.pools import asked, document, route_of

POOLS = """
[cache]
enabled = false

[[models]]
name = "else"
deployments = [{ backend = "b", model = "mock-else" }]

[[models]]
name = "overflowing"
breaker = { trip_duration_s = 2 }
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
breaker = { failures = 2, trip_duration_s = 1, accept_retry_after = false }
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
deployments = [{ backend = "a", model = "mock-2+status=429+header=x-ratelimit-reset-tokens:2s+header=x-ratelimit-remaining-tokens:0+header=x-ratelimit-reset:1ms" }]

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


def ask(gateway, model, unique, number):
    return gateway.chat(model, f"{unique} {number}", headers={"x-mock-id": unique})


def is_left_alone(response):
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_available_backend"), response.text
    return int(response.headers["retry-after"])


def test_a_tier_that_is_asked_too_much_overflows_at_once_also_without_a_hint(gateway, unique):
    answers = [ask(gateway, "overflowing", unique, i) for i in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert [answer.headers["x-tollgate-attempts"] for answer in answers] == ["2", "1", "1", "1", "1"]
    assert asked(gateway, unique).count("mock-overflowing+status=429") == 1
    assert route_of(answers[1])["skipped"] == "a/mock-overflowing+status=429:cooling"
    time.sleep(2.2)
    assert ask(gateway, "overflowing", unique, "later").headers["x-tollgate-attempts"] == "2", "the probe, and elsewhere"


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
    answers = [ask(gateway, "heeds-no-hint", unique, i) for i in range(2)]
    time.sleep(1.2)
    answers.append(ask(gateway, "heeds-no-hint", unique, 2))
    assert [(answer.status_code, answer.headers["x-tollgate-attempts"]) for answer in answers] == [(200, "2"), (200, "1"), (200, "2")]
    assert asked(gateway, unique).count("mock-unheeded+status=429+retry-after=60") == 2


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
    assert is_left_alone(ask(gateway, "one-of-two-limits", unique, 1)) <= 2
    time.sleep(0.5)
    is_left_alone(ask(gateway, "one-of-two-limits", unique, 2))
    time.sleep(1.7)
    assert ask(gateway, "one-of-two-limits", unique, 3).status_code == 429
    assert len(gateway.received(unique)) == 2


@pytest.mark.parametrize("said", MOMENTS)
def test_nobody_is_asked_before_the_moment_that_it_named(gateway, unique, said):
    assert ask(gateway, f"mock+status=429+{said}", unique, 0).status_code == 429
    refused_at = time.monotonic()
    assert 2 <= is_left_alone(ask(gateway, f"mock+status=429+{said}", unique, 1)) <= 3
    time.sleep(max(0, refused_at + 1.4 - time.monotonic()))
    is_left_alone(ask(gateway, f"mock+status=429+{said}", unique, 2))
    assert len(gateway.received(unique)) == 1
    time.sleep(max(0, refused_at + 3.2 - time.monotonic()))
    assert ask(gateway, f"mock+status=429+{said}", unique, 3).status_code == 429
    assert len(gateway.received(unique)) == 2


def test_a_health_check_does_not_end_what_the_provider_asked_for(gateway, unique):
    def checks():
        log = httpx.get(f"{gateway.mock.url}/mock/log").json()
        return sum((entry["method"], entry["path"]) == ("GET", "/v1/models") for entry in log)

    before = checks()
    assert ask(gateway, "checked-in-vain", unique, 0).status_code == 429
    refused_at = time.monotonic()
    while time.monotonic() < refused_at + 3.5:
        is_left_alone(ask(gateway, "checked-in-vain", unique, f"at {time.monotonic()}"))
        time.sleep(0.3)
    assert checks() == before and len(gateway.received(unique)) == 1
    time.sleep(max(0, refused_at + 4.2 - time.monotonic()))
    assert ask(gateway, "checked-in-vain", unique, "then").status_code == 200


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        self.send_response(429)
        self.send_header("retry-after-ms", "4000")
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
            'deployments = [{ backend = "a", model = "mock+slow=600ms+status=429+retry-after-ms=1000" }]\n',
        )
        # The same deployment by its label, whose two servers say different times.
        url = f"http://127.0.0.1:{other.server_port}"
        one = new_gateway(document=pool, runtime_config=runtime)
        two = new_gateway(document=pool.replace(mock.url, url), runtime_config=runtime, variables={"http_backend_1": url})
        first = threading.Thread(target=ask, args=(one, "m", unique, 0))
        first.start()
        time.sleep(0.2)
        assert ask(two, "m", unique, 1).headers["retry-after-ms"] == "4000"
        told_at = time.monotonic()
        first.join()
        # The first is told a second by its own server, after the other was told four.
        time.sleep(max(0, told_at + 2.6 - time.monotonic()))
        assert [is_left_alone(ask(gateway, "m", unique, i)) for i, gateway in ((2, one), (3, two))] == [2, 2]
        assert len(one.received(unique)) == 1
    finally:
        other.shutdown()
        redis.stop()
