"""The books: one true record per request, and sums over them."""

import json
import re
import sqlite3
import threading
import time

import httpx
from support.clients import until
from support.gateway import KEY, OTHER_KEY
from support.pools import document


def test_a_record_says_who_what_and_how_much(gateway, unique):
    response = gateway.chat("gpt-4o-mini", unique)
    usage = response.json()["usage"]
    record = gateway.record_of(response)
    expected = {
        "consumer": "tester",
        "team": "tests",
        "app": "suite",
        "model": "gpt-4o-mini",
        "deployment": "mock/gpt-4o-mini-2024-07-18",
        "attempts": 1,
        "stream": False,
        "status": 200,
        "outcome": "completed",
        "cache": response.headers["x-tollgate-cache"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "estimated": False,
        "cost_nano_usd": usage["prompt_tokens"] * 1_000 + usage["completion_tokens"] * 2_000,
    }
    assert {name: record[name] for name in expected} == expected
    assert record["latency_ms"] < 60_000 and record["ttft_ms"] <= record["latency_ms"]


def test_every_way_out_leaves_exactly_one_record(gateway, unique):
    ids = []
    for model, text, headers in [
        ("mock", unique, {}),
        ("mock+status=500", unique, {}),
        ("mock", unique, {"authorization": "Bearer wrong"}),
        ("unreachable", unique, {}),
    ]:
        ids.append(gateway.chat(model, text, headers=headers).headers["x-request-id"])
    ids.append(gateway.http.post("/v1/chat/completions", content="{").headers["x-request-id"])
    outcomes = [gateway.record(i)["outcome"] for i in ids]
    assert outcomes == ["completed", "upstream_error", "refused", "upstream_failed", "refused"]
    time.sleep(0.2)
    listed = gateway.admin.get("/admin/requests", params={"limit": 1000}).json()["requests"]
    assert [sum(r["request_id"] == i for r in listed) for i in ids] == [1] * len(ids)


def test_sums_equal_the_records(new_gateway):
    gateway = new_gateway()
    responses = [gateway.chat("gpt-4o-mini", f"sum {i}") for i in range(5)]
    responses.append(gateway.chat("mock", "sum other"))
    for response in responses:
        gateway.record_of(response)
    rows = gateway.admin.get("/admin/usage", params={"group_by": "team,app,model"}).json()["rows"]
    by_model = {row["model"]: row for row in rows}
    mini = [r.json()["usage"] for r in responses[:5]]
    assert by_model["gpt-4o-mini"]["requests"] == 5
    assert by_model["gpt-4o-mini"]["prompt_tokens"] == sum(u["prompt_tokens"] for u in mini)
    assert by_model["gpt-4o-mini"]["completion_tokens"] == sum(u["completion_tokens"] for u in mini)
    cost = sum(u["prompt_tokens"] * 1_000 + u["completion_tokens"] * 2_000 for u in mini)
    assert by_model["gpt-4o-mini"]["cost_nano_usd"] == cost
    assert by_model["mock"]["unpriced"] == 1


def test_each_request_is_one_json_line_on_stdout(gateway, unique):
    response = gateway.chat(text=unique)
    gateway.record_of(response)
    log = (gateway.folder / "state" / "logs" / "usage-logger_stdout.txt").read_text()
    lines = [json.loads(line) for line in log.splitlines() if response.headers["x-request-id"] in line]
    assert len(lines) == 1 and lines[0]["model"] == "mock"
    assert unique not in log and KEY not in log, "neither prompts nor keys are logged"


def test_a_record_names_the_end_user_whom_limits_count_by(gateway, unique):
    user = f"ann of {unique}"
    response = gateway.chat(text=unique, user=user)
    nobody = gateway.chat(text=unique + " again")
    assert gateway.record_of(response)["user"] == user and "user" not in gateway.record_of(nobody)
    (row,) = gateway.admin.get("/admin/usage", params={"group_by": "user", "user": user}).json()["rows"]
    assert (row["user"], row["requests"], row["prompt_tokens"]) == (user, 1, response.json()["usage"]["prompt_tokens"])
    long = gateway.chat(text=unique + " at length", user="é" * 70_000)
    assert gateway.record_of(long)["user"] == "é" * 64


def test_end_users_leave_no_trace_if_the_document_says_so(new_gateway, unique):
    gateway = new_gateway(more="\n[logging]\nuser_ids = false\n")
    assert "user" not in gateway.record_of(gateway.chat(text=unique, user="ann@example.org"))
    assert "ann@example.org" not in log(gateway, "usage-logger") + log(gateway, "router", "stderr")


def log(gateway, component, stream="stdout"):
    return (gateway.folder / "state" / "logs" / f"{component}_{stream}.txt").read_text()


POOLS = """
[[models]]
name = "known"
aliases = ["also-known"]
[[models.deployments]]
backend = "a"
model = "mock"
"""


def test_names_that_clients_invent_are_in_no_record_of_a_refusal(new_gateway, mock, gateway, unique):
    invented = new_gateway(document=document(mock, POOLS))
    for model, code, recorded in [("invented-1", "model_not_found", ""), ("also-known", None, "also-known")]:
        response = invented.chat(model, unique)
        record = invented.record_of(response)
        assert (record["model"], record.get("error_code")) == (recorded, code)
        assert (response.json()["error"]["code"] if code else None) == code
    # Where a `*` would take any name, but not from this consumer.
    headers = {"authorization": f"Bearer {OTHER_KEY}"}
    for model, recorded in [("invented-2", ""), ("failover", "failover")]:
        record = gateway.record_of(gateway.chat(model, unique, headers=headers))
        assert (record["model"], record["error_code"]) == (recorded, "model_not_allowed")


def test_without_a_key_nobody_fills_the_database(new_gateway, unique):
    gateway = new_gateway()
    count, started = 100, time.monotonic()
    for _ in range(count):
        assert gateway.chat(text=unique, headers={"authorization": "Bearer unknown"}).status_code == 401
    seconds = time.monotonic() - started
    known = gateway.chat(text=unique)
    gateway.record_of(known)

    def told():
        lines = re.findall(r"(\d+) more requests without a known key", log(gateway, "router", "stderr"))
        return sum(int(number) for number in lines)

    def recorded():
        (row,) = gateway.admin.get("/admin/usage", params={"group_by": "", "consumer": ""}).json()["rows"]
        return row["requests"]

    until("all are recorded or counted", lambda: recorded() + told() == count)
    # Two in each second and instance, of which the requests of one connection need one, or one and its successor.
    assert 1 <= recorded() <= 2 * (seconds + 2), f"in {seconds:.1f} s"


def test_a_report_that_takes_long_holds_up_no_batch(new_gateway, tmp_path, unique):
    state = tmp_path / "state"
    state.mkdir()
    gateway = new_gateway(state=state)
    gateway.record_of(gateway.chat(text=unique))
    path = state / "sqlite_db.db"
    with sqlite3.connect(path) as database:
        columns = ",".join(column[1] for column in database.execute("PRAGMA table_info(usage_records)"))
        values = columns.replace("record_id", "'r-' || n", 1).replace("user", "'u-' || n", 1)
        numbers = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300000)"
        database.execute(f"{numbers} INSERT INTO usage_records SELECT {values} FROM numbers, (SELECT * FROM usage_records LIMIT 1)")
    database.close()

    def is_written(request_id):
        with sqlite3.connect(path) as database:
            found = database.execute("SELECT 1 FROM usage_records WHERE request_id = ? AND at_ms > ?", (request_id, began_ms)).fetchone()
        database.close()
        return found

    took = []

    def report():
        page = gateway.admin.get("/admin/usage", params={"group_by": "user,team,app,model,day,route"})
        took.append((time.monotonic() - started, page.status_code, page.json()["truncated"]))

    # A pause may hold up one of them; a report would hold up each.
    for i in range(3):
        began_ms, started = int(time.time() * 1000) - 1, time.monotonic()
        reading = threading.Thread(target=report)
        reading.start()
        time.sleep(0.1)
        response = gateway.chat(text=f"{unique} meanwhile {i}")
        until("it is written", lambda: is_written(response.headers["x-request-id"]))
        written_s = time.monotonic() - started
        reading.join()
        report_s, *page = took[-1]
        assert page == [200, True]
        if written_s < report_s * 0.8:
            break
    assert written_s < report_s * 0.8, f"written after {written_s:.2f} s, the report took {report_s:.2f} s"


def test_the_operators_pages_want_the_admin_token(gateway):
    for headers in ({}, {"authorization": f"Bearer {KEY}"}, {"authorization": "Bearer x"}):
        response = httpx.get(f"{gateway.url}/admin/usage", headers=headers)
        assert response.status_code == 401 and set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_records_cannot_be_posted_from_outside(gateway):
    for path in ("/records", "/admin/records"):
        response = httpx.post(f"{gateway.url}{path}", json=[], headers={"authorization": f"Bearer {KEY}"})
        assert response.status_code in (401, 404, 405), path
    assert httpx.post(f"{gateway.url}/reserve", json={}).status_code == 404
    assert httpx.post(f"{gateway.url}/lookup", json={}).status_code == 404
