"""Everything has a bound: what a client may take over its request and its answer, and every wait for a provider."""

import contextlib
import json
import socket
import time

import httpx
import pytest
from support import backends
from support.clients import ended, promptly, until
from support.gateway import KEY, Gateway
from support.pools import asked, document, streamed, told

HALF = len(backends.COMPLETION) // 2
# A client that pauses for longer than `client_ms` is refused, and this process may: what it sends slowly it sends so often.
TRIES = 5

POOLS = """
[bounds]
client_ms = 700

[defaults]
retries = { max_attempts = 1 }
cancel_whole = false
[defaults.breaker]
enabled = false

[[backends]]
id = "full"
base_url = "FULL/v1"

[[backends]]
id = "stalls"
base_url = "STALLS/v1"

[[backends]]
id = "trickles-error"
base_url = "TRICKLES/v1"

[[models]]
name = "unconnected"
timeouts = { connect_ms = 300, first_byte_ms = 20_000 }
deployments = [{ backend = "full", model = "m" }]

[[models]]
name = "stalls"
timeouts = { idle_ms = 300 }
deployments = [{ backend = "stalls", model = "m" }]

[[models]]
name = "trickles-error"
timeouts = { idle_ms = 5_000, total_ms = 1_000 }
deployments = [{ backend = "trickles-error", model = "m" }]

# Whoever answers well has the same time for it.
[[models]]
name = "headless"
retries = { max_attempts = 2 }
timeouts = { first_token_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+slow=20s" }, { backend = "b", model = "mock-b", priority = 1 }]

[[models]]
name = "headless-second"
mid_stream = "continue"
retries = { max_attempts = 3 }
timeouts = { first_token_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20+slow=20s", priority = 1 }, { backend = "c", model = "mock-c+tokens=20", priority = 2 }]

[[models]]
name = "large"
response_bytes = 2_000
deployments = [{ backend = "a", model = "mock-a+text=long" }]

[[models]]
name = "large-chunked"
response_bytes = 2_000
deployments = [{ backend = "a", model = "mock-a+text=long+chunked" }]

[[models]]
name = "large-held"
buffer = true
response_bytes = 2_000
deployments = [{ backend = "a", model = "mock-a+text=long" }]

[[models]]
name = "short-of-time"
timeouts = { total_ms = 300 }
breaker = { enabled = true, failures = 1 }
deployments = [{ backend = "a", model = "mock-a+slow=2s" }]

[[models]]
name = "short-of-time-to-begin"
timeouts = { total_ms = 300 }
breaker = { enabled = true, failures = 1 }
deployments = [{ backend = "a", model = "mock-a+ttft=2s" }]

[[models]]
name = "short-of-patience"
timeouts = { first_byte_ms = 300, first_token_ms = 300 }
breaker = { enabled = true, failures = 1 }
deployments = [{ backend = "a", model = "mock-a+slow=2500ms" }]

[[models]]
name = "soon-over"
timeouts = { total_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+tokens=5" }]

[[models]]
name = "promised-later"
promise_ms = 2_000
keepalive_ms = 0
deployments = [{ backend = "a", model = "mock-a+slow=100ms+status=418" }]

[[models]]
name = "promised-soon"
promise_ms = 400
keepalive_ms = 0
deployments = [{ backend = "a", model = "mock-a+ttft=30s" }]

[[models]]
name = "promised-never"
promise_ms = 0
keepalive_ms = 300
deployments = [{ backend = "a", model = "mock-a+slow=900ms+status=418" }]

[[models]]
name = "falls-back"
response_bytes = 2_000
timeouts = { first_token_ms = 100, idle_ms = 100 }
deployments = [{ backend = "a", model = "mock-a+status=500" }]
fallbacks = [{ to = "roomy", on = ["any"] }]

[[models]]
name = "roomy"
deployments = [{ backend = "a", model = "mock-a+text=long+ttft=200ms" }]

[[models]]
name = "goes-on-elsewhere"
mid_stream = "continue"
response_bytes = 20_000
timeouts = { first_token_ms = 100, idle_ms = 100 }
deployments = [{ backend = "a", model = "mock-a+tokens=90+cut=5" }]
fallbacks = [{ to = "slower", on = ["any"] }]

[[models]]
name = "slower"
deployments = [{ backend = "a", model = "mock-b+tokens=90+ttft=200ms+gap=1ms" }]

[[models]]
name = "runs-away"
deployments = [{ backend = "a", model = "mock-a+runaway" }]

[[models]]
name = "long"
deployments = [{ backend = "a", model = "mock-a+text=8000000" }]

[[models]]
name = "plain"
deployments = [{ backend = "a", model = "mock-a" }]
"""


