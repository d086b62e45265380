"""OpenAI's Python client on the gateway: what it gets, what it raises, and how often the provider is asked."""

import asyncio
import json
import time

import openai
import pydantic
import pytest
from support.clients import PLENTY, ended, limited_key, until
from support.gateway import KEY, OTHER_KEY

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


def ask(text, model="mock", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def chat(client, *args, **fields):
    return client.chat.completions.create(**ask(*args, **fields))


def stream(client, *args, **fields):
    return list(chat(client, *args, stream=True, **fields))


def content(chunks, choice=0):
    deltas = [c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == choice]
    return "".join(deltas)


def dumped(answer):
    """All fields of an answer; the id of its request, which came in a header, is none."""
    return answer.model_dump(mode="json")


def statuses(gateway, text):
    """The statuses that the provider gave to requests with this text, in order."""
    return [entry["status"] for entry in gateway.received(text)]


# Answers


def test_an_answer_is_the_providers(client, provider, unique):
    assert dumped(chat(client, unique)) == dumped(chat(provider, unique))


def test_base_url_and_key_are_all_that_an_app_changes(gateway, monkeypatch, unique):
    monkeypatch.setenv("OPENAI_BASE_URL", f"{gateway.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with openai.OpenAI() as client:
        assert unique in chat(client, unique).choices[0].message.content


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_the_key_may_come_in_another_header(client, gateway, unique, header):
    """As Azure's and Anthropic's clients send it."""
    answer = chat(client, unique, extra_headers={"Authorization": openai.Omit(), header: KEY})
    assert unique in answer.choices[0].message.content
    with pytest.raises(openai.AuthenticationError):
        chat(client, unique, extra_headers={"Authorization": openai.Omit(), header: "wrong"})
    with pytest.raises(openai.AuthenticationError):
        chat(client, unique, extra_headers={"Authorization": openai.Omit()})
    assert len(gateway.received(unique)) == 1


def test_the_request_id_is_the_one_that_is_recorded(client, gateway, unique):
    answer = chat(client, unique)
    assert gateway.record(answer._request_id)["completion_tokens"] == answer.usage.completion_tokens
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, unique, "mock+status=400")
    assert gateway.record(caught.value.request_id)["status"] == 400
    own = chat(client, unique, extra_headers={"x-request-id": f"own/{unique.replace(' ', '-')}"})
    assert own._request_id == f"own/{unique.replace(' ', '-')}"


def test_headers_are_there_with_the_raw_response(client, unique):
    raw = client.chat.completions.with_raw_response.create(**ask(unique, "renamed"))
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-tollgate-deployment"] == "mock/mock-renamed"
    assert raw.headers["x-tollgate-attempts"] == "1"
    assert raw.headers["x-ratelimit-limit-tokens"] == str(PLENTY)
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content


def test_headers_are_there_before_a_stream_is_read(client, unique):
    request = ask(unique, "mock+stall=1", stream=True, timeout=60)
    raw = client.chat.completions.with_raw_response.create(**request)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.request_id and raw.headers["x-ratelimit-limit-tokens"] == str(PLENTY)
    raw.http_response.close()


def test_models_are_listed_and_found(client, new_client):
    named = ["gpt-4o-mini", "renamed", "failover", "given-up", "given-up-unreachable", "impatient", "impatient-stream"]
    assert [model.id for model in client.models.list()] == named
    assert client.models.retrieve("renamed").id == "renamed"
    assert [model.id for model in new_client(api_key=OTHER_KEY).models.list()] == ["gpt-4o-mini"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("missing")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_several_choices_come_whole_and_streamed(client, provider, unique):
    whole = chat(client, unique, n=2)
    assert dumped(whole) == dumped(chat(provider, unique, n=2))
    assert [choice.index for choice in whole.choices] == [0, 1]
    chunks = stream(client, unique, n=2)
    assert [content(chunks, i) for i in (0, 1)] == [choice.message.content for choice in whole.choices]
    assert content(chunks, 0) != content(chunks, 1)


# What the provider is asked


def test_fields_that_the_gateway_does_not_know_reach_the_provider(client, gateway, unique):
    extra = {"top_k": 5, "nested": {"list": [1, 2.5, None, "é"], "empty": {}}}
    chat(client, unique, extra_body=extra, logit_bias={"50256": -100}, metadata={"a": "b"}, reasoning_effort="low")
    (received,) = gateway.received(unique)
    expected = {"logit_bias": {"50256": -100}, "metadata": {"a": "b"}, "reasoning_effort": "low", **extra}
    assert received["body"] == {**ask(unique), **expected}


def test_a_response_format_reaches_the_provider_as_the_client_wrote_it(client, gateway, unique):
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    chat(client, unique, response_format=wanted)
    (received,) = gateway.received(unique)
    assert received["body"]["response_format"] == wanted
    assert list(received["body"]["response_format"]["json_schema"]["schema"]["properties"]) == ["b", "a"]


def test_images_and_system_messages_reach_the_provider(client, gateway, unique):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": unique}, image]},
    ]
    answer = client.chat.completions.create(model="mock", messages=messages)
    assert gateway.received(unique)[0]["body"]["messages"] == messages
    assert answer.usage.prompt_tokens > 85


def test_a_prompt_of_a_megabyte_arrives_unchanged(client, gateway, unique):
    prompt = f"{unique} " + "Grüße aus Köln 👩‍💻 " * 40_000
    assert len(prompt.encode()) > 1_000_000
    answer = chat(client, prompt)
    (received,) = gateway.received(unique)
    assert received["body"]["messages"][0]["content"] == prompt
    assert answer.usage.prompt_tokens > 250_000


# Streams


@pytest.mark.parametrize("model", ["mock", "renamed", "failover", "mock+comments", "mock+crlf", "mock+no-done"])
def test_a_stream_says_what_the_provider_says(client, provider, unique, model):
    chunks = stream(client, unique, model)
    whole = chat(provider, unique)
    assert content(chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(chunks) > 5, "the answer comes in pieces"


@pytest.mark.parametrize("text", ["emoji", "multibyte"])
@pytest.mark.parametrize("split", [1, 2, 3, 7])
def test_characters_that_are_cut_on_the_way_arrive_whole(client, provider, unique, text, split):
    model = f"mock+split={split}+text={text}+tokens=40"
    got = content(stream(client, unique, model))
    assert got == chat(provider, unique, f"mock+text={text}+tokens=40").choices[0].message.content
    assert len(got.encode()) == 160 and not got.isascii() and "\ufffd" not in got
    assert chat(client, unique, f"{model}+chunked").choices[0].message.content == got


def test_usage_ends_a_stream_that_asks_for_it(client, provider, unique):
    chunks = stream(client, unique, stream_options={"include_usage": True})
    assert chunks[-1].choices == [] and all(chunk.usage is None for chunk in chunks[:-1])
    assert dumped(chunks[-1].usage) == dumped(chat(provider, unique).usage)


@pytest.mark.parametrize("options", [openai.Omit(), {"include_usage": False}, {"include_obfuscation": False}])
def test_no_usage_comes_unasked(client, gateway, unique, options):
    chunks = stream(client, unique, stream_options=options)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert gateway.received(unique)[0]["body"]["stream_options"]["include_usage"], "the gateway itself wants to know"


def test_chunks_come_when_the_provider_sends_them(client, provider, unique):
    """The provider never ends this stream: whoever waits for its end gets nothing."""
    heard = []
    with chat(client, unique, "mock+stall=4", stream=True, timeout=60) as chunks:
        for chunk in chunks:
            heard.append(chunk)
            if len(content(heard)) == 16:
                break
    assert content(heard) == chat(provider, unique).choices[0].message.content[:16]


def test_closing_a_stream_stops_the_provider(client, gateway, unique):
    with chat(client, unique, "mock+gap=20ms+tokens=2000", stream=True) as chunks:
        next(chunks)
        next(chunks)
    assert ended(gateway, unique) == "client_gone"
    assert gateway.received(unique)[0]["chunks"] < 1_000


def test_the_stream_helper_puts_an_answer_together(client, provider, unique):
    with client.chat.completions.stream(**ask(unique, tools=[WEATHER], n=2)) as events:
        kinds = {event.type for event in events}
        final = events.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    whole = chat(provider, unique, n=2)
    assert [c.message.content for c in final.choices] == [c.message.content for c in whole.choices]


# Tools


class GetWeather(pydantic.BaseModel):
    """The weather of a city."""

    city: str
    days: int


def assembled(chunks):
    """Tool calls of a stream, by index: id, name and arguments."""
    calls = {}
    for delta in [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or []]:
        call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
        call["id"] += delta.id or ""
        call["name"] += delta.function.name or ""
        call["arguments"] += delta.function.arguments or ""
    return [calls[index] for index in sorted(calls)]


def test_tool_calls_come_whole_and_parsed(client, unique):
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    answer = client.chat.completions.parse(**ask(unique, "mock+tool=2", tools=[tool]))
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = [call.function.parsed_arguments for call in answer.choices[0].message.tool_calls]
    assert calls == [GetWeather(city=unique, days=1), GetWeather(city=unique, days=2)]


@pytest.mark.parametrize("faults", ["", "+split=3"])
def test_tool_calls_in_a_stream_can_be_put_together(client, provider, unique, faults):
    chunks = stream(client, unique, f"mock+tool=2{faults}", tools=[WEATHER])
    calls = assembled(chunks)
    assert [json.loads(c["arguments"]) for c in calls] == [{"city": unique, "days": 1}, {"city": unique, "days": 2}]
    assert [c["name"] for c in calls] == ["get_weather"] * 2
    assert all(c["id"] for c in calls) and calls[0]["id"] != calls[1]["id"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    direct = assembled(stream(provider, unique, "mock+tool=2", tools=[WEATHER]))
    assert [c["arguments"] for c in calls] == [c["arguments"] for c in direct]


def test_a_tool_call_and_its_result_make_a_conversation(client, gateway, unique):
    first = chat(client, unique, "mock+tool", tools=[WEATHER]).choices[0].message
    call = first.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    messages = [{"role": "user", "content": unique}, first.to_dict(), result]
    second = client.chat.completions.create(model="mock+tool", messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content
    assert gateway.received(unique)[1]["body"]["messages"][1]["tool_calls"][0]["id"] == call.id


# Cached answers


def from_cache(client, request, may_say=("miss", "bypass")):
    """The same request's answer once it comes from the cache, where it is put some 150 ms after the first answer has gone out.

    And how often it did not come from there: `miss` before it is put there, `bypass` where the cache was slow.
    """
    time.sleep(0.4)
    raws = []

    def hit():
        raws.append(client.chat.completions.with_raw_response.create(**request))
        if (says := raws[-1].headers["x-tollgate-cache"]) == "exact":
            return True
        assert says in may_say
        raws[-1].http_response.read()

    until("an answer from the cache", hit)
    return raws[-1].parse(), len(raws) - 1


@pytest.mark.parametrize("usage", [True, False])
def test_a_whole_answer_is_replayed_as_a_stream(client, gateway, unique, usage):
    request = ask(unique, "mock+text=emoji+tokens=30", n=2)
    whole = client.chat.completions.create(**request)
    cached, misses = from_cache(client, request)
    assert dumped(cached) == dumped(whole)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    replayed, more_misses = from_cache(client, {**request, "stream": True, **options}, may_say=("bypass",))
    chunks = list(replayed)
    assert [content(chunks, i) for i in (0, 1)] == [c.message.content for c in whole.choices]
    finished = {c.index: c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason}
    assert finished == {0: "stop", 1: "stop"}
    assert [dumped(chunk.usage) for chunk in chunks if chunk.usage] == ([dumped(whole.usage)] if usage else [])
    assert len(gateway.received(unique)) == 1 + misses + more_misses, "the provider is not asked"


def test_a_tool_call_is_replayed_as_a_stream(client, unique):
    request = ask(unique, "mock+tool=2", tools=[WEATHER])
    whole = client.chat.completions.create(**request).choices[0]
    from_cache(client, request)
    with client.chat.completions.stream(**request) as events:
        replayed = events.get_final_completion().choices[0]
    assert replayed.finish_reason == whole.finish_reason == "tool_calls"
    assert [dumped(c.function) for c in replayed.message.tool_calls] == [
        {**dumped(c.function), "parsed_arguments": None} for c in whole.message.tool_calls
    ]


def test_a_stream_is_served_whole_later(client, unique):
    chunks = stream(client, unique, "mock+text=multibyte+tokens=30")
    whole, _ = from_cache(client, ask(unique, "mock+text=multibyte+tokens=30"))
    assert whole.choices[0].message.content == content(chunks)
    assert whole.object == "chat.completion" and whole.usage.completion_tokens == 30


# Errors


@pytest.mark.parametrize("key", ["wrong", KEY + "x", KEY[:-1]])
def test_an_unknown_key_is_an_authentication_error(new_client, gateway, unique, key):
    client = new_client(api_key=key, max_retries=2)
    with pytest.raises(openai.AuthenticationError) as caught:
        chat(client, unique)
    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
    assert caught.value.type == "authentication_error" and key not in caught.value.message
    with pytest.raises(openai.AuthenticationError):
        list(client.models.list())
    assert not gateway.received(unique)


def test_a_model_of_others_is_a_permission_error(new_client, gateway, unique):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        chat(new_client(api_key=OTHER_KEY, max_retries=2), unique, "renamed")
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")
    assert not gateway.received(unique)


@pytest.mark.parametrize(
    ("request_body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "mock\n"}, "model"),
        ({"extra_body": {"stream": "yes"}}, "stream"),
        ({"stream": True, "stream_options": 5}, "stream_options"),
    ],
)
def test_a_wrong_field_is_a_bad_request_that_names_it(client, gateway, unique, request_body, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**ask("Hello"), "user": unique, **request_body})
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert caught.value.type == "invalid_request_error" and param in caught.value.message
    assert caught.value.request_id
    assert not gateway.received(unique)


def test_a_path_that_is_not_there_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.embeddings.create(model="text-embedding-3-small", input="Hello")
    assert (caught.value.code, caught.value.param) == ("not_found", None)
    assert "/v1/embeddings" in caught.value.message


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("model", "error", "status", "code", "param"),
    [
        ("mock+status=400+code=context_length_exceeded", openai.BadRequestError, 400, "context_length_exceeded", "messages"),
        ("mock+unknown-word", openai.BadRequestError, 400, "invalid_model_name", "model"),
        ("mock+status=403", openai.PermissionDeniedError, 403, "unsupported_country_region_territory", None),
        ("nope", openai.NotFoundError, 404, "model_not_found", None),
        ("mock+status=409", openai.ConflictError, 409, None, None),
        ("mock+status=422", openai.UnprocessableEntityError, 422, None, None),
        ("mock+status=429", openai.RateLimitError, 429, "rate_limit_exceeded", None),
        ("mock+status=500", openai.InternalServerError, 500, None, None),
        ("mock+status=503", openai.InternalServerError, 503, "overloaded", None),
    ],
)
def test_the_providers_errors_are_the_clients_own(
    client, provider, unique, model, error, status, code, param, streamed
):
    caught = []
    for asked in (client, provider):
        with pytest.raises(error) as raised:
            chat(asked, unique, model, stream=streamed)
        caught.append(raised.value)
    through, direct = caught
    assert (through.status_code, through.code, through.param) == (status, code, param)
    assert (through.body, through.message) == (direct.body, direct.message)


@pytest.mark.parametrize(
    ("model", "status", "codes"),
    [
        ("mock+reset", 502, ["upstream_unreachable", "upstream_failed"]),
        ("mock+truncated-json", 502, ["upstream_failed"]),
        ("mock+not-json", 502, ["upstream_bad_reply"]),
        ("impatient", 504, ["upstream_timeout"]),
    ],
)
def test_a_provider_that_gives_nothing_usable_is_an_internal_server_error(client, unique, model, status, codes):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client, unique, model)
    assert caught.value.status_code == status and caught.value.type == "server_error"
    assert caught.value.code in codes


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_does_not_wait_gets_a_timeout_and_asks_again(new_client, gateway, unique, streamed):
    with pytest.raises(openai.APITimeoutError):
        chat(new_client(max_retries=1), unique, "mock+silence", stream=streamed, timeout=2)
    until("both are asked, and neither is answered", lambda: statuses(gateway, unique) == [None, None])


def test_a_stream_that_goes_silent_is_a_timeout_to_an_impatient_client(client, unique):
    chunks = chat(client, unique, "mock+stall=2", stream=True, timeout=3)
    with pytest.raises(openai.APITimeoutError):
        list(chunks)


@pytest.mark.parametrize(
    ("model", "code", "heard"),
    [
        ("mock+cut=3", "upstream_failed", 3),
        ("mock+cut=0", "upstream_failed", 0),
        ("mock+clean-cut=3", "upstream_truncated", 3),
        ("mock+clean-cut=0", "upstream_truncated", 0),
        ("mock+malformed=3", "upstream_bad_reply", 2),
        ("mock+error-in-stream=3", "server_error", 3),
        ("impatient-stream", "upstream_timeout", 3),
    ],
)
def test_a_stream_that_is_not_finished_raises(client, unique, model, code, heard):
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in chat(client, unique, model, stream=True):
            chunks.append(chunk)
    assert caught.value.code == code and caught.value.type == "server_error" and caught.value.message
    assert len(content(chunks)) == 4 * heard, "what came before the failure is handed on"


# Retries


def test_a_server_error_is_retried_by_the_gateway_and_then_by_nobody(new_client, gateway, unique):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(new_client(max_retries=2), unique, "mock+status=500")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert statuses(gateway, unique) == [500, 500, 500]
    counts = [entry["headers"]["x-stainless-retry-count"] for entry in gateway.received(unique)]
    assert counts == ["0", "0", "0"], "each try is the gateway's"


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_what_is_the_requests_own_fault_is_not_retried(new_client, gateway, unique, status):
    with pytest.raises(openai.APIStatusError):
        chat(new_client(max_retries=2), unique, f"mock+status={status}")
    assert statuses(gateway, unique) == [status]


def test_the_client_waits_as_long_as_the_provider_says(new_client, gateway, unique):
    with pytest.raises(openai.RateLimitError) as caught:
        chat(new_client(max_retries=2), unique, "mock+status=429+retry-after-ms=1100")
    assert caught.value.response.headers["retry-after-ms"] == "1100"
    received = [entry["received_at_ms"] for entry in gateway.received(unique)]
    assert len(received) == 3
    # Left to itself it would wait at most 0.5 s, then at most 1 s.
    assert min(received[1] - received[0], received[2] - received[1]) >= 1_090


@pytest.mark.parametrize("streamed", [False, True])
def test_a_provider_that_recovers_is_never_noticed(new_client, gateway, unique, streamed):
    answer = chat(
        new_client(max_retries=2),
        unique,
        "mock+flaky=2+status=503+retry-after-ms=10",
        stream=streamed,
        extra_headers={"x-mock-id": unique},
    )
    text = content(answer) if streamed else answer.choices[0].message.content
    assert unique in text and statuses(gateway, unique) == [503, 503, 200]


def test_another_deployment_answers_at_once_and_the_client_need_not_retry(new_client, gateway, unique):
    raw = new_client(max_retries=2).chat.completions.with_raw_response.create(**ask(unique, "failover"))
    assert (raw.retries_taken, raw.headers["x-tollgate-attempts"]) == (0, "2")
    assert statuses(gateway, unique) == [500, 200]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "status"), [("given-up", 500), ("given-up-unreachable", 502)])
