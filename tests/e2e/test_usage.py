"""The books: one true record per request, and sums over them."""

import json
import time

import httpx
from support.gateway import KEY


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
        "cache": "miss",
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "estimated": False,
        "cost_nano_usd": usage["prompt_tokens"] * 1_000 + usage["completion_tokens"] * 2_000,
    }
    assert {name: record[name] for name in expected} == expected
    assert record["latency_ms"] < 5_000 and record["ttft_ms"] <= record["latency_ms"]


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
