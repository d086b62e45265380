"""What a request costs in calls between components, which decide how many a machine can serve."""

import asyncio
import itertools
import time

from support import load
from support.clients import until
from support.gateway import KEY

STATS = "/.well-known/dev-host/stats"
REQUESTS, CONNECTIONS = 300, 32
# In so many seconds there is company for what comes after an answer, which waits 150 ms for it; here they take one and a half.
COMPANY_S = 5
# Called after the answer; every other call comes before it.
AFTERWARDS = ["/settle", "/store-batch", "/records", "/events"]


def test_three_calls_before_the_upstream_call_and_one_and_a_half_after_it(new_gateway, unique):
    gateway = new_gateway(runtime_config='[key_value_store.default]\ntype = "spin"\n', arguments=["--stats"])
    assert gateway.chat(text=unique).status_code == 200
    before = calls_when_quiet(gateway)
    began = time.monotonic()
    answers = asyncio.run(ask_all(gateway, unique))
    seconds = time.monotonic() - began
    assert all(a.status == 200 and a.headers["x-tollgate-cache"] != "exact" for a in answers)
    made = calls_when_quiet(gateway)
    made = {name: count - before.get(name, 0) for name, count in made.items()}
    after = sum(count for name, count in made.items() if name.split(" ")[1] in AFTERWARDS)
    # Nothing is stored where the cache has not answered in time.
    assert set(made) | {"semantic-cache /store-batch"} == {
        "router /v1/chat/completions",
        "token-limiter /reserve",
        "semantic-cache /lookup",
        "semantic-cache /store-batch",
        "token-limiter /settle",
        "usage-logger /records",
    }
    assert sum(made.values()) - after <= 3.0 * REQUESTS, made
    assert after <= 1.5 * REQUESTS * max(1, seconds / COMPANY_S), f"in {seconds:.1f} s: {made}"


async def ask_all(gateway, text):
    """Every question once, on so many connections at a time."""
    numbers = itertools.count()

    async def work():
        answers = []
        while (number := next(numbers)) < REQUESTS:
            body = {"model": "mock", "messages": [{"role": "user", "content": f"{text} {number}"}]}
            answers.append(await load.post(gateway.url, KEY, f"calls-{number}", body))
        return answers

    return sum(await asyncio.gather(*(work() for _ in range(CONNECTIONS))), [])


def calls_when_quiet(gateway):
    """Calls by component and path since the start, once none were made for a second: what follows answers waits 150 ms."""
    seen, since = None, 0.0

    def is_quiet():
        nonlocal seen, since
        calls = {name: count for name, count in gateway.http.get(STATS).json()["calls"].items() if "/admin" not in name}
        if calls != seen:
            seen, since = calls, time.monotonic()
        return time.monotonic() - since > 1

    until("no more calls", is_quiet)
    return seen
