"""Answers that look well and are not, or look odd and are well; the mock gives none of them."""

import json
import time

import pytest
from support import backends
from support.clients import until
from support.limits import used
from support.pools import document, estimated, streamed, told

COMPLETION = json.loads(backends.COMPLETION)
CHOICE = COMPLETION["choices"][0]


def answering(completion, *headers):
    body = json.dumps(completion).encode()
    return backends.head(len(body), *headers) + body


def event_stream(events, *headers):
    return backends.head(len(events), *headers).replace(b"application/json", b"text/event-stream") + events


def events_of(*chunks):
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def streaming(*chunks):
    return event_stream(events_of(*chunks) + b"data: [DONE]\n\n")


def chunk(delta, finish=None):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}

SCRIPTS = {
    "with-host-header": answering(COMPLETION, "host: provider.internal", "x-model-region: eu"),
    "finished-with-error": answering({**COMPLETION, "choices": [{**CHOICE, "finish_reason": "error"}]}),
    "without-choices": answering({**COMPLETION, "choices": []}),
    "thinks-in-its-own-way": streaming(chunk({"role": "assistant", "thinking": "hm"}), chunk({"content": "Hello"}), chunk({}, "stop"), USAGE),
}


def with_odd(new_gateway, mock, backend, pools):
    """A gateway whose backend `odd` is this one."""
    odd = f"""
[[backends]]
id = "odd"
base_url = "{backend.url}/v1"
"""
    return new_gateway(document=document(mock, odd + pools), variables={"http_backend_3": backend.url})


@pytest.fixture(params=SCRIPTS)
def odd(request, new_gateway, mock):
    """A gateway whose model `odd` asks an odd backend first, and the mock second."""
    backend = backends.Scripted(SCRIPTS[request.param])
    pools = f"""
[defaults.breaker]
enabled = false

[[models]]
name = "odd"
cancel_whole = {"true" if request.param == "thinks-in-its-own-way" else "false"}
retries = {{ max_attempts = 2 }}
deployments = [{{ backend = "odd", model = "m" }}, {{ backend = "a", model = "mock-a", priority = 1 }}]
"""
    gateway = with_odd(new_gateway, mock, backend, pools)
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


# Answers in another form than was asked for, and streams that say more than one thing.


def asking(new_gateway, mock, backend, settings=""):
    """A gateway whose model `odd` asks the backend, and then the mock."""
    pools = f"""
[[models]]
name = "odd"
{settings}
deployments = [{{ backend = "odd", model = "m" }}, {{ backend = "a", model = "mock-a", priority = 1 }}]

[[models]]
name = "odd-alone"
{settings}
deployments = [{{ backend = "odd", model = "m" }}]
"""
    return with_odd(new_gateway, mock, backend, pools)


def test_a_whole_answer_where_a_stream_was_asked_for_becomes_the_stream(new_gateway, mock, unique):
    backend = backends.Scripted(answering({**COMPLETION, "x_region": "eu"}, "connection: close"), None)
    gateway = asking(new_gateway, mock, backend)
    for usage in ({}, {"stream_options": {"include_usage": True}}):
        answer = streamed(gateway, "odd", unique + str(len(usage)), **usage)
        assert answer.response.headers["content-type"] == "text/event-stream"
        assert answer.response.headers["x-tollgate-attempts"] == "1" and answer.is_whole
        assert answer.text == "Hello" and answer.events[0]["x_region"] == "eu"
        assert {e["object"] for e in answer.events[:-1]} == {"chat.completion.chunk"}
        assert [e["usage"]["completion_tokens"] for e in answer.events[:-1] if e.get("usage")] == [2] * len(usage)
        record = gateway.record_of(answer.response)
        assert (record["outcome"], record["prompt_tokens"], record["completion_tokens"]) == ("completed", 3, 2)
        assert not record["estimated"] and record["stream"]
    assert len(backend.asked) == 2, "once for each request"
    until("it is cached", lambda: gateway.stream("odd", unique + "0")[0].headers["x-tollgate-cache"] == "exact")
    backend.stop()


def test_one_that_cannot_is_paid_for_once_and_another_is_asked(new_gateway, mock, unique):
    message = {**CHOICE["message"], "thinking": {"of": "something"}}
    completion = {**COMPLETION, "choices": [{**CHOICE, "message": message}]}
    backend = backends.Scripted(answering(completion, "connection: close"), None)
    gateway = asking(new_gateway, mock, backend)
    answer = streamed(gateway, "odd", unique)
    assert answer.is_whole and answer.response.headers["x-tollgate-deployment"] == "a/mock-a"
    wasted = gateway.record_of(answer.response)["retried_usage"]
    assert [(u["deployment"], u["prompt_tokens"], u["completion_tokens"]) for u in wasted] == [("odd/m", 3, 2)]
    assert "message.thinking" in gateway.server.log()
    response, text = gateway.stream("odd-alone", unique)
    assert (response.status_code, json.loads(text)["error"]["code"]) == (502, "upstream_bad_reply")
    assert len(backend.asked) == 2, "it would not do better"
    backend.stop()


