"""One set of counters for several replicas: a key-value store on Redis, and Redis by itself, which runs scripts."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support import servers
from support.clients import until
from support.gateway import KEY
from support.limits import document, used

LIMIT = 20_000
REPLICAS = 3
# What each asks for and takes, prompt apart: small and large ones, so that refusals of large ones leave room for small ones.
SIZES = [1_500, 900, 400, 120]


def limits(store, each_user=10_000):
    return f"""
[[limits]]
name = "everybody"
counter_key = []
token_quota = {LIMIT}
period = "year"
alert_at = [0.5]
[[limits]]
name = "each-team"
counter_key = ["team"]
tokens_per_minute = {10 * LIMIT}
requests_per_minute = 10_000
[[limits]]
name = "each-user"
counter_key = ["user"]
request_quota = {each_user}
period = "hour"
window = "rolling"
max_parallel = 1_000
[limiter]
store = "{store}"
"""


@pytest.fixture
def replicas(new_gateway, mock, tmp_path):
    """Three gateways on one Redis, the way that the test's store says."""
    redis = servers.start_redis(tmp_path)

    def start(store, **amounts):
        key_value = f'[key_value_store.default]\ntype = "redis"\nurl = "{redis.url}"\n'
        options = {
            "key_value": {"runtime_config": key_value},
            "redis": {"variables": {"limiter_redis": redis.url}},
        }[store]
        return redis, [new_gateway(document=document(mock, limits(store, **amounts)), **options) for _ in range(REPLICAS)]

    yield start
    redis.stop()


@pytest.mark.parametrize("store", ["key_value", "redis"])
def test_three_replicas_never_give_a_token_too_many_and_leave_no_room_unused(replicas, store):
    _, gateways = replicas(store)

    def ask(i):
        size = SIZES[i % len(SIZES)]
        body = {
            "model": f"mock+slow=100ms+tokens={size}",
            "messages": [{"role": "user", "content": f"{store} any size {i}"}],
            "max_tokens": size,
            "user": f"user-{i % 7}",
        }
        url = f"{gateways[i % REPLICAS].url}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=120)
        return size, answer

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(120)))
    statuses = {answer.status_code for _, answer in answers}
    assert statuses == {200, 429}, statuses
    taken = sum(answer.json()["usage"]["total_tokens"] for _, answer in answers if answer.status_code == 200)
    assert taken <= LIMIT, "tokens admitted beyond the limit"
    assert reached(gateways[0], f"{store} any size") == sum(answer.status_code == 200 for _, answer in answers)

    deadline = time.monotonic() + 60
    while (counted := used(gateways[0], "everybody")) != taken:
        assert time.monotonic() < deadline, f"{counted} counted, {taken} taken: the counter is not exact"
        time.sleep(0.1)
    # Whoever was refused would not fit now either, except by the few tokens by which prompts were estimated too high.
    smallest = min(size for size, answer in answers if answer.status_code == 429)
    assert LIMIT - taken < smallest + 50, f"{LIMIT - taken} tokens are left, and {smallest} were refused"

    def alerts():
        return [e for g in gateways for e in g.admin.get("/admin/events").json()["events"] if e["kind"] == "alert"]

    until("it is told", alerts)
    time.sleep(0.5)
    assert len(alerts()) == 1, "once for all replicas"


def reached(gateway, text):
    """How many requests with this text came to the provider."""
    return len(gateway.received(text))


USERS, EACH, ASKS, SIZE = 7, 3, 42, 800


@pytest.mark.parametrize("store", ["key_value", "redis"])
def test_a_last_rule_that_refuses_leaves_no_trace_in_those_before_it(replicas, store):
    """Half of the requests are refused by a rule of the user after the shared one has taken; all together would not fit there."""
    _, gateways = replicas(store, each_user=EACH)
    assert USERS * EACH * (SIZE + 50) < LIMIT < ASKS * SIZE

    def ask(i):
        body = {
            "model": f"mock+slow=100ms+tokens={SIZE}",
            "messages": [{"role": "user", "content": f"{store} one size {i}"}],
            "max_tokens": SIZE,
            "user": f"user-{i % USERS}",
        }
        url = f"{gateways[i % REPLICAS].url}/v1/chat/completions"
        return i % USERS, httpx.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, timeout=120)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(ASKS)))
    taken = sum(answer.json()["usage"]["total_tokens"] for _, answer in answers if answer.status_code == 200)
    refusing = {answer.json()["error"]["message"].split('"')[1] for _, answer in answers if answer.status_code == 429}
    assert refusing == {"each-user"}, "what was held for a moment refuses nobody"
    admitted = [sum(u == user and a.status_code == 200 for u, a in answers) for user in range(USERS)]
    assert admitted == [EACH] * USERS and reached(gateways[0], f"{store} one size") == USERS * EACH

    counters = ["everybody", *(f"each-user:user-{user}" for user in range(USERS))]
    expected = [taken, *admitted]
    deadline = time.monotonic() + 60
    while (counted := [used(gateways[0], counter) for counter in counters]) != expected:
        assert time.monotonic() < deadline, f"{counted} counted, {expected} used: what was taken was not all given back"
        time.sleep(0.1)


def test_redis_by_itself_counts_shows_resets_and_expires(replicas):
    redis, (gateway, *_) = replicas("redis")
    answer = gateway.chat(text="by script", user="jane")
    assert answer.status_code == 200, answer.text

    def counted():
        return [amount["used"] for amount in gateway.admin.get("/admin/limits/each-user:jane").json()["amounts"]]

    until("its place is given back", lambda: counted() == [1, 0])
    assert gateway.admin.post("/admin/limits/each-user:jane/reset").json()["recorded"] is True
    assert counted() == [0, 0]
    assert gateway.chat(text="by script again", user="jane").status_code == 200
    keys = [key for key in redis.ask("KEYS tl:*").split() if key.startswith("tl:")]
    assert len(keys) >= 4, keys
    for key in keys:
        ttl_ms = int(redis.ask(f"PTTL {key}").removeprefix(":"))
        assert 0 < ttl_ms < 367 * 24 * 3_600_000, f"{key} stays for {ttl_ms} ms"


def test_a_redis_that_is_gone_refuses_and_one_that_forgot_its_scripts_is_told_them_again(replicas):
    redis, (gateway, *_) = replicas("redis")
    assert gateway.chat(text="before").status_code == 200
    assert redis.ask("SCRIPT FLUSH") == "+OK\r\n"
    assert gateway.chat(text="after a flush").status_code == 200
    redis.stop()
    answer = gateway.chat(text="gone")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "limiter_unavailable"), answer.text
    assert "on_store_error=deny, refused" in gateway.server.log()


def test_a_redis_that_wants_a_password_gets_it_and_nobody_reads_it(new_gateway, mock, tmp_path):
    redis = servers.start_redis(tmp_path, password="p:w/ä@d")
    try:
        variables = {"limiter_redis": redis.url, "limiter_redis_password": "default:p:w/ä@d"}
        gateway = new_gateway(document=document(mock, limits("redis")), variables=variables)
        assert gateway.chat(text="secret").status_code == 200
        gateway = new_gateway(document=document(mock, limits("redis")), variables={**variables, "limiter_redis_password": "no"})
        assert gateway.chat(text="secret").status_code == 503
        assert "p:w" not in gateway.server.log() and "p%3Aw" not in gateway.server.log()
    finally:
        redis.stop()
