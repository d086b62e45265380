"""Replicas that share a store: what one learns of a deployment the others know, and one of them all asks whether it is well."""

import asyncio
import time

from support import servers
from support.clients import until
from support.gateway import KEY
from support.left_alone import ask, is_left_alone
from support.load import post
from support.pools import document

POOLS = """
[[models]]
name = "shared"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 4 }
deployments = [{ backend = "a", model = "mock-shared+flaky=1+ttft=5s" }]

[[models]]
name = "else"
deployments = [{ backend = "b", model = "mock-else" }]
"""


def test_replicas_that_share_a_store_share_what_they_know(new_gateway, mock, unique, tmp_path):
    redis = servers.start_redis(tmp_path)
    try:
        runtime = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
        one, two = (new_gateway(document=document(mock, POOLS), runtime_config=runtime) for _ in range(2))

        def went_on_alone():
            return sum(gateway.server.log().count("this instance's own for now") for gateway in (one, two))

        # An instance that the machine keeps from the store for longer than it waits goes on alone, and says so.
        for i in range(3):
            before, text = went_on_alone(), f"{unique} {i}"
            told, answers = opened_and_probed(one, two, text)
            if went_on_alone() == before:
                break
        assert 1 <= is_left_alone(told) <= 4 and not one.received(f"{text} second")
        assert sorted(answer.status for answer in answers) == [200] + [503] * 11
        assert {answer.json()["error"]["code"] for answer in answers if answer.status == 503} == {"no_available_backend"}
        assert len(one.received(f"{text} probe")) == 1, "one probe for all replicas"
        # Whoever has not probed learns at its next look, once a second.
        for gateway in (one, two):
            until("it has learned", lambda: ask(gateway, "shared", text, "after").status_code == 200)
    finally:
        redis.stop()


def opened_and_probed(one, two, text):
    """What the second replica says of a deployment that failed the first; and what twelve are told who come to both when it may be well again."""
    # Connected, so that the store is no slower than it usually is, and looking again: each does it once a second.
    for gateway in (one, two):
        assert gateway.chat("else", text).status_code == 200
    time.sleep(1.2)
    assert ask(one, "shared", text, "first").status_code == 503
    told = ask(two, "shared", text, "second")
    time.sleep(4.2)

    async def six_at_each():
        body = lambda i: {"model": "shared", "messages": [{"role": "user", "content": f"{text} probe {i}"}], "stream": True}  # noqa: E731
        return await asyncio.gather(
            *(post(url, KEY, f"shared-{i}", body(i), {"x-mock-id": text}) for i, url in enumerate([one.url, two.url] * 6))
        )

    return told, asyncio.run(six_at_each())
