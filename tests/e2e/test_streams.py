"""Streams: handed on as they come, and never passed as whole when they are not."""

import json
import time

import httpx
import pytest
from support.clients import ended, promptly
from support.gateway import KEY
from support.pools import estimated


def events(text):
    """The `data` of each event, `[DONE]` as it is."""
    data = [line.removeprefix("data: ") for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data:")]
    return [d if d == "[DONE]" else json.loads(d) for d in data]


def content(parsed):
    return "".join(
        choice["delta"].get("content") or "" for e in parsed if e != "[DONE]" for choice in e.get("choices", [])
    )


def direct(gateway, model, text, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
    return httpx.post(f"{gateway.mock.url}/v1/chat/completions", json=body, timeout=60).text


def test_a_stream_that_asks_for_usage_is_handed_on_untouched(gateway, unique):
    options = {"include_usage": True}
    response, text = gateway.stream(text=unique, stream_options=options)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text == direct(gateway, "mock", unique, stream_options=options)


def test_usage_is_asked_for_and_held_back_when_the_client_does_not_want_it(gateway, unique):
    response, text = gateway.stream(text=unique)
    assert (received := gateway.received(unique)[0])["body"]["stream_options"] == {"include_usage": True}, received
    parsed = events(text)
    assert parsed[-1] == "[DONE]" and not any(e.get("usage") for e in parsed[:-1])
    assert content(parsed) == content(events(direct(gateway, "mock", unique)))
    record = gateway.record_of(response)
    assert record["completion_tokens"] > 0 and not record["estimated"] and record["stream"]


def test_chunks_arrive_when_the_provider_sends_them(gateway, unique):
    body = {"model": "mock+ttft=200ms+gap=400ms+tokens=9", "messages": [{"role": "user", "content": unique}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = response.iter_raw()
        next(pieces)
        assert gateway.received(unique)[0]["ended"] is None, "the first comes before the last is sent"
        assert len(list(pieces)) >= 5, "chunks were collected on the way"


@pytest.mark.parametrize(
    "model",
    ["mock+split=3+text=emoji+tokens=30", "mock+split=7+text=multibyte+tokens=30", "mock+crlf", "mock+comments"],
)
def test_frames_and_characters_may_be_cut_anywhere(gateway, unique, model):
    _, text = gateway.stream(model, unique)
    [entry] = gateway.received(unique)
    assert entry["ended"] == "completed", "asked once, and read to the end"
    parsed = events(text)
    assert parsed[-1] == "[DONE]"
    assert content(parsed) == content(events(direct(gateway, model, unique)))


def test_tool_calls_stream_whole(gateway, unique):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    _, text = gateway.stream("mock+tool", unique, tools=tools)
    calls = [c for e in events(text)[:-1] for ch in e["choices"] for c in ch["delta"].get("tool_calls") or []]
    assert calls[0]["function"]["name"] == "get_weather"
    assert json.loads("".join(c["function"].get("arguments", "") for c in calls))
    [entry] = gateway.received(unique)
    assert entry["body"]["tools"] == tools and entry["ended"] == "completed"
    whole = "".join(c["function"].get("arguments", "") for e in events(direct(gateway, "mock+tool", unique, tools=tools))[:-1]
        for ch in e["choices"] for c in ch["delta"].get("tool_calls") or [])
    assert "".join(c["function"].get("arguments", "") for c in calls) == whole


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("mock+cut=3", "upstream_failed"),
        ("mock+clean-cut=3", "upstream_truncated"),
        ("mock+malformed=3", "upstream_bad_reply"),
        ("impatient-stream", "upstream_timeout"),
    ],
)
def test_a_stream_that_fails_ends_with_an_error_and_no_done(gateway, unique, model, code):
    response, text = gateway.stream(model, unique)
    parsed = events(text)
    assert "[DONE]" not in parsed
    assert parsed[-1]["error"]["code"] == code and set(parsed[-1]["error"]) == {"message", "type", "param", "code"}
    assert all("error" not in e for e in parsed[:-1])
    record = gateway.record_of(response)
    assert (record["outcome"], record["error_code"]) == ("upstream_failed", code)
    assert record["estimated"] and record["completion_tokens"] > 0, "what was generated is counted"
    time.sleep(0.4)  # what is stored is stored by then
    again, text = gateway.stream(model, unique)
    assert again.headers["x-tollgate-cache"] != "exact", "a failed answer is never cached"


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("mock+clean-cut=0", 502, "upstream_truncated"), ("mock+cut=0", 502, "upstream_failed"), ("impatient-first", 504, "upstream_timeout")],
)
def test_a_stream_that_fails_before_its_first_event_has_an_honest_status(gateway, unique, model, status, code):
    response, text = gateway.stream(model, unique)
    assert (response.status_code, json.loads(text)["error"]["code"]) == (status, code)
    assert gateway.record_of(response)["outcome"] == "upstream_failed"


