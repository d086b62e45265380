"""What operators see of limits: alerts, counters, resets; and that old counters go by themselves."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.limits import document, used

# As Spin's own SQLite key-value store makes it.
KEY_VALUE = "CREATE TABLE spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (store, key))"


def events(gateway, **query):
    answer = gateway.admin.get("/admin/events", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["events"]


def eventually(what, expected):
    deadline = time.monotonic() + 60
    while (got := what()) != expected:
        assert time.monotonic() < deadline, f"{got!r}, not {expected!r}"
        time.sleep(0.05)


def test_each_threshold_is_told_once_however_many_pass_it(new_gateway, mock):
    limits = """
[[limits]]
name = "daily"
counter_key = ["team"]
request_quota = 1_000
period = "day"
timezone = "Europe/Berlin"
alert_at = [0.01, 0.02, 0.5]
"""
    gateway = new_gateway(document=document(mock, limits))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: gateway.chat(text=f"alert {i}"), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    alerts = lambda: sorted(event["threshold_permille"] for event in events(gateway))  # noqa: E731
    eventually(alerts, [10, 20])
    time.sleep(0.5)
    assert alerts() == [10, 20], "nothing is told twice"
    told = events(gateway)[0]
    assert (told["kind"], told["limit"], told["amount"]) == ("alert", "daily", "request_quota"), told
    assert (told["counter"], told["size"], told["mode"], told["team"]) == ("tests", 1_000, "enforce", "tests"), told
    assert told["window_start_ms"] <= told["at_ms"] < told["window_end_ms"], told
    eventually(lambda: gateway.server.log().count("alert limit=daily"), 2)


def test_an_operator_sees_and_resets_a_counter_and_the_deed_is_on_record(new_gateway, mock):
    limits = """
[[limits]]
name = "few"
counter_key = ["team", "user"]
request_quota = 2
period = "month"
"""
    gateway = new_gateway(document=document(mock, limits))
    ask = lambda text: gateway.chat(text=text, user="jane+doe").status_code  # noqa: E731
    assert [ask(f"quota {i}") for i in range(3)] == [200, 200, 429]
    rules = gateway.admin.get("/admin/limits").json()["limits"]
    assert [(rule["name"], rule["counter_key"]) for rule in rules] == [("few", ["team", "user"])]
    path = "/admin/limits/few:tests+jane%2Bdoe"
    state = gateway.admin.get(path).json()["amounts"][0]
    assert (state["used"], state["remaining"], state["size"]) == (2, 0, 2)
    assert gateway.http.post(f"{path}/reset").status_code == 401, "a consumer's key resets nothing"
    assert gateway.http.get("/admin/limits").status_code == 401
    answer = gateway.admin.post(f"{path}/reset")
    assert answer.status_code == 200 and answer.json()["recorded"] is True, answer.text
    assert ask("quota again") == 200
    (audit,) = [event for event in events(gateway) if event["kind"] == "audit"]
    deed = (audit["action"], audit["by"], audit["address"], audit["before"], audit["after"], audit["counter"])
    assert deed == ("limit_reset", "admin", "127.0.0.1", 2, 0, "tests+jane%2Bdoe")
    assert "audit reset limit=few counter=tests+jane%2Bdoe by=admin" in gateway.server.log()


def test_a_rule_that_observes_refuses_nothing_and_stands_in_the_record(new_gateway, mock):
    limits = """
[[limits]]
name = "watch"
counter_key = []
requests_per_minute = 1
mode = "observe"
[[limits]]
name = "ip"
counter_key = ["client_ip", "pool", "header:x-project"]
requests_per_minute = 2
"""
    gateway = new_gateway(document=document(mock, limits))
    records = [gateway.record_of(gateway.chat(text=f"observe {i}")) for i in range(2)]
    assert [record.get("observed", []) for record in records] == [[], ["watch"]]
    assert gateway.chat(text="observe 3").status_code == 429
    assert gateway.chat(text="observe 4", headers={"x-project": "other"}).status_code == 200
    assert used(gateway, "ip:*+127.0.0.1+other") == 1


@pytest.mark.parametrize("path", ["/reserve", "/settle", "/admin/limits/../../reserve", "/admin/limits/%2e%2e/reserve"])
def test_the_limiters_other_routes_stay_private(gateway, path):
    for client in (gateway.http, gateway.admin):
        answer = client.post(path, json={"messages": []})
        assert answer.status_code in (401, 403, 404, 405), f"{path} {answer.status_code} {answer.text}"
        assert "x-tollgate-reservation" not in answer.headers


def test_counters_that_nobody_looks_at_go_and_no_other(new_gateway, mock, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    path = state / "sqlite_key_value.db"
    minute = int(time.time()) // 60
    old = {f"tl:2:each:mt:consumer-{i}:{minute - 90 - i % 60}:{minute - 89 - i % 60}" for i in range(5_000)}
    old.add(f"rt:1:deployment:failures.1.1:{minute - 3}")
    old.add(f"tl:2:each:rn:consumer-1:7.from:{minute - 3}")
    superseded = "tl:2:each:rn:consumer-1:6:~"  # of an earlier build
    kept = {
        f"tl:2:each:mt:consumer-1:{minute - 1}:{minute}",
        f"tl:2:each:cd:consumer-1:{minute * 60}:{minute + 43_200}",
        f"tl:2:each:rn:consumer-1:8:{minute + 5}",
        f"tl:2:each:rn:consumer-1:8.from:{minute + 5}",
        "sc:other",
        "rt:1:openings:never",
        f"rt:1:deployment:failures.1.1:{minute + 1}",
    }
    with sqlite3.connect(path) as store:
        store.execute(KEY_VALUE)
        rows = [("default", key, (1).to_bytes(8, "little")) for key in old | kept]
        rows += [("default", superseded, (9).to_bytes(8, "little"))]
        rows += [("default", "tl:2:each:rn:consumer-1:from:~", b"1700000000000,7")]  # a script's, in the same Redis
        store.executemany("INSERT INTO spin_key_value VALUES (?, ?, ?)", rows)
    store.close()
    limits = '[[limits]]\nname = "each"\ncounter_key = ["consumer"]\ntokens_per_minute = 1_000_000\n'
    gateway = new_gateway(document=document(mock, limits), state=state)
    assert gateway.chat(text="sweep").status_code == 200

    def keys():
        with sqlite3.connect(path) as store:
            keys = {key for (key,) in store.execute("SELECT key FROM spin_key_value")}
        store.close()
        return keys

    eventually(lambda: len(keys() & (old | {superseded})), 0)
    assert kept <= keys(), "what is in use stays"
    assert "tl:2:each:rn:consumer-1:from:~" in keys()
    eventually(lambda: "swept 5003 old keys" in gateway.server.log(), True)
