"""What a client is told of its limits: on every answer, under the names of the document, and true to the second."""

import math
import sqlite3
import time
from contextlib import closing

from support.clients import until
from support.limits import document


def cached_answers(gateway):
    """How many answers the cache holds."""
    with closing(sqlite3.connect(gateway.folder / "state/sqlite_key_value.db", timeout=60)) as store:
        (count,) = store.execute("SELECT count(*) FROM spin_key_value WHERE key LIKE 'sc:1:%'").fetchone()
    return count


def test_headers_have_the_documents_names_on_every_answer(new_gateway, mock):
    limits = """
[[limits]]
name = "daily"
counter_key = []
token_quota = 1_000
request_quota = 3
period = "day"
[limiter.headers]
limit_tokens = "X-Tokens-Size"
consumed_tokens = "x-tokens-charged"
remaining_requests = "x-requests-left"
"""
    gateway = new_gateway(document=document(mock, limits))
    whole = gateway.chat(text="one", max_tokens=40)
    stream, _ = gateway.stream(text="two", max_tokens=40)
    gateway.record_of(stream)
    until("both are cached", lambda: cached_answers(gateway) == 2)
    cached = gateway.chat(text="one", max_tokens=40)
    assert gateway.record_of(cached)["cache"] == "exact"  # with the record its turn is given back
    third = gateway.chat(text="three", max_tokens=40)
    refused = gateway.chat(text="four", max_tokens=40)
    told = [answer.status_code for answer in (whole, stream, cached, third, refused)]
    assert told == [200, 200, 200, 200, 429]
    for answer, left in ((whole, "2"), (stream, "1"), (cached, "0"), (third, "0"), (refused, "0")):
        names = {name for name in answer.headers if name.startswith(("x-ratelimit-", "x-tokens-", "x-requests-"))}
        assert not names & {"x-ratelimit-limit-tokens", "x-ratelimit-consumed-tokens", "x-ratelimit-remaining-requests"}
        assert answer.headers["x-requests-left"] == left
        if answer is not refused:  # by requests
            assert answer.headers["x-tokens-size"] == "1000"
            used = answer.json()["usage"]["total_tokens"] if answer in (whole, third) else None
            charged = int(answer.headers["x-tokens-charged"])
            if answer is stream:  # its head goes out before its end is known
                assert 40 < charged < 80
            else:
                assert charged == (0 if answer is cached else used)
        assert not [name for name in answer.headers if name.startswith("x-tollgate-for") or "reservation" in name]


def test_they_are_on_a_stream_that_begins_before_anybody_answers(new_gateway, mock, unique):
    limits = """
[[models]]
name = "late"
keepalive_ms = 200
[[models.deployments]]
backend = "mock"
model = "mock+slow=2s"
[[limits]]
name = "all"
counter_key = []
tokens_per_minute = 1_000_000
"""
    gateway = new_gateway(document=document(mock, limits))
    body = {"model": "late", "messages": [{"role": "user", "content": unique}], "stream": True, "max_tokens": 40}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        answer = response.iter_raw()
        assert next(answer).startswith(b":")
        promised_at_ms = time.time() * 1000
        rest = b"".join(answer)
    assert rest.endswith(b"data: [DONE]\n\n")
    [entry] = gateway.received(unique)
    assert promised_at_ms < entry["received_at_ms"] + 2_000, "it was promised while the provider was silent"
    assert response.headers["x-ratelimit-limit-tokens"] == "1000000"
    charged = int(response.headers["x-ratelimit-consumed-tokens"])
    assert 40 < charged < 80, "what was reserved"
    assert int(response.headers["x-ratelimit-remaining-tokens"]) == 1_000_000 - charged


def test_a_public_name_is_counted_by_its_upstream_models_tokenizer(new_gateway, mock):
    limits = """
[[models]]
name = "fast"
deployments = [{ backend = "mock", model = "gpt-4o" }]
[[limits]]
name = "all"
counter_key = []
tokens_per_minute = 1_000_000
"""
    gateway = new_gateway(document=document(mock, limits))
    text = "Ünïcödé wörds and 1234567890. " * 20
    charged = [
        gateway.stream(model, text, max_tokens=1)[0].headers["x-ratelimit-consumed-tokens"]
        for model in ("fast", "gpt-4o", "unheard-of")
    ]
    assert charged[0] == charged[1] != charged[2], charged


def test_a_call_that_failed_consumed_nothing(new_gateway, mock):
    limits = '[[limits]]\nname = "all"\ncounter_key = []\ntokens_per_minute = 1_000_000\n'
    gateway = new_gateway(document=document(mock, limits))
    failed = gateway.chat("mock+status=400", "no answer", max_tokens=40)
    assert (failed.status_code, failed.headers["x-ratelimit-consumed-tokens"]) == (400, "0")


def test_who_waits_for_retry_after_is_admitted_and_who_comes_a_second_earlier_is_not(new_gateway, mock):
    limits = '[[limits]]\nname = "few"\ncounter_key = []\nrequests_per_minute = 20\n'
    gateway = new_gateway(document=document(mock, limits))
    # Late in a minute, so that the wait is short: of 20 requests one is over 3 s into the next minute. But all are to be in this one.
    if (wait := 47 - time.time() % 60) > 0:
        time.sleep(wait)
    elif wait < -2:
        time.sleep(60 + wait)
    for i in range(20):
        assert gateway.chat(text=f"retry {i}").status_code == 200
    sent = time.monotonic()
    refused = gateway.chat(text="too many")
    received = time.monotonic()
    assert refused.status_code == 429
    wait_s = int(refused.headers["retry-after"])
    assert 2 <= wait_s <= 17, wait_s
    time.sleep(max(0, sent + wait_s - 1.5 - time.monotonic()))
    asked = time.monotonic()
    early = gateway.chat(text="too early")
    # Where a pause has made it late, it may have been in time.
    if early.status_code == 429:
        assert int(early.headers["retry-after"]) <= math.ceil(received + wait_s - asked)
        time.sleep(max(0, received + wait_s - time.monotonic()))
        assert gateway.chat(text="in time").status_code == 200, f"after {wait_s} s it is admitted"
    else:
        assert early.status_code == 200 and time.monotonic() > sent + wait_s - 1, "a second earlier it is refused"