def test_the_providers_own_error_in_a_stream_is_the_last_event(gateway, unique):
    response, text = gateway.stream("mock+error-in-stream=2", unique)
    parsed = events(text)
    assert "error" in parsed[-1] and "[DONE]" not in parsed
    assert gateway.record_of(response)["outcome"] == "upstream_error"


def test_an_answer_that_the_provider_failed_to_begin_costs_nothing(gateway, unique):
    response, text = gateway.stream("mock+error-in-stream=0", unique)
    assert response.status_code == 500 and json.loads(text)["error"]["code"] == "server_error"
    record = gateway.record_of(response)
    tokens = (record["prompt_tokens"], record["completion_tokens"], record["estimated"])
    assert (record["outcome"], tokens) == ("upstream_error", (0, 0, False))


def test_a_missing_done_after_a_finished_answer_is_made_good(gateway, unique):
    response, text = gateway.stream("mock+no-done", unique)
    assert events(text)[-1] == "[DONE]"
    assert gateway.record_of(response)["outcome"] == "completed"


def test_a_done_that_never_comes_is_not_waited_for(gateway, unique):
    began = time.monotonic()
    response, text = gateway.stream("mock+linger", unique)
    assert events(text)[-1] == "[DONE]" and time.monotonic() - began < 30
    assert gateway.record_of(response)["outcome"] == "completed"
    assert ended(gateway, unique) == "client_gone", "the provider is let go"
    assert len(gateway.received(unique)) == 1, "and not asked again"


def test_a_malformed_event_ends_its_stream_and_nothing_else(gateway, unique):
    # It goes on correctly after the malformed event, for half a minute: nobody listens.
    _, text = gateway.stream("mock+malformed=3+gap=100ms+tokens=300", unique)
    assert events(text)[-1]["error"]["code"] == "upstream_bad_reply" and "[DONE]" not in text
    assert ended(gateway, unique) == "client_gone" and gateway.received(unique)[0]["chunks"] < 150
    assert len(gateway.received(unique)) == 1
    assert gateway.http.get("/health").status_code == 200
    after, text = gateway.stream("mock", unique + " again")
    assert after.status_code == 200 and events(text)[-1] == "[DONE]"


def test_usage_that_the_provider_does_not_give_is_estimated_and_marked(gateway, unique):
    for kind in ("", "+text=emoji", "+text=multibyte"):
        response, text = gateway.stream(f"mock+no-usage+tokens=40{kind}", unique + kind)
        record = gateway.record_of(response)
        assert record["estimated"] and record["prompt_tokens"] > 5
        assert record["completion_tokens"] == estimated(content(events(text)))


