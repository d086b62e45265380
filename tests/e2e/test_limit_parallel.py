"""Requests at the same time: places are refused, given back however a request ends, and come back when a holder dies."""

import time
from contextlib import ExitStack

import httpx
import pytest
from support import servers
from support.clients import until
from support.gateway import KEY
from support.limits import document, used

PLACES = 2
LIMITS = """
[defaults.breaker]
enabled = false
[defaults.timeouts]
total_ms = {lease_ms}
[[limits]]
name = "places"
counter_key = ["team"]
max_parallel = {places}
lease_s = {lease_s}
"""
# Begins at once and is then quiet: it holds its place meanwhile.
HELD = "mock+tokens=2+gap=4s"


@pytest.fixture(params=["key_value", "redis"])
def start(request, new_gateway, mock, tmp_path):
    """Starts a gateway; all of a test share the store."""
    redis = servers.start_redis(tmp_path) if request.param == "redis" else None
    variables = {"limiter_redis": redis.url} if redis else {}

    def gateway(lease_s):
        limits = LIMITS.format(places=PLACES, lease_s=lease_s, lease_ms=lease_s * 1_000)
        limits += f'[limiter]\nstore = "{request.param}"\n'
        return new_gateway(document=document(mock, limits), variables=variables, state=tmp_path / "state")

    yield gateway
    if redis:
        redis.stop()


def hold(gateway, stack, text):
    """A request that has begun to answer and goes on."""
    body = {"model": HELD, "messages": [{"role": "user", "content": text}], "stream": True}
    client = stack.enter_context(httpx.Client(timeout=60, headers={"authorization": f"Bearer {KEY}"}))
    response = stack.enter_context(client.stream("POST", f"{gateway.url}/v1/chat/completions", json=body))
    assert response.status_code == 200
    lines = response.iter_lines()
    assert next(lines).startswith("data: ")
    return lines


def test_places_are_refused_and_given_back_however_a_request_ends(start, unique):
    lease_s = 12
    gateway = start(lease_s)
    with ExitStack() as stack:
        held = [hold(gateway, stack, f"{unique} {i}") for i in range(PLACES)]
        refused = gateway.chat(text=f"{unique} too many")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded"), refused.text
        assert refused.headers["retry-after"] == "1" and "2 are running" in refused.json()["error"]["message"]
        assert not gateway.received(f"{unique} too many")
        for lines in held:
            assert "data: [DONE]" in list(lines)
    until("answers give their places back", lambda: used(gateway, "places:tests") == 0)
    for i in range(2 * PLACES):
        assert gateway.chat("mock+status=500", f"{unique} fails {i}").status_code >= 500
        until("an error gives its place back", lambda: used(gateway, "places:tests") == 0)
    with ExitStack() as stack:
        hold(gateway, stack, f"{unique} leaves")
        assert used(gateway, "places:tests") == 1
    left = time.monotonic()
    until("a client that has gone gives its place back", lambda: used(gateway, "places:tests") == 0)
    assert time.monotonic() - left < lease_s - 1, "that was not the lease's end"
    assert gateway.chat(text=f"{unique} at last").status_code == 200


def test_places_of_a_gateway_that_was_killed_come_back_with_the_end_of_their_lease(start, unique):
    lease_s = 6
    gateway = start(lease_s)
    # Before the lease begins, for that takes long on a busy machine.
    other = start(lease_s)
    with ExitStack() as stack:
        began = time.monotonic()
        for i in range(PLACES):
            hold(gateway, stack, f"{unique} {i}")
        gateway.server.stop()  # SIGKILL: nobody settles
        assert time.monotonic() - began < lease_s - 0.5, "asked in time to see the places held"
        assert other.chat(text=f"{unique} too early").status_code == 429
        until("they are free", lambda: other.chat(text=f"{unique} later").status_code == 200, within=lease_s * 1.25 + 15)
        assert lease_s - 0.5 < time.monotonic() - began < lease_s * 1.25 + 15
