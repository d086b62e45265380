"""Exact hits: the same answer for the same request, to nobody else, whole or as a stream."""

import time

import httpx
import pytest
from support import backends
from support.clients import until
from support.gateway import OTHER_KEY
from support.pools import document
from test_streams import content, events


def cached(gateway, model, text, **fields):
    """Asks until the answer comes from the cache, where it goes with others some 150 ms after it has gone out.

    Waits before it asks: a miss would bring another answer, which would replace the first.
    """
    deadline = time.monotonic() + 60
    while True:
        time.sleep(0.4)
        response = gateway.chat(model, text, **fields)
        if response.headers.get("x-tollgate-cache") == "exact":
            return response
        assert time.monotonic() < deadline, "never served from the cache"


def not_bypassed(ask):
    """The first answer for which the cache answered in time; where it does not, nothing is stored either."""
    return until("the cache answers in time", lambda: (r := ask()).headers["x-tollgate-cache"] != "bypass" and r)


def test_the_same_question_is_paid_once(gateway, unique):
    first = gateway.chat("gpt-4o-mini", unique)
    assert first.headers["x-tollgate-cache"] != "exact"
    hit = cached(gateway, "gpt-4o-mini", unique)
    assert hit.content == first.content and hit.headers["content-type"] == "application/json"
    assert int(hit.headers["content-length"]) == len(hit.content)
    assert int(hit.headers["x-tollgate-cache-age"]) >= 0
    asked = len(gateway.received(unique))
    is_hit = gateway.chat("gpt-4o-mini", unique).headers["x-tollgate-cache"] == "exact"
    assert len(gateway.received(unique)) == asked + (not is_hit), "a hit asks no provider"
    record = gateway.record_of(hit)
    assert (record["cache"], record["cost_nano_usd"], record["attempts"]) == ("exact", 0, 0)
    assert record["prompt_tokens"] == first.json()["usage"]["prompt_tokens"]


def test_a_whole_answer_is_replayed_as_a_stream(gateway, unique):
    first = gateway.chat(text=unique)
    cached(gateway, "mock", unique)
    response = not_bypassed(lambda: gateway.chat(text=unique, stream=True))
    assert response.headers["x-tollgate-cache"] == "exact"
    assert response.headers["content-type"].startswith("text/event-stream")
    parsed = events(response.text)
    assert parsed[-1] == "[DONE]" and not any(e.get("usage") for e in parsed[:-1])
    assert content(parsed) == first.json()["choices"][0]["message"]["content"]
    response = not_bypassed(lambda: gateway.chat(text=unique, stream=True, stream_options={"include_usage": True}))
    usage = [e["usage"] for e in events(response.text)[:-1] if e.get("usage")]
    assert usage == [first.json()["usage"]]


def test_a_streamed_answer_is_served_whole(gateway, unique):
    _, text = gateway.stream("mock+text=multibyte+tokens=20", unique)
    hit = cached(gateway, "mock+text=multibyte+tokens=20", unique)
    answer = hit.json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == content(events(text))
    assert answer["usage"]["total_tokens"] > 0


