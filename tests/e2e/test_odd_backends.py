"""Answers that look well and are not, or look odd and are well; the mock gives none of them."""

import json
import time

import pytest
from support import backends
from support.clients import until
from support.limits import used
from support.pools import document

COMPLETION = json.loads(backends.COMPLETION)
CHOICE = COMPLETION["choices"][0]


def answering(completion, *headers):
    body = json.dumps(completion).encode()
    return backends.head(len(body), *headers) + body


def streaming(*chunks):
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    beginning = backends.head(len(events)).replace(b"application/json", b"text/event-stream")
    return beginning + events


def chunk(delta, finish=None):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}

SCRIPTS = {
    "with-host-header": answering(COMPLETION, "host: provider.internal", "x-model-region: eu"),
    "finished-with-error": answering({**COMPLETION, "choices": [{**CHOICE, "finish_reason": "error"}]}),
    "without-choices": answering({**COMPLETION, "choices": []}),
    "thinks-in-its-own-way": streaming(chunk({"role": "assistant", "thinking": "hm"}), chunk({"content": "Hello"}), chunk({}, "stop"), USAGE),
}


@pytest.fixture(params=SCRIPTS)
def odd(request, new_gateway, mock):
    """A gateway whose model `odd` asks an odd backend first, and the mock second."""
    backend = backends.Scripted(SCRIPTS[request.param])
    pools = f"""
[defaults.breaker]
enabled = false

[[backends]]
id = "odd"
base_url = "{backend.url}/v1"

[[models]]
name = "odd"
cancel_whole = {"true" if request.param == "thinks-in-its-own-way" else "false"}
retries = {{ max_attempts = 2 }}
deployments = [{{ backend = "odd", model = "m" }}, {{ backend = "a", model = "mock-a", priority = 1 }}]
"""
    gateway = new_gateway(document=document(mock, pools), variables={"http_backend_3": backend.url})
    yield request.param, gateway, backend
    backend.stop()


def test_an_odd_answer_is_handed_on_if_it_is_one_and_else_another_is_asked(odd, unique):
    what, gateway, backend = odd
    response = gateway.chat("odd", unique)
    assert response.status_code == 200 and len(backend.asked) == 1
    record = gateway.record_of(response)
    if what == "with-host-header":
        assert response.json() == COMPLETION
        assert (response.headers["content-type"], response.headers["x-model-region"]) == ("application/json", "eu")
        assert "host" not in response.headers and response.headers["x-tollgate-attempts"] == "1"
        return
    assert response.json()["choices"][0]["message"]["content"].startswith("Mock answer")
    assert (record["attempts"], record["deployment"]) == (2, "a/mock-a")
    wasted = [(u["deployment"], u["prompt_tokens"], u["completion_tokens"]) for u in record["retried_usage"]]
    assert wasted == [("odd/m", 3, 2)], "what it cost all the same"
    if what == "thinks-in-its-own-way":
        assert b'"stream":true' in backend.asked[0]
        assert "stream" not in gateway.received(unique)[0]["body"], "asked for whole, since a stream cannot be put together"
        assert "delta.thinking" in gateway.server.log()


# Tokens are what the provider said last, nothing at all included.


def said(prompt_tokens, completion_tokens):
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": prompt_tokens + completion_tokens}


EVERY_CHUNK = streaming(
    {**chunk({"role": "assistant", "content": ""}), "usage": said(30, 0)},
    {**chunk({"content": "Hel"}), "usage": said(30, 1)},
    {**chunk({"content": "lo"}), "usage": said(30, 2)},
    {**chunk({}, "stop"), "usage": said(30, 2)},
    {**USAGE, "usage": said(30, 3)},
)
NOTHING = streaming(chunk({"role": "assistant", "content": "Hello"}), chunk({}, "stop"), {**USAGE, "usage": said(0, 0)})
# What it answers, whether the client asks for a stream, whether the router does for a client that does not, and what it comes to.
COUNTED = {
    "every chunk of a stream": (EVERY_CHUNK, True, False, (30, 3)),
    "every chunk of a stream that is gathered": (EVERY_CHUNK, False, True, (30, 3)),
    "no tokens in a stream": (NOTHING, True, False, (0, 0)),
    "no tokens in a stream that is gathered": (NOTHING, False, True, (0, 0)),
    "no tokens": (answering({**COMPLETION, "usage": said(0, 0)}), False, False, (0, 0)),
}


