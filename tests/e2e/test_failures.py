"""A part that is dead, slow or full: each component's README says what it then costs, and here it costs that.

A component is dead when another one answers in its place, which knows nothing of its job, or one that traps or hangs; a store is slow when its redis is stopped (SIGSTOP), dead when it is killed;
a database is dead when its file is none.
"""

import json
import re
import time
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest
from support import servers
from support.clients import until
from support.gateway import DOCUMENT, KEY, OTHER_KEY, SMALL_KEY, digest
from support.limits import used

REDIS = '[key_value_store.default]\ntype = "redis"\nurl = "{url}"\n'


def document(mock, limits=True, more=""):
    text = DOCUMENT.format(
        mock=mock.url,
        dead_port=servers.DEAD_PORT,
        key=digest(KEY),
        other_key=digest(OTHER_KEY),
        small_key=digest(SMALL_KEY),
        tokens_per_minute=1_000_000,
    )
    return (text if limits else re.sub(r"\[\[limits\]\].*?\n\n", "", text, flags=re.S)) + more


@pytest.fixture
def without(tmp_path):
    """The app's manifest with another component in one's place, which knows none of its paths and answers 404."""

    def write(component):
        text = (servers.ROOT / "spin.toml").read_text()
        stranger = "semantic-cache" if component != "semantic-cache" else "usage-logger"
        wasm = {name: str(servers.WASM / f"{name.replace('-', '_')}.wasm") for name in (component, stranger)}
        text = text.replace('source = "target/wasm32-wasip2/release/', f'source = "{servers.WASM}/')
        assert text.count(f'source = "{wasm[component]}"') == 1
        path = tmp_path / "spin.toml"
        path.write_text(text.replace(f'source = "{wasm[component]}"', f'source = "{wasm[stranger]}"'))
        return path

    return write


@pytest.fixture
def behaving(tmp_path):
    """The app's manifest with a component that traps or hangs, whatever it is asked, in one's place."""

    def write(component, behaviour):
        text = (servers.ROOT / "spin.toml").read_text()
        text = text.replace('source = "target/wasm32-wasip2/release/', f'source = "{servers.WASM}/')
        own = f'source = "{servers.WASM}/{component.replace("-", "_")}.wasm"'
        probe = f'source = "{servers.built(servers.WASM / "probe_behaviour.wasm")}"'
        assert text.count(own) == 1
        path = tmp_path / "spin.toml"
        path.write_text(text.replace(own, f'{probe}\nenvironment = {{ BEHAVIOUR = "{behaviour}" }}'))
        return path

    return write


TRAPS, HANGS = "/panic", "/sleep?ms=60000"


@pytest.fixture
def redis(tmp_path):
    server = servers.start_redis(tmp_path)
    yield server
    server.stop()


def log(gateway, component, stream="stdout"):
    return (gateway.folder / "state" / "logs" / f"{component}_{stream}.txt").read_text()


def refused_uncounted(response):
    error = response.json()["error"]
    assert (response.status_code, error["code"], set(error)) == (503, "limiter_unavailable", {"message", "type", "param", "code"})
    return True


def test_without_a_limiter_nothing_is_admitted(new_gateway, without, unique):
    gateway = new_gateway(manifest=without("token-limiter"))
    response = gateway.chat(text=unique)
    assert refused_uncounted(response) and not gateway.received(unique)
    assert gateway.record_of(response)["error_code"] == "limiter_unavailable"


def test_a_reservation_that_comes_too_late_is_given_back(new_gateway, behaving, unique):
    reservation = "2;100:each-consumer:mt:tester:7:8"
    late = f"/answer-late?ms=10000&name=x-tollgate-reservation&value={quote(reservation)}"
    gateway = new_gateway(manifest=behaving("token-limiter", late))
    started = time.monotonic()
    assert refused_uncounted(gateway.chat(text=unique)) and 4.5 < time.monotonic() - started < 9.5
    until("it is admitted after all", lambda: "admitted a request too late" in log(gateway, "router", "stderr"))
    returned = {"reservation": reservation, "outcome": "returned"}
    asked = lambda: [json.loads(line) for line in log(gateway, "token-limiter").splitlines() if line.startswith('{"settlements"')]  # noqa: E731
    (batch,) = until("it is settled", asked)
    assert [{key: one[key] for key in returned} for one in batch["settlements"]] == [returned]


def test_without_a_cache_requests_go_on(new_gateway, without, unique):
    gateway = new_gateway(manifest=without("semantic-cache"))
    for _ in range(2):
        response = gateway.chat(text=unique)
        assert (response.status_code, response.headers["x-tollgate-cache"]) == (200, "bypass")
        assert gateway.record_of(response)["cache"] == "bypass"
    _, text = gateway.stream(text=unique)
    assert text.endswith("data: [DONE]\n\n")
    assert len(gateway.received(unique)) == 3


