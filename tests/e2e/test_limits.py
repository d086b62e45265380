"""Tokens per minute: never over the limit, settled to what was really used, and honest to the client."""

import asyncio
import time
from collections import Counter

import pytest
from support import load, servers
from support.clients import until
from support.gateway import OTHER_KEY, SMALL_KEY, digest
from support.limits import document, used


def test_headers_tell_what_is_left(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=10_000)
    response = gateway.chat(text="Hello", max_tokens=10)
    assert response.headers["x-ratelimit-limit-tokens"] == "10000"
    assert 9_900 < int(response.headers["x-ratelimit-remaining-tokens"]) < 10_000
    response, _ = gateway.stream(text="Hello", max_tokens=10)
    assert response.headers["x-ratelimit-limit-tokens"] == "10000", "streams carry them too"
    response, body = gateway.stream("quiet", "Hello", max_tokens=10)
    assert response.headers["x-ratelimit-limit-tokens"] == "10000" and ": " in body, "before anything else was said"
    for model in ("unreachable", "mock+status=500", "mock+status=400"):
        response = gateway.chat(model, "Hello", max_tokens=10)
        assert response.status_code >= 400 and response.headers["x-ratelimit-limit-tokens"] == "10000", model


def test_a_request_over_the_limit_is_refused_as_openai_would(new_gateway, minute_ahead, unique):
    gateway = new_gateway(tokens_per_minute=1_000)
    assert gateway.chat(text="first", max_tokens=900, model="mock+tokens=900").status_code == 200
    response = gateway.chat(text=f"refused {unique}", max_tokens=900)
    assert response.status_code == 429
    error = response.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("rate_limit_exceeded", "rate_limit_error", None)
    assert 1 <= int(response.headers["retry-after"]) <= 120
    assert response.headers["x-ratelimit-remaining-tokens"].isdigit()
    assert gateway.record_of(response)["outcome"] == "refused"
    assert not gateway.received(f"refused {unique}"), "a refused request never reaches the provider"
    other = gateway.chat(model="gpt-4o-mini", text="third", max_tokens=900, headers={"authorization": f"Bearer {OTHER_KEY}"})
    assert other.status_code == 200, "another team's counter is another one"


def test_requests_without_a_bound_of_their_own_fit_a_small_limit_as_long_as_there_is_room(new_gateway, minute_ahead, unique):
    """What is reserved for them is a guess, usually of 1,024 tokens; here a quarter of the limit, so that it refuses nobody who fits."""
    gateway = new_gateway(tokens_per_minute=200)
    answers = []
    for i in range(3):
        answers.append(gateway.chat("mock+tokens=75", f"{unique} {i}"))
        until_settled(gateway, answers)
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 150 < taken(answers) < 200, "there is room for another prompt, not for its answer"
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded" and int(answers[2].headers["retry-after"]) >= 1
    assert [len(gateway.received(f"{unique} {i}")) for i in range(3)] == [1, 1, 0]


def test_what_was_not_used_comes_back(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=1_000)
    responses = []
    for i in range(8):  # 8 × (500 reserved) would be 4,000; 8 × (about 20 used) is not
        responses.append(gateway.chat(text=f"short {i}", max_tokens=500))
        assert responses[-1].status_code == 200, responses[-1].text
        until_settled(gateway, responses)


def test_a_failed_call_and_a_cache_hit_cost_nothing(new_gateway, minute_ahead):
    gateway = new_gateway(tokens_per_minute=1_000)
    paid = until_cached(gateway, "again", max_tokens=50)
    for i in range(5):
        assert gateway.chat("unreachable", f"failing {i}", max_tokens=700).status_code >= 500
        until_settled(gateway, paid)
        if (again := gateway.chat(text="again", max_tokens=50)).headers["x-tollgate-cache"] != "exact":
            paid.append(again)
        until_settled(gateway, paid)
    assert gateway.chat(text="at last", max_tokens=700).status_code == 200


