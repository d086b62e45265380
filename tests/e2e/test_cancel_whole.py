"""`cancel_whole`: a whole answer whose client leaves stops its provider, and is the answer that it would have been."""

import contextlib
import json
import socket
import time

import httpx
import openai
import pytest
from support.clients import ended, promptly, until
from support.gateway import KEY, Gateway
from support.limits import used
from support.pools import asked, beginning, document, estimated, route_of

POOLS = """
[defaults]
cancel_whole = true
[defaults.breaker]
enabled = false

[[models]]
name = "slow"
deployments = [{ backend = "a", model = "mock-a+gap=50ms+tokens=600" }]

[[models]]
name = "slow-to-begin"
deployments = [{ backend = "a", model = "mock-a+ttft=3s+tokens=5" }]

[[models]]
name = "left-alone"
cancel_whole = false
deployments = [{ backend = "a", model = "mock-a+slow=3s+tokens=5" }]

[[models]]
name = "paced"
deployments = [{ backend = "a", model = "mock-a+gap=20ms+tokens=12" }]

[[models]]
name = "drawn-out"
deployments = [{ backend = "a", model = "mock-a+gap=200ms+tokens=12" }]

[[models]]
name = "broken-before"
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-a+ttft=100ms+error-in-stream=0" }]

[[models]]
name = "refused"
deployments = [{ backend = "a", model = "mock-a+slow=100ms+status=400" }]

[[models]]
name = "broken-after"
deployments = [{ backend = "a", model = "mock-a+gap=50ms+tokens=20+cut=8" }, { backend = "b", model = "mock-b+gap=5ms+tokens=20", priority = 1 }]

[[models]]
name = "broken-alone"
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-a+gap=50ms+tokens=20+error-in-stream=8" }]

[[models]]
name = "runaway"
response_bytes = 100_000
retries = { max_attempts = 1 }
deployments = [{ backend = "a", model = "mock-a+gap=1ms+runaway" }]

[[models]]
name = "*"
deployments = [{ backend = "a" }]

[[limits]]
name = "everything"
counter_key = []
token_quota = 1_000_000_000
period = "year"
"""


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


def direct(gateway, model, text, **fields):
    """What the mock answers whole, but for an empty list that it does not say in a stream; neither does OpenAI."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    whole = httpx.post(f"{gateway.mock.url}/v1/chat/completions", json=body, timeout=60).json()
    for choice in whole["choices"]:
        assert choice["message"].pop("annotations") == []
    return whole


def leave(gateway, model, text, is_begun=False):
    """Asks and hangs up half a second after the provider was asked, or after the head has come; what had come by then, and when
    it left, in ms since the epoch."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    address = httpx.URL(gateway.url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.host}\r\nauthorization: Bearer {KEY}\r\n"
        f"x-request-id: {text.replace(' ', '-')}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port), timeout=60) as client:
        client.sendall(head.encode() + body)
        came = b""
        if is_begun:
            came = client.recv(65536)
        else:
            until("the provider is asked", lambda: gateway.received(text))
        time.sleep(0.5)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            came += client.recv(65536)
        return came, time.time() * 1000


def test_a_client_that_leaves_stops_the_provider_and_pays_for_what_was_said(gateway, unique):
    def stopped_after(i):
        text, before = f"{unique} {i}", used(gateway, "everything")
        came, left_ms = leave(gateway, "slow", text, is_begun=True)
        assert came.startswith(b"HTTP/1.1 200") and came.endswith(b"\r\n\r\n"), "the head, and nothing of the answer"
        assert ended(gateway, text) == "client_gone"
        [entry] = gateway.received(text)
        assert entry["chunks"] < 400, "half a minute's"
        record = gateway.record(text.replace(" ", "-"))
        assert (record["outcome"], record["deployment"], record["attempts"]) == ("client_gone", "a/mock-a+gap=50ms+tokens=600", 1)
        assert record["estimated"] and 0 < record["completion_tokens"] < 400 and record["prompt_tokens"] > 0
        assert record["route"].startswith("model=slow;deployment=a/") and not record["stream"]
        tokens = record["prompt_tokens"] + record["completion_tokens"]
        until("that is settled", lambda: used(gateway, "everything") == before + tokens)
        return (entry["ended_at_ms"] - left_ms) / 1000

    promptly(stopped_after)


def test_a_client_that_leaves_before_the_first_token_is_seen_at_it(gateway, unique):
    came, _ = leave(gateway, "slow-to-begin", unique)
    assert came == b"" and ended(gateway, unique), "the status is not decided yet"
    [entry] = gateway.received(unique)
    assert entry["ended_at_ms"] - entry["received_at_ms"] >= 2900
    assert gateway.record(unique.replace(" ", "-"))["outcome"] in ("client_gone", "completed")


