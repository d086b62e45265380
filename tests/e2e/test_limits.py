"""Tokens per minute: never over the limit, settled to what was really used, and honest to the client."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support import servers
from support.gateway import KEY, OTHER_KEY


@pytest.fixture
def minute_ahead():
    """A limit is a sliding minute: begin with enough of it left that a test's requests share it."""
    if (second := time.time() % 60) > 45:
        time.sleep(60.5 - second)


def test_headers_tell_what_is_left(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=10_000)
    response = gateway.chat(text="Hello", max_tokens=10)
    assert response.headers["x-ratelimit-limit-tokens"] == "10000"
    assert 9_900 < int(response.headers["x-ratelimit-remaining-tokens"]) < 10_000
    response, _ = gateway.stream(text="Hello", max_tokens=10)
    assert response.headers["x-ratelimit-limit-tokens"] == "10000", "streams carry them too"


def test_a_request_over_the_limit_is_refused_as_openai_would(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=1_000)
    assert gateway.chat(text="first", max_tokens=900, model="mock+tokens=900").status_code == 200
    response = gateway.chat(text="second", max_tokens=900)
    assert response.status_code == 429
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("rate_limit_exceeded", "rate_limit_error", None)
    assert 1 <= int(response.headers["retry-after"]) <= 120
    assert response.headers["x-ratelimit-remaining-tokens"].isdigit()
    assert gateway.record_of(response)["outcome"] == "refused"
    assert not gateway.received("second"), "a refused request never reaches the provider"
    other = gateway.chat(model="gpt-4o-mini", text="third", max_tokens=900, headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert other.status_code == 200, "another team's counter is another one"


def test_what_was_not_used_comes_back(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=1_000)
    for i in range(8):  # 8 × (500 reserved) would be 4,000; 8 × (about 20 used) is not
        response = gateway.chat(text=f"short {i}", max_tokens=500)
        assert response.status_code == 200, response.text
        gateway.record_of(response)  # the settlement travels with the record


def test_a_failed_call_and_a_cache_hit_cost_nothing(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=1_000)
    gateway.record_of(gateway.chat(text="again", max_tokens=50))
    wait_until_cached(gateway, "again", max_tokens=50)
    for i in range(5):
        gateway.record_of(gateway.chat("unreachable", f"failing {i}", max_tokens=700))
        gateway.record_of(gateway.chat(text="again", max_tokens=50))
    assert gateway.chat(text="at last", max_tokens=700).status_code == 200


@pytest.mark.parametrize("store", ["sqlite", "memory", "redis"])
def test_a_hundred_at_once_never_exceed_the_limit(new_gateway, tmp_path, minute_ahead, store):
    redis = servers.start_redis(tmp_path) if store == "redis" else None
    config = {
        "sqlite": None,
        "memory": '[key_value_store.default]\ntype = "spin"\n',
        "redis": redis and f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n',
    }[store]
    try:
        gateway = new_gateway(tokens_per_minute=10_000, runtime_config=config)
        # Each takes 500 tokens of answer, so at most 20 fit, and somewhat fewer with their prompts.
        with ThreadPoolExecutor(32) as pool:
            responses = list(pool.map(lambda i: one(gateway, i), range(100)))
        admitted = [r for r in responses if r.status_code == 200]
        refused = [r for r in responses if r.status_code == 429]
        assert len(admitted) + len(refused) == 100, {r.status_code for r in responses}
        used = sum(r.json()["usage"]["total_tokens"] for r in admitted)
        assert used <= 10_000, "tokens admitted beyond the limit"
        assert len(admitted) >= 10, "the limit refuses far more than it must"
    finally:
        if redis:
            redis.stop()


def one(gateway, i):
    body = {"model": "mock+slow=300ms+tokens=500", "messages": [{"role": "user", "content": f"parallel {i}"}], "max_tokens": 500}
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def wait_until_cached(gateway, text, **fields):
    deadline = time.monotonic() + 5
    while gateway.chat(text=text, **fields).headers["x-tollgate-cache"] != "exact":
        assert time.monotonic() < deadline
        time.sleep(0.05)