def test_a_reservation_in_a_store_that_hangs_leaves_nothing_charged(new_gateway, mock, tmp_path):
    redis = servers.start_redis(tmp_path)
    limits = """
[[limits]]
name = "yearly"
counter_key = []
token_quota = 1_000
period = "year"
"""
    config = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
    try:
        gateway = new_gateway(document=document(mock, limits), runtime_config=config)
        first = gateway.chat(text="first")
        taken = first.json()["usage"]["total_tokens"]
        until("the first is settled", lambda: used(gateway, "yearly") == taken)
        redis.hang()
        try:
            late = gateway.chat(text="late", max_tokens=500)
        finally:
            redis.go_on()
        assert (late.status_code, late.json()["error"]["code"]) == (503, "limiter_unavailable")
        until("it is given back", lambda: used(gateway, "yearly") == taken)
        assert gateway.chat(text="next", max_tokens=500).status_code == 200
    finally:
        redis.stop()


TOGETHER, ADMITTED, TOKENS_EACH = 1_000, 300, 1_000
# So many are being decided about at a time, by all processes together. A request needs about three of the 1,000 stacks
# that Spin has by default, so the host itself would refuse some of a thousand that arrive in the same millisecond.
UNDECIDED = 96
# Begins at once and then goes silent, for so many seconds: longer than it takes to decide about all, so that nothing is settled
# meanwhile. The later ones are for a machine on which that is too short.
GAPS = [15, 45, 45]
# For each of them a team of its own, of which nothing is counted yet.
TEAMS = "".join(
    f'\n[[consumers]]\nid = "together-{i}"\nteam = "together-{i}"\nkeys_sha256 = ["{digest(f"together-key-{i}")}"]\n'
    for i in range(len(GAPS))
)


STORES = [("sqlite", 1), ("memory", 1), ("redis", 1), ("redis", 3), ("script", 1), ("script", 3)]


@pytest.mark.parametrize(("store", "processes"), STORES)
def test_of_a_thousand_at_once_exactly_as_many_are_admitted_as_fit(new_gateway, tmp_path, store, processes):
    redis = servers.start_redis(tmp_path) if store in ("redis", "script") else None
    config = {
        "script": None,
        "sqlite": None,
        "memory": '[key_value_store.default]\ntype = "spin"\n',
        "redis": redis and f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n',
    }[store]
    try:
        limit = ADMITTED * TOKENS_EACH
        states = [servers.fast_state(tmp_path / f"state-{i}") for i in range(processes)]
        more = TEAMS + ('\n[limiter]\nstore = "redis"\n' if store == "script" else "")
        options = {"tokens_per_minute": limit, "runtime_config": config, "more": more}
        options["variables"] = {"limiter_redis": redis.url} if store == "script" else {}
        gateways = [new_gateway(state=state, **options) for state in states]
        body, answers = in_one_minute(gateways, f"all together {store} {processes}", limit)
        admitted = [a for a in answers if a.status == 200]
        refused = [a for a in answers if a.status == 429]
        assert len(admitted) + len(refused) == TOGETHER, Counter(a.status for a in answers)
        assert len(admitted) == ADMITTED == reached(gateways[0], body), "who was refused was not seen by the provider"
        assert sum(b"[DONE]" in a.body for a in admitted) == ADMITTED, "and all of those were served to their end"
        assert min(int(a.headers["x-ratelimit-remaining-tokens"]) for a in admitted) == 0
    finally:
        if redis:
            redis.stop()