def test_retries_of_gateway_and_client_do_not_multiply(new_client, gateway, unique, model, status, streamed):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(new_client(max_retries=2), unique, model, stream=streamed)
    assert caught.value.status_code == status
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.headers["x-tollgate-attempts"] == "3"
    assert len(gateway.received(unique)) == 3, "the gateway's budget, whatever the client's"


# Our own limit


def test_over_the_limit_is_a_rate_limit_error_that_the_client_waits_out(
    new_client, limited_gateway, monkeypatch, unique
):
    client = new_client(base_url=f"{limited_gateway.url}/v1", api_key=limited_key("python"), max_retries=2)
    waits, retry_after = [], []
    monkeypatch.setattr("openai._base_client.time.sleep", waits.append)
    client._client.event_hooks["response"].append(lambda r: retry_after.append(r.headers.get("retry-after")))
    chat(client, unique, "mock+tokens=700", max_tokens=700)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, unique, "mock+tokens=701", max_tokens=701)
    error = caught.value
    assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "rate_limit_error", None)
    assert error.response.headers["x-ratelimit-limit-tokens"] == "1000"
    assert 0 <= int(error.response.headers["x-ratelimit-remaining-tokens"]) < 701
    assert len(retry_after) == 4 and waits == [float(seconds) for seconds in retry_after[1:3]], "told, and waited"
    assert all(1 <= seconds <= 120 for seconds in waits)
    assert statuses(limited_gateway, unique) == [200], "what is refused never reaches the provider"