def test_a_client_that_leaves_stops_the_provider_and_is_counted(gateway, unique):
    body = {"model": "mock+gap=50ms+tokens=600", "messages": [{"role": "user", "content": unique}], "stream": True}
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as leaving:
        with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
            request_id = response.headers["x-request-id"]
            for i, _ in enumerate(response.iter_raw()):
                if i == 5:
                    break
    # Half a minute's: the provider goes on only until the next chunk finds nobody.
    assert ended(gateway, unique) == "client_gone" and gateway.received(unique)[0]["chunks"] < 400
    record = gateway.record(request_id)
    assert record["outcome"] == "client_gone" and record["estimated"]
    assert 0 < record["completion_tokens"] < 400


@pytest.mark.parametrize("model", ["mock+stall=3", "mock+gap=20s"])
def test_a_client_that_leaves_while_the_provider_is_quiet_is_noticed(gateway, unique, model):
    def stopped_after(i):
        text = f"{unique} {i}"
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
        with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as leaving:
            with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
                answer = response.iter_raw()  # kept: dropping it closes the connection
                next(answer)
                time.sleep(1.7)  # several probes find it there
                assert gateway.received(text)[0]["ended"] is None
                left = time.time()
        assert ended(gateway, text) == "client_gone"
        assert gateway.record_of(response)["outcome"] == "client_gone"
        return gateway.received(text)[0]["ended_at_ms"] / 1000 - left

    promptly(stopped_after)


def test_a_stream_that_comes_compressed_is_handed_on_as_it_was_asked_for(gateway, unique):
    response, text = gateway.stream("mock+gzip+text=emoji", unique)
    assert "content-encoding" not in response.headers
    assert content(events(text)) == content(events(direct(gateway, "mock+text=emoji", unique)))
    assert events(text)[-1] == "[DONE]" and gateway.record_of(response)["outcome"] == "completed"
    assert gateway.chat("mock+gzip", unique).json()["choices"][0]["message"]["content"]
    response, text = gateway.stream("mock+gzip+cut=3", unique)
    assert events(text)[-1]["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_with_200_gets_the_status_that_it_means(gateway, unique, stream):
    response = gateway.chat("mock+error-200+code=insufficient_quota", unique, stream=stream)
    assert (response.status_code, response.headers["content-type"]) == (429, "application/json")
    assert response.json()["error"]["code"] == "insufficient_quota"


def test_a_runaway_stream_is_cut_at_the_bound(gateway, unique):
    response, text = gateway.stream("runaway", unique)
    assert events(text)[-1]["error"]["code"] == "upstream_bad_reply" and len(text) < 2_000_000
    assert ended(gateway, unique) == "client_gone"


def test_a_buffered_stream_fails_unseen(gateway, unique):
    response, text = gateway.stream("buffered", unique)
    assert (response.headers["x-tollgate-attempts"], events(text)[-1]) == ("2", "[DONE]")
    assert content(events(text)) == content(events(direct(gateway, "mock", unique)))
    assert [entry["ended"] for entry in gateway.received(unique)[:2]] == ["cut_by_mock", "completed"]


def test_comments_keep_a_quiet_stream_alive_and_are_no_answer(gateway, unique):
    response, text = gateway.stream("quiet", unique)
    assert text.count(": keepalive\n\n") >= 3
    assert content(events(text)) == content(events(direct(gateway, "mock+tokens=2", unique)))
    assert gateway.record_of(response)["completion_tokens"] == 2


@pytest.mark.parametrize("shape", ["crlf", "comments", "bom", "multi-line", "split=3", "crlf+bom+split=1+multi-line"])
def test_every_framing_that_the_grammar_allows_is_read(gateway, unique, shape):
    response, text = gateway.stream(f"mock+text=emoji+{shape}", unique)
    assert gateway.record_of(response)["outcome"] == "completed"
    joined = "".join(line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    assert joined.endswith("[DONE]") and "\ufeff" not in text
    decoder, said = json.JSONDecoder(), ""
    while joined != "[DONE]":
        chunk, end = decoder.raw_decode(joined)
        said, joined = said + content([chunk]), joined[end:]
    assert said == content(events(direct(gateway, "mock+text=emoji", unique)))