@pytest.fixture(scope="module")
def stalls():
    backend = backends.Scripted(backends.head(len(backends.COMPLETION)) + backends.COMPLETION[:HALF])
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def trickles():
    error = backends.head(200, status="500 Internal Server Error")
    backend = backends.Scripted(error, *[piece for _ in range(200) for piece in (b" ", 0.1)])
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory, stalls, trickles):
    with backends.full() as full:
        pools = POOLS.replace("FULL", full).replace("STALLS", stalls.url).replace("TRICKLES", trickles.url)
        variables = {"http_backend_2": full, "http_backend_3": stalls.url, "http_backend_4": trickles.url}
        running = Gateway(
            tmp_path_factory.mktemp("gateway"), mock, document=document(mock, pools), variables=variables
        )
        yield running
        running.stop()


def connected(gateway, body, length=None, **headers):
    """A connection on which a request was begun, with a receive buffer that is soon full."""
    address = httpx.URL(gateway.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(60)
    client.connect((address.host, address.port))
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.host}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {length or len(body)}\r\n{''.join(lines)}\r\n"
    )
    client.sendall(head.encode() + body)
    return client


def question(model, text, **fields):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields}).encode()


# The client's side.


def test_a_request_that_does_not_come_is_refused(gateway, unique):
    body = question("plain", unique)
    began = time.monotonic()
    with connected(gateway, body[:10], len(body), x_request_id=unique.replace(" ", "-")) as client:
        answer = client.recv(65536).decode()
        assert 0.6 < time.monotonic() - began < 6
    head, error = answer.split("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408") and json.loads(error)["error"]["code"] == "request_timeout"
    record = gateway.record(unique.replace(" ", "-"))
    assert (record["outcome"], record["status"], record["error_code"]) == ("refused", 408, "request_timeout")
    assert gateway.received(unique) == []


def test_a_request_that_trickles_in_is_refused_in_the_end(gateway, unique):
    body = question("plain", unique)

    def refused_after():
        began = time.monotonic()
        with connected(gateway, body[:1], len(body) + 1000) as client:
            client.settimeout(0.3)
            while True:
                try:
                    client.sendall(b" ")
                    answer = client.recv(65536)
                    break
                except TimeoutError:
                    assert time.monotonic() - began < 30, "it trickles for ever"
        assert answer.startswith(b"HTTP/1.1 408")
        return time.monotonic() - began

    waits = (refused_after() for _ in range(TRIES))
    assert 6.5 < next((wait for wait in waits if wait > 6.5), 0) < 15