def test_a_whole_answer_goes_on_with_a_stream_that_broke_off(new_gateway, mock, unique):
    backend = backends.Scripted()
    pools = f"""
[[models]]
name = "goes-on"
mid_stream = "continue"
deployments = [{{ backend = "a", model = "mock-a+cut=3" }}, {{ backend = "odd", model = "m", priority = 1 }}]
"""
    gateway = with_odd(new_gateway, mock, backend, pools)
    text = told(gateway, "mock-a", unique)
    whole = {**COMPLETION, "choices": [{**CHOICE, "message": {"role": "assistant", "content": text}}]}
    backend.script = (answering(whole),)
    answer = streamed(gateway, "goes-on", unique)
    assert answer.is_whole and answer.text == text and len(backend.asked) == 1
    backend.stop()


def test_a_stream_whose_chunks_repeat_all_so_far_beside_the_delta_is_read_by_the_delta(new_gateway, mock, unique):
    def both(message, delta, finish=None):
        beginning = chunk({"role": "assistant", "content": delta}, finish)
        beginning["choices"][0]["message"] = {"role": "assistant", "content": message}
        return beginning

    backend = backends.Scripted(streaming(both("Hel", "Hel"), both("Hello", "lo"), both("Hello", "", "stop")))
    gateway = asking(new_gateway, mock, backend)
    answer = streamed(gateway, "odd", unique)
    assert answer.is_whole and answer.text == "Hello" and len(backend.asked) == 1
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["completion_tokens"]) == ("completed", estimated("Hello"))
    backend.stop()


def of_choice(index, content, finish=None):
    said = chunk({"content": content}, finish)
    said["choices"][0]["index"] = index
    return said


def unended(*chunks):
    """A stream that ends behind these chunks without saying so."""
    return event_stream(events_of(*chunks), "connection: close")


def test_a_stream_that_breaks_off_between_two_choices_is_not_whole(new_gateway, mock, unique):
    backend = backends.Scripted(unended(of_choice(0, "one"), of_choice(0, "", "stop")), None)
    gateway = asking(new_gateway, mock, backend)
    answer = streamed(gateway, "odd-alone", unique, n=2)
    assert answer.error["code"] == "upstream_truncated" and answer.text == "one"
    assert gateway.record_of(answer.response)["outcome"] == "upstream_failed"
    time.sleep(0.4)  # what is stored is stored by then
    again = streamed(gateway, "odd-alone", unique, n=2)
    assert again.response.headers["x-tollgate-cache"] != "exact"
    assert streamed(gateway, "odd-alone", unique).is_whole, "it is, where one was asked for"
    backend.stop()


def test_several_choices_are_not_gone_on_with_by_the_beginning_of_one(new_gateway, mock, unique):
    first = backends.Scripted(unended(of_choice(0, "on")), None)
    second = backends.Scripted(streaming(of_choice(0, "one"), of_choice(0, "", "stop"), of_choice(1, "two", "stop")))
    pools = f"""
[[backends]]
id = "first"
base_url = "{first.url}/v1"

[[backends]]
id = "second"
base_url = "{second.url}/v1"

[[models]]
name = "two"
mid_stream = "continue"
deployments = [{{ backend = "first", model = "m" }}, {{ backend = "second", model = "m", priority = 1, prefill = "last_message" }}]
"""
    variables = {"http_backend_3": first.url, "http_backend_4": second.url}
    gateway = new_gateway(document=document(mock, pools), variables=variables)
    answer = streamed(gateway, "two", unique, n=2)
    assert answer.is_whole and answer.text == "onetwo"
    assert b'"assistant"' not in second.asked[0]
    first.stop(), second.stop()


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
    gateway = with_odd(new_gateway, mock, backend, pools)
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


# A first chunk with a role alone is no answer, and no reason to choke.

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
[[models]]
name = "alone"
retries = {{ max_attempts = 1 }}
timeouts = {{ first_token_ms = 2_000 }}
deployments = [{{ backend = "odd", model = "m" }}]

# The mock has the same time.
[[models]]
name = "not-alone"
timeouts = {{ first_token_ms = 2_000 }}
deployments = [{{ backend = "odd", model = "m" }}, {{ backend = "a", model = "mock-a", priority = 1 }}]
"""
    gateway = with_odd(new_gateway, mock, backend, pools)
    began = time.monotonic()
    response, text = gateway.stream("alone", unique)
    assert (response.status_code, json.loads(text)["error"]["code"]) == (status, code)
    assert time.monotonic() - began < 15
    record = gateway.record_of(response)
    assert (record["outcome"], record["completion_tokens"]) == ("upstream_failed", 0)
    response, text = gateway.stream("not-alone", unique)
    assert response.status_code == 200 and text.endswith("data: [DONE]\n\n") and text.count('"role"') == 1
    assert len(backend.asked) == 2
    if then == "nothing":
        until("it was hung up on", lambda: len(backend.left_at) == 2)
    backend.stop()