def test_a_request_larger_than_its_limit_is_refused_once_and_for_all(new_client, limited_gateway, unique):
    requests = []
    client = new_client(base_url=f"{limited_gateway.url}/v1", api_key=limited_key("python"), max_retries=2)
    client._client.event_hooks["request"].append(requests.append)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, unique, max_tokens=2_000)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(requests) == 1 and not limited_gateway.received(unique)


# Async


def run(gateway, work, **options):
    """Runs `work(client)` with an asynchronous client."""

    async def inside():
        settings = {"base_url": f"{gateway.url}/v1", "api_key": KEY, "max_retries": 0, **options}
        async with openai.AsyncOpenAI(**settings) as client:
            return await asyncio.wait_for(work(client), timeout=300)

    return asyncio.run(inside())


def test_the_async_client_gets_the_same(gateway, provider, unique):
    async def both(client):
        whole = await client.chat.completions.create(**ask(unique))
        chunks = [c async for c in await client.chat.completions.create(**ask(unique, "mock+split=5", stream=True))]
        return whole, chunks, [model.id async for model in client.models.list()]

    whole, chunks, models = run(gateway, both)
    direct = chat(provider, unique)
    assert dumped(whole) == dumped(direct) and content(chunks) == direct.choices[0].message.content
    assert "gpt-4o-mini" in models