def test_a_streamed_tool_call_is_served_whole(gateway, unique):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    _, text = gateway.stream("mock+tool", unique, tools=tools)
    streamed = [c for e in events(text)[:-1] for ch in e["choices"] for c in ch["delta"].get("tool_calls") or []]
    (call,) = cached(gateway, "mock+tool", unique, tools=tools).json()["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == (streamed[0]["id"], "function", "f")
    assert call["function"]["arguments"] == "".join(c["function"].get("arguments", "") for c in streamed)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_tokens": 9}, {"seed": 1}, {"user": "u"}, {"unknown": 1}])
def test_any_parameter_separates_answers(gateway, unique, change):
    gateway.chat(text=unique)
    cached(gateway, "mock", unique)
    assert gateway.chat(text=unique, **change).headers["x-tollgate-cache"] != "exact"


def test_nothing_crosses_from_one_team_to_another(gateway, unique):
    gateway.chat("gpt-4o-mini", unique)
    cached(gateway, "gpt-4o-mini", unique)
    other = gateway.chat("gpt-4o-mini", unique, headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert other.headers["x-tollgate-cache"] != "exact"


@pytest.mark.parametrize("model", ["mock+status=400", "mock+content-filter", "mock+no-usage"])
def test_what_is_no_clean_answer_is_never_cached(gateway, unique, model):
    gateway.chat(model, unique)
    gateway.record_of(gateway.chat(model, unique))
    time.sleep(0.2)
    assert gateway.chat(model, unique).headers["x-tollgate-cache"] != "exact"


def test_the_client_can_refuse_the_cache(gateway, unique):
    gateway.chat(text=unique)
    cached(gateway, "mock", unique)
    for control in ("no-store", "no-cache"):
        response = gateway.chat(text=unique, headers={"cache-control": control})
        assert response.headers["x-tollgate-cache"] == "bypass", control


def test_the_cache_survives_a_restart(new_gateway, unique):
    gateway = new_gateway()
    gateway.chat(text=unique)
    cached(gateway, "mock", unique)
    again = new_gateway(state=gateway.folder / "state")
    assert not_bypassed(lambda: again.chat(text=unique)).headers["x-tollgate-cache"] == "exact"


MOST_ON_THE_WIRE = 1024 * 1024


@pytest.mark.parametrize(("share", "is_cached"), [(0.95, True), (1.05, False)])
def test_a_stream_is_cached_up_to_1_mib_as_the_provider_sends_it(gateway, unique, share, is_cached):
    # The router asks for the usage as well, which is as much for each chunk.
    probe = {"model": "mock+tokens=1000", "messages": [{"role": "user", "content": unique}], "stream": True}
    probe["stream_options"] = {"include_usage": True}
    each = len(httpx.post(f"{gateway.mock.url}/v1/chat/completions", json=probe, timeout=60).content) / 1000
    model = f"mock+tokens={int(MOST_ON_THE_WIRE * share / each)}"
    text = unique + " long"
    response, body = gateway.stream(model, text)
    assert response.status_code == 200 and body.endswith("data: [DONE]\n\n")
    (asked,) = gateway.received(text)
    assert (asked["bytes"] <= MOST_ON_THE_WIRE) == is_cached and abs(asked["bytes"] / MOST_ON_THE_WIRE - share) < 0.03
    if is_cached:
        assert cached(gateway, model, text).json()["usage"]["completion_tokens"] == asked["chunks"]
    else:
        gateway.record_of(response)
        time.sleep(0.5)
        assert gateway.chat(model, text).headers["x-tollgate-cache"] != "exact"


CUT = backends.COMPLETION.replace(b'"stop"', b'"length"')
POOLS = """
[[backends]]
id = "cuts"
base_url = "CUTS/v1"

[[models]]
name = "cuts"
[[models.deployments]]
backend = "cuts"
"""


def test_an_answer_that_the_provider_cut_is_for_the_one_who_asked_alone(new_gateway, mock, unique):
    provider = backends.Scripted(backends.head(len(CUT)) + CUT, None)
    text = document(mock, POOLS.replace("CUTS", provider.url))
    gateway = new_gateway(document=text, variables={"http_backend_2": provider.url})
    for _ in range(2):
        response = gateway.chat("cuts", unique)
        assert response.headers["x-tollgate-cache"] != "exact" and response.json()["choices"][0]["finish_reason"] == "length"
        gateway.record_of(response)
        time.sleep(0.3)
    assert len(provider.asked) == 2
    # Where the client sets the length, that is what it asked for.
    gateway.chat("cuts", unique, max_tokens=2)
    assert cached(gateway, "cuts", unique, max_tokens=2).content == CUT
    provider.stop()