@pytest.mark.parametrize("what", COUNTED)
def test_record_and_counter_have_what_the_provider_said_last(new_gateway, mock, unique, what):
    script, stream, is_gathered, (prompt_tokens, completion_tokens) = COUNTED[what]
    backend = backends.Scripted(script)
    pools = f"""
[[backends]]
id = "odd"
base_url = "{backend.url}/v1"

[[models]]
name = "odd"
cancel_whole = {str(is_gathered).lower()}
deployments = [{{ backend = "odd", model = "m" }}]

[[limits]]
name = "everything"
counter_key = []
token_quota = 1_000_000
period = "year"

[pricing."odd"]
prompt_usd_per_million = 1
completion_usd_per_million = 2
"""
    gateway = new_gateway(document=document(mock, pools), variables={"http_backend_3": backend.url})
    response = gateway.chat("odd", unique, stream=stream)
    assert response.status_code == 200 and (b'"stream":true' in backend.asked[0].replace(b" ", b"")) == (stream or is_gathered)
    record = gateway.record_of(response)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (prompt_tokens, completion_tokens)
    assert (record["outcome"], record["attempts"], record["estimated"]) == ("completed", 1, False)
    assert record["cost_nano_usd"] == 1_000 * prompt_tokens + 2_000 * completion_tokens
    # Settled with the record; the reservation was of more.
    until("that is what the counter says", lambda: used(gateway, "everything") == prompt_tokens + completion_tokens)
    assert len(backend.asked) == 1
    backend.stop()


# Trap 23: a first chunk with a role alone is no answer, and no reason to choke.

ROLE = b"data: " + json.dumps(chunk({"role": "assistant", "content": ""})).encode() + b"\n\n"
STREAM = backends.head(1000, "connection: close").replace(b"application/json", b"text/event-stream")
ROLE_AND = {
    "nothing": ((STREAM + ROLE,), 504, "upstream_timeout"),
    "a-cut": ((STREAM + ROLE, 0.1, None), 502, "upstream_failed"),
    "an-end": ((STREAM.replace(b"1000", str(len(ROLE)).encode()) + ROLE,), 502, "upstream_truncated"),
}


@pytest.mark.parametrize("then", ROLE_AND)
def test_a_role_is_no_answer(new_gateway, mock, unique, then):
    script, status, code = ROLE_AND[then]
    backend = backends.Scripted(*script)
    pools = f"""
[[backends]]
id = "odd"
base_url = "{backend.url}/v1"

[[models]]
name = "alone"
retries = {{ max_attempts = 1 }}
timeouts = {{ first_token_ms = 400 }}
deployments = [{{ backend = "odd", model = "m" }}]

[[models]]
name = "not-alone"
timeouts = {{ first_token_ms = 400 }}
deployments = [{{ backend = "odd", model = "m" }}, {{ backend = "a", model = "mock-a", priority = 1 }}]
"""
    gateway = new_gateway(document=document(mock, pools), variables={"http_backend_3": backend.url})
    began = time.monotonic()
    response, text = gateway.stream("alone", unique)
    assert (response.status_code, json.loads(text)["error"]["code"]) == (status, code)
    assert time.monotonic() - began < 1.5
    record = gateway.record_of(response)
    assert (record["outcome"], record["completion_tokens"]) == ("upstream_failed", 0)
    response, text = gateway.stream("not-alone", unique)
    assert response.status_code == 200 and text.endswith("data: [DONE]\n\n") and text.count('"role"') == 1
    assert len(backend.asked) == 2
    if then == "nothing":
        until("it was hung up on", lambda: len(backend.left_at) == 2)
    backend.stop()