def test_the_async_client_raises_the_same(gateway, unique):
    async def failing(client):
        with pytest.raises(openai.APIError) as cut:
            async for _ in await client.chat.completions.create(**ask(unique, "mock+cut=3", stream=True)):
                pass
        with pytest.raises(openai.InternalServerError):
            retrying = client.with_options(max_retries=2)
            await retrying.chat.completions.create(**ask(f"{unique}, again", "mock+status=502"))
        return cut.value.code

    assert run(gateway, failing) == "upstream_failed"
    assert statuses(gateway, f"{unique}, again") == [502] * 3


def test_an_async_client_that_is_cancelled_stops_the_provider(gateway, unique):
    async def cancelled(client):
        async def listen():
            async for chunk in await client.chat.completions.create(
                **ask(unique, "mock+gap=20ms+tokens=2000", stream=True)
            ):
                heard.set()

        heard = asyncio.Event()
        listening = asyncio.create_task(listen())
        await heard.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        # The client is still open: it is the request that has gone.
        return await asyncio.to_thread(ended, gateway, unique)

    assert run(gateway, cancelled) == "client_gone"


def test_the_limit_holds_for_requests_that_come_together(limited_gateway, unique):
    async def together(client):
        requests = [ask(f"{unique}/{i}", "mock+tokens=300", max_tokens=300) for i in range(8)]
        asked = [client.chat.completions.create(**request) for request in requests]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = run(limited_gateway, together, api_key=limited_key("python-async"))
    refused = [a for a in answers if isinstance(a, openai.RateLimitError)]
    admitted = [a for a in answers if not isinstance(a, Exception)]
    assert len(refused) + len(admitted) == 8, answers
    assert 1 <= len(admitted) <= 3 and sum(a.usage.total_tokens for a in admitted) <= 1_000
    assert len(limited_gateway.received(unique)) == len(admitted)


STREAMS = 32


def test_many_streams_at_once_all_complete_and_none_gets_anothers_words(gateway, unique):
    model = "mock+gap=10ms+text=multibyte+tokens=40"

    async def one(client, i, all_open):
        chunks = []
        async for chunk in await client.chat.completions.create(**ask(f"{unique}/{i}/", model, stream=True)):
            chunks.append(chunk)
            if len(chunks) == 2:
                await all_open.wait()  # nobody goes on before everybody has begun
        return chunks

    async def all_together(client):
        all_open = asyncio.Barrier(STREAMS)
        return await asyncio.gather(*[one(client, i, all_open) for i in range(STREAMS)])

    for i, chunks in enumerate(run(gateway, all_together)):
        text = content(chunks)
        assert f"{unique}/{i}/" in text and len(text.encode()) == 160
        assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(gateway.received(unique)) == STREAMS