@pytest.mark.parametrize(("user_ids", "user"), [("true", "ann@example.org"), ("false", None)])
def test_without_a_logger_the_records_are_printed_in_the_form_that_it_would_print(new_gateway, without, mock, unique, user_ids, user):
    text = document(mock, more=f"\n[logging]\nuser_ids = {user_ids}\n")
    gateway = new_gateway(manifest=without("usage-logger"), document=text)
    response = gateway.chat(text=unique, user="ann@example.org")
    assert response.status_code == 200
    record = printed(gateway, "router", response)
    assert (record["consumer"], record["outcome"]) == ("tester", "completed") and record["completion_tokens"] > 0
    at = datetime.fromisoformat(record["at"])
    assert (record["event"], at.timestamp() * 1000, record["at"][-1]) == ("usage_record", pytest.approx(record["at_ms"]), "Z")
    assert (record.get("user"), record["cost_nano_usd"]) == (user, None), "the router knows no prices"


@pytest.mark.parametrize("stdout", ["true", "false"])
def test_without_a_database_the_records_are_printed_once(new_gateway, mock, tmp_path, unique, stdout):
    state = tmp_path / "state"
    state.mkdir()
    (state / "sqlite_db.db").write_text("this is no database, and long enough to be seen as none " * 100)
    gateway = new_gateway(state=state, document=document(mock, more=f"\n[logging]\nstdout = {stdout}\n"))
    gateway.folder = tmp_path
    response = gateway.chat(text=unique)
    assert response.status_code == 200
    assert printed(gateway, "usage-logger", response)["outcome"] == "completed"
    page = gateway.admin.get("/admin/usage")
    assert (page.status_code, page.json()["error"]["code"]) == (503, "database_unavailable")
    time.sleep(0.3)
    lines = (log(gateway, "usage-logger") + log(gateway, "router")).count(response.headers["x-request-id"])
    assert lines == 1, "printed exactly once"


def printed(gateway, component, response):
    """The record that a component has printed instead of keeping it."""
    request_id = response.headers["x-request-id"]
    line = until("the record is printed", lambda: [x for x in log(gateway, component).splitlines() if request_id in x])
    return json.loads(line[0])


@pytest.mark.parametrize(("behaviour", "least_s", "most_s"), [(TRAPS, 0, 4.9), (HANGS, 4.9, 30)])
def test_a_limiter_that_traps_or_never_answers_admits_nothing(new_gateway, behaving, unique, behaviour, least_s, most_s):
    gateway = new_gateway(manifest=behaving("token-limiter", behaviour))
    started = time.monotonic()
    response = gateway.chat(text=unique)
    assert refused_uncounted(response) and not gateway.received(unique)
    assert least_s <= time.monotonic() - started < most_s
    assert gateway.record_of(response)["error_code"] == "limiter_unavailable"


@pytest.mark.parametrize(("behaviour", "least_s"), [(TRAPS, 0), (HANGS, 0.5)])
def test_a_cache_that_traps_or_never_answers_is_done_without(new_gateway, behaving, unique, behaviour, least_s):
    gateway = new_gateway(manifest=behaving("semantic-cache", behaviour))
    started = time.monotonic()
    response = gateway.chat(text=unique)
    assert (response.status_code, response.headers["x-tollgate-cache"]) == (200, "bypass")
    assert least_s <= time.monotonic() - started < 30
    assert gateway.record_of(response)["outcome"] == "completed"


@pytest.mark.parametrize(("behaviour", "least_s", "most_s"), [(TRAPS, 0, 9.5), (HANGS, 9.9, 30)])
def test_what_a_logger_that_traps_or_hangs_does_not_take_is_printed(
    new_gateway, behaving, unique, behaviour, least_s, most_s
):
    gateway = new_gateway(manifest=behaving("usage-logger", behaviour))
    started = time.monotonic()
    response = gateway.chat(text=unique)
    assert response.status_code == 200 and response.elapsed.total_seconds() < 9.5, "the client waits for no logger"
    assert printed(gateway, "router", response)["outcome"] == "completed"
    assert least_s <= time.monotonic() - started < most_s


ONE_AT_A_TIME = """
[[limits]]
name = "one"
counter_key = ["consumer"]
max_parallel = 1
"""


# The router gives up on the logger after ten seconds.
def test_a_logger_that_hangs_keeps_no_settlement_waiting(new_gateway, behaving, mock, unique):
    text = document(mock, limits=False, more=ONE_AT_A_TIME)
    gateway = new_gateway(manifest=behaving("usage-logger", HANGS), document=text)
    for i in range(6):
        response = gateway.chat(text=f"{unique} {i}")
        assert response.status_code == 200, f"{i}: {response.text}"
        until("its place is free", lambda: used(gateway, "one:tester") == 0, within=8)


def test_with_a_dead_store_nothing_is_admitted_and_it_is_said_when_to_try_again(new_gateway, redis, unique):
    gateway = new_gateway(runtime_config=REDIS.format(url=redis.url))
    assert gateway.chat(text=unique).status_code == 200
    redis.stop()
    response = gateway.chat(text=unique + " again")
    assert refused_uncounted(response) and response.headers["retry-after"] == "1"
    assert not gateway.received(unique + " again")
    # The settlement before it may wait for the store, but no record waits for a settlement.
    assert gateway.record_of(response)["outcome"] == "refused"