def sent_slowly(gateway, body, pieces, **headers):
    """The whole answer to a body that comes in so many pieces, 0.2 s apart."""
    size = -(-len(body) // pieces)
    headers["connection"] = "close"
    with contextlib.suppress(ConnectionError), connected(gateway, body[:size], len(body), **headers) as client:
        for at in range(size, len(body), size):
            time.sleep(0.2)
            client.sendall(body[at : at + size])
        return b"".join(iter(lambda: client.recv(65536), b""))
    return b"refused meanwhile"


def test_a_slow_request_is_answered(gateway, unique):
    answers = (sent_slowly(gateway, question("plain", f"{unique} {i}"), 6) for i in range(TRIES))
    assert any(answer.startswith(b"HTTP/1.1 200") for answer in answers)


@pytest.mark.parametrize(("model", "status"), [("soon-over", b"200"), ("promised-later", b"418")])
def test_the_time_for_an_answer_begins_when_it_is_asked_for(gateway, unique, model, status):
    for text in (f"{unique} {i}" for i in range(TRIES)):
        request_id = text.replace(" ", "-")
        answer = sent_slowly(gateway, question(model, text, stream=True), 12, x_request_id=request_id)
        if answer.startswith(b"HTTP/1.1 " + status):
            break
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    record = gateway.record(request_id)
    assert record["latency_ms"] >= 2100, "what the client waited is told from its arrival on"
    if status == b"200":
        assert b"data: [DONE]" in answer
        assert 2100 <= record["ttft_ms"] <= record["latency_ms"]


@pytest.mark.parametrize(("model", "fields"), [("long", {}), ("runs-away", {"stream": True})])
def test_a_client_that_takes_nothing_is_let_go(gateway, unique, model, fields):
    request_id = unique.replace(" ", "-")
    with connected(gateway, question(model, unique, **fields), x_request_id=request_id):
        record = gateway.record(request_id)
        assert record["outcome"] == "client_gone" and record["latency_ms"] > 600
        assert record["completion_tokens"] > 0
        entry = until("the upstream has ended", lambda: [e for e in gateway.received(unique) if e["ended"]])[0]
        assert entry["ended"] == ("client_gone" if fields else "completed")


def test_a_stream_is_promised_when_the_document_says_and_a_client_that_leaves_is_seen_from_then_on(gateway, unique):
    def stopped_after(i):
        text = f"{unique} {i}"
        request_id = text.replace(" ", "-")
        began = time.monotonic()
        with connected(gateway, question("promised-soon", text, stream=True), x_request_id=request_id) as client:
            head = client.recv(65536).decode()
            assert head.startswith("HTTP/1.1 200") and 0.35 < time.monotonic() - began < 15
            assert head.endswith("\r\n\r\n"), "without keepalive_ms there is no comment"
            assert "x-tollgate-route: model=promised-soon\r\n" in head
            left = time.time()
        assert ended(gateway, text) == "client_gone"
        record = gateway.record(request_id)
        assert (record["outcome"], record["deployment"], record["attempts"]) == ("client_gone", "a/mock-a+ttft=30s", 1)
        assert record["pool"] == "promised-soon" and record["route"].startswith("model=promised-soon;deployment=a/")
        return gateway.received(text)[0]["ended_at_ms"] / 1000 - left

    promptly(stopped_after)


def test_a_stream_that_is_not_promised_keeps_its_status(gateway, unique):
    response, text = gateway.stream("promised-never", unique)
    assert response.status_code == 418 and not text.startswith(":")


# The provider's side.


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_is_not_made_is_waited_for_as_long_as_the_document_says(gateway, unique, stream):
    began = time.monotonic()
    response = gateway.chat("unconnected", unique, stream=stream)
    assert response.status_code in (502, 504) and 0.25 < time.monotonic() - began < 15
    assert response.json()["error"]["code"] in ("upstream_unreachable", "upstream_timeout")


@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_that_stalls_is_cut(gateway, unique, stalls, stream):
    began = time.monotonic()
    response = gateway.chat("stalls", unique, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    assert 0.25 < time.monotonic() - began < 15
    assert len([request for request in stalls.asked if unique.encode() in request]) == 1
    until("it was hung up on", lambda: len(stalls.left_at) == len(stalls.asked))


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_trickles_ends_at_the_total_time(gateway, unique, stream):
    began = time.monotonic()
    response = gateway.chat("trickles-error", unique, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    assert 0.9 < time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("model", "stream"), [("short-of-time", False), ("short-of-time", True), ("short-of-time-to-begin", True)]
)
def test_who_is_cut_off_by_the_total_time_has_not_failed(gateway, unique, model, stream):
    for _ in range(3):
        response = gateway.chat(model, unique, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout"), "an open breaker has 503"


def test_who_is_silent_for_longer_than_one_attempt_may_has(gateway, unique):
    assert gateway.chat("short-of-patience", unique, stream=True).status_code == 504
    until("its breaker is open", lambda: gateway.chat("short-of-patience", unique, stream=True).status_code == 503)


def test_the_time_for_the_first_token_includes_the_head(gateway, unique):
    answer = streamed(gateway, "headless", unique)
    assert answer.is_whole and 2 < answer.first("data:") < 15
    assert asked(gateway, unique) == ["mock-a+slow=20s", "mock-b"]
    assert ended(gateway, unique) == "client_gone"


def test_it_does_so_for_whoever_goes_on_with_an_answer(gateway, unique):
    answer = streamed(gateway, "headless-second", unique)
    assert answer.is_whole and 2 < answer.lines[-1][0] < 15
    assert [model[:6] for model in asked(gateway, unique)] == ["mock-a", "mock-b", "mock-c"]
    until("the second is hung up on", lambda: gateway.received(unique)[1]["ended"] == "client_gone")


@pytest.mark.parametrize("model", ["large", "large-chunked"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_over_the_bound_is_not_taken(gateway, unique, model, stream):
    response = gateway.chat(model, unique, stream=stream)
    if stream:
        assert '"code":"upstream_bad_reply"' in response.text and "[DONE]" not in response.text
    else:
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_bad_reply")


def test_a_stream_over_the_bound_before_it_began_is_told_for_what_it_is(gateway, unique):
    response = gateway.chat("large-held", unique, stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_bad_reply")
    assert "2000 bytes" in response.json()["error"]["message"]
    assert gateway.record_of(response)["error_code"] == "upstream_bad_reply"


@pytest.mark.parametrize("stream", [False, True])
def test_after_a_fallback_the_bounds_are_those_of_the_model_that_answers(gateway, unique, stream):
    response = gateway.chat("falls-back", unique, stream=stream)
    assert response.status_code == 200 and len(response.content) > 65536
    assert not stream or response.text.endswith("data: [DONE]\n\n")


def test_so_they_are_when_it_goes_on_with_an_answer(gateway, unique):
    answer = streamed(gateway, "goes-on-elsewhere", unique)
    assert answer.is_whole and answer.text == told(gateway, "mock+tokens=90", unique)
    assert [model[:6] for model in asked(gateway, unique)][:2] == ["mock-a", "mock-b"]