def test_of_a_thousand_in_the_same_instant_no_more_are_admitted_than_fit(new_gateway):
    """The platform has no room for all of them, and turns some away as the router's README says."""
    limit = ADMITTED * TOKENS_EACH
    config = '[key_value_store.default]\ntype = "spin"\n'
    gateway = new_gateway(tokens_per_minute=limit, runtime_config=config, more=TEAMS)
    body, answers = in_one_minute([gateway], "all in one instant", limit, undecided=TOGETHER)
    statuses = Counter(a.status for a in answers)
    assert 0 < statuses[200] <= reached(gateway, body) <= ADMITTED, statuses
    assert statuses[429] and set(statuses) <= {200, 429, 500, 503}, statuses
    for answer in answers:
        if answer.status == 200:
            assert b"[DONE]" in answer.body or b'"error"' in answer.body, "whole, or says that it is not"
        elif answer.status == 500:
            assert answer.body == b"", "the platform's own answer"


def reached(gateway, body):
    """How many of these requests came to the provider, the probe of `prompt_tokens` apart."""
    text = body["messages"][0]["content"]
    return sum(entry["body"]["model"] == body["model"] for entry in gateway.received(text))


def in_one_minute(gateways, text, limit, undecided=UNDECIDED):
    """A request and the answers to it, sent a thousand times, that were all decided about in one minute and before any was settled.

    A limit is a sliding minute, and what is settled leaves room: where the machine was too slow, more fit than are counted here.
    """
    # All ask the same, past the cache; the answer's share is chosen so that each reserves a round number.
    body = {"messages": [{"role": "user", "content": f"{text} 0"}], "stream": True}
    body["max_tokens"] = TOKENS_EACH - prompt_tokens(gateways[0], body, limit)
    for i, gap in enumerate(GAPS):
        body |= {"model": f"mock+tokens=2+gap={gap}s", "messages": [{"role": "user", "content": f"{text} {i}"}]}
        if (second := time.time() % 60) > 45:
            time.sleep(60.5 - second)
        to_epoch = time.time() - time.monotonic()
        began = time.time()
        answers = asyncio.run(together([gateway.url for gateway in gateways], body, f"together-key-{i}", undecided))
        decided = max(a.began for a in answers)
        settled = min((a.finished for a in answers if b"[DONE]" in a.body), default=decided)
        if began // 60 == (to_epoch + decided) // 60 and decided < settled:
            return body, answers
    raise AssertionError(f"not decided in one minute before any was settled: {Counter(a.status for a in answers)}")


async def together(urls, body, key, undecided):
    """The answers to one request sent a thousand times; those that are admitted are all open at the same time."""
    undecided = [asyncio.Semaphore(undecided // len(urls)) for _ in urls]

    async def one(i):
        which = i % len(urls)
        await undecided[which].acquire()
        released = undecided[which].release
        headers = {"cache-control": "no-store"}
        return await load.post(urls[which], key, f"together-{i}", body, headers, timeout=300, began=released)

    return await asyncio.gather(*(one(i) for i in range(TOGETHER)))


def prompt_tokens(gateway, body, limit):
    """What the prompt is estimated at, seen on the counter of another team."""
    probe = {**body, "model": "mock", "max_tokens": 1}
    answer = asyncio.run(load.post(gateway.url, SMALL_KEY, "probe", probe, {"cache-control": "no-store"}))
    assert answer.status == 200, answer.body
    return limit - int(answer.headers["x-ratelimit-remaining-tokens"]) - 1


def taken(answers):
    return sum(answer.json()["usage"]["total_tokens"] for answer in answers if answer.status_code == 200)


def until_settled(gateway, answers):
    """Waits until no more is counted than what these answers took."""
    until("they are settled", lambda: used(gateway, "tokens:tests") <= taken(answers))


def until_cached(gateway, text, **fields):
    """Asks until the answer comes from the cache, where it is stored some 150 ms after the first; the answers that did not."""
    paid = []

    def is_cached():
        answer = gateway.chat(text=text, **fields)
        if answer.headers["x-tollgate-cache"] == "exact":
            return True
        paid.append(answer)
        time.sleep(0.4)  # few, for there is a limit

    until("it is cached", is_cached, within=30)
    return paid