def test_with_a_dead_store_requests_go_on_uncounted_if_the_document_says_so(new_gateway, mock, redis, unique):
    more = '\n[limiter]\non_store_error = "allow"\n'
    gateway = new_gateway(runtime_config=REDIS.format(url=redis.url), document=document(mock, more=more))
    redis.stop()
    response = gateway.chat(text=unique)
    assert (response.status_code, response.headers["x-tollgate-cache"]) == (200, "bypass")
    assert "x-ratelimit-remaining-tokens" not in response.headers
    record = gateway.record_of(response)
    assert (record["outcome"], record["uncounted"]) == ("completed", True)
    assert gateway.admin.get("/admin/usage", params={"group_by": ""}).json()["rows"][0]["uncounted"] == 1


def test_a_limiter_whose_store_does_not_answer_refuses_after_three_seconds(new_gateway, redis, unique):
    gateway = new_gateway(runtime_config=REDIS.format(url=redis.url))
    assert gateway.chat(text=unique).status_code == 200
    redis.hang()
    started = time.monotonic()
    response = gateway.chat(text=unique + " again")
    assert refused_uncounted(response) and not gateway.received(unique + " again")
    assert OF_THE_LIMITER in response.text and 2.5 < time.monotonic() - started < 30


# What the limiter says, while the router has not given up on it.
OF_THE_LIMITER = "cannot reach its counters"

# Counted without a read, and with texts: nothing of a hanging store may hold up the instance.
QUOTAS = """
[[limits]]
name = "monthly"
counter_key = ["team"]
token_quota = 1_000_000
period = "month"
[[limits]]
name = "rolling"
counter_key = ["user"]
request_quota = 1_000_000
period = "day"
window = "rolling"
[limiter]
on_store_error = "{on_store_error}"
"""


@pytest.mark.parametrize(("on_store_error", "status"), [("allow", 200), ("deny", 503)])
def test_quotas_in_a_store_that_hangs_keep_the_documents_word_in_time(new_gateway, mock, redis, unique, on_store_error, status):
    text = document(mock, limits=False, more=QUOTAS.format(on_store_error=on_store_error))
    gateway = new_gateway(runtime_config=REDIS.format(url=redis.url), document=text)
    assert gateway.chat(text=unique).status_code == 200
    redis.hang()
    # The second finds the instance that the first one waited in: it is free again.
    for i in range(2):
        response = gateway.chat(text=f"{unique} {i}", user=f"new-{i}")
        assert response.status_code == status and (status == 200 or OF_THE_LIMITER in response.text), response.text
        assert response.headers.get("retry-after") == (None if status == 200 else "1")
    redis.go_on()
    until("it is counted again", lambda: "x-ratelimit-remaining-tokens" in gateway.chat(text=f"{unique} after").headers)


def test_a_cache_that_does_not_answer_costs_half_a_second(new_gateway, mock, redis, unique):
    gateway = new_gateway(runtime_config=REDIS.format(url=redis.url), document=document(mock, limits=False))
    assert gateway.chat(text=unique).status_code == 200
    redis.hang()
    started = time.monotonic()
    response = gateway.chat(text=unique)
    assert (response.status_code, response.headers["x-tollgate-cache"]) == (200, "bypass")
    assert 0.4 < time.monotonic() - started < 30
    redis.go_on()
    until("the cache is asked again", lambda: gateway.chat(text=unique).headers["x-tollgate-cache"] != "bypass")


def test_a_backend_that_the_app_may_not_call_is_told_apart(new_gateway, mock, unique):
    text = document(mock).replace(f'base_url = "{mock.url}/v1"', 'base_url = "http://127.0.0.1:9/v1"')
    response = new_gateway(document=text).chat(text=unique)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_not_allowed")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_refused_by_its_size(new_gateway, mock, unique, declared):
    gateway = new_gateway(document=document(mock, more="\n[bounds]\nrequest_bytes = 100_000\n"))
    small = json.dumps({"model": "mock", "messages": [{"role": "user", "content": unique}]}).encode()
    for size, status in [(100_000, 200), (100_001, 413), (5_000_000, 413)]:
        body = small + b" " * (size - len(small))
        content = body if declared else (body[i : i + 16_384] for i in range(0, len(body), 16_384))
        response = gateway.http.post("/v1/chat/completions", content=content)
        assert response.status_code == status, f"{size}: {response.text}"
        if status == 413:
            assert response.json()["error"]["code"] == "request_too_large"
            assert gateway.record_of(response)["error_code"] == "request_too_large"
    assert len(gateway.received(unique)) == 1


def test_without_a_document_the_cap_is_16_mib(new_gateway, gateway, unique):
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": unique}]}).encode()
    response = gateway.http.post("/v1/chat/completions", content=body + b" " * (16 * 1024 * 1024))
    assert response.status_code == 413 and not gateway.received(unique)
    assert httpx.get(f"{gateway.url}/health").status_code == 200