def test_without_it_an_answer_is_made_to_its_end(gateway, unique):
    came, _ = leave(gateway, "left-alone", unique)
    assert came == b"" and ended(gateway, unique) == "completed"
    record = gateway.record(unique.replace(" ", "-"))
    assert (record["outcome"], record["completion_tokens"], record["estimated"]) == ("client_gone", 5, False)
    assert "stream" not in gateway.received(unique)[0]["body"]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("mock+tokens=30", {}),
        ("mock+gap=5ms+tokens=30", {}),
        ("mock+gap=5ms+text=emoji+split=3", {"n": 3}),
        ("mock+gap=5ms+tokens=30", {"max_tokens": 7, "stream": False}),
        ("mock+gap=5ms+content-filter", {"stream": None}),
        ("mock+gap=5ms+tokens=30+reasoning=9+cached=4", {}),
        ("mock+gap=5ms+no-done", {}),
        ("mock+gap=5ms+tool=2", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}),
    ],
)
def test_the_answer_is_the_one_that_the_provider_gives_whole(gateway, unique, model, fields):
    response = gateway.chat(model, unique, **fields)
    whole = direct(gateway, model, unique, **fields)
    sent = gateway.received(unique)[0]["body"]
    assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}
    assert response.headers["content-type"] == "application/json"
    given = response.json()
    # The mock's ids are hashes of the request, which differs by `stream`.
    for answer in (given, whole):
        assert answer.pop("id").startswith("chatcmpl-")
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls") or []:
                assert call.pop("id").startswith("call_")
    assert given == whole
    record = gateway.record_of(response)
    assert (record["outcome"], record["estimated"], record["stream"]) == ("completed", False, False)
    assert record["completion_tokens"] == whole["usage"]["completion_tokens"]


def test_the_head_comes_with_the_first_token_and_the_cache_gets_the_answer(gateway, unique):
    body = {"model": "drawn-out", "messages": [{"role": "user", "content": unique}]}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        head_at = time.monotonic()
        answer = response.read()
    assert time.monotonic() - head_at > 0.7
    assert response.headers["transfer-encoding"] == "chunked" and "content-length" not in response.headers
    assert route_of(response) == {"model": "drawn-out"}, "who answers is known at the end: the record has it"
    assert gateway.record_of(response)["deployment"] == "a/mock-a+gap=200ms+tokens=12"
    hit = until("it is cached", lambda: (r := gateway.chat("drawn-out", unique)).headers["x-tollgate-cache"] == "exact" and r)
    assert hit.content == answer


def test_what_is_left_of_limits_goes_out_with_that_head(gateway, unique):
    response = gateway.chat("paced", unique, max_tokens=300)
    limit, left = (int(response.headers[f"x-ratelimit-{what}-tokens"]) for what in ("limit", "remaining"))
    # It was not known yet what the answer would take.
    assert limit == 1_000_000_000 and 300 < int(response.headers["x-ratelimit-consumed-tokens"]) < 400
    assert left < limit - 300 and response.headers["x-ratelimit-reset-tokens"]
    assert response.json()["usage"]["completion_tokens"] == 12 and len(gateway.received(unique)) == 1


@pytest.mark.parametrize(("model", "status"), [("broken-before", 500), ("refused", 400)])
def test_a_failure_before_the_first_token_has_its_own_status(gateway, unique, model, status):
    response = gateway.chat(model, unique)
    assert (response.status_code, len(asked(gateway, unique))) == (status, 1)
    assert response.json()["error"]["message"] and response.headers["x-tollgate-attempts"] == "1"


def test_a_failure_after_it_is_tried_again_unseen(gateway, unique):
    response = gateway.chat("broken-after", unique)
    whole = direct(gateway, "mock-b+tokens=20", unique)
    assert response.status_code == 200
    assert response.json()["choices"] == whole["choices"] and response.json()["usage"] == whole["usage"]
    assert [entry["ended"] for entry in gateway.received(unique)[:2]] == ["cut_by_mock", "completed"]
    record = gateway.record_of(response)
    assert (record["outcome"], record["attempts"], record["completion_tokens"]) == ("completed", 2, 20)
    assert record["deployment"] == "b/mock-b+gap=5ms+tokens=20"
    (broken,) = record["retried_usage"]
    said = beginning(whole["choices"][0]["message"]["content"], 8)
    assert broken["completion_tokens"] == estimated(said), "what broke off is paid for"


@pytest.mark.parametrize("model", ["broken-alone", "runaway"])
def test_when_nobody_can_answer_the_transfer_breaks_off(gateway, unique, model):
    body = {"model": model, "messages": [{"role": "user", "content": unique}]}
    request_id = unique.replace(" ", "-")
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.post("/v1/chat/completions", json=body, headers={"x-request-id": request_id})
    assert len(asked(gateway, unique)) == 1
    record = gateway.record(request_id)
    assert record["outcome"] in ("upstream_failed", "upstream_error") and record["status"] == 200
    assert record.get("error_code") == ("upstream_bad_reply" if model == "runaway" else None)
    assert record["retried_usage"][0]["completion_tokens"] >= 8


def test_a_real_client_takes_that_for_a_connection_error_and_tries_again(gateway, unique):
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=1)
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="broken-alone", messages=[{"role": "user", "content": unique}])
    assert len(asked(gateway, unique)) == 2
    answer = client.chat.completions.create(model="paced", messages=[{"role": "user", "content": unique}])
    assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens == 12
