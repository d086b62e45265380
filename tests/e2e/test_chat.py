"""Whole answers, from the client's side and from the provider's."""

import json

import httpx
import pytest
from support.gateway import KEY, PROVIDER_KEY


def test_an_answer_goes_out_in_one_piece_with_its_length(gateway, unique):
    response = gateway.chat(text=unique)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    assert "transfer-encoding" not in response.headers
    assert response.headers["x-tollgate-attempts"] == "1"
    assert response.headers["x-tollgate-deployment"] == "mock/*"
    assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_the_answer_is_the_providers_own_byte_for_byte(gateway, unique):
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": unique}]}).encode()
    direct = httpx.post(f"{gateway.mock.url}/v1/chat/completions", content=body, timeout=60)
    through = gateway.http.post("/v1/chat/completions", content=body)
    assert through.content == direct.content


def test_the_provider_gets_the_clients_bytes_but_for_the_model_name(gateway, unique):
    body = (
        '{ "messages" : [{"role":"user","content":"%s","x":1.50}],\n "model":"gpt-4o-mini", "unknown_field": '
        '{"deep":[1,2.0,null,"\\u00e9"]}, "temperature": 0.70 }' % unique
    )
    assert gateway.http.post("/v1/chat/completions", content=body).status_code == 200
    (received,) = gateway.received(unique)
    assert received["body"] == json.loads(body.replace("gpt-4o-mini", "gpt-4o-mini-2024-07-18"))
    assert int(received["headers"]["content-length"]) == len(body) + len("-2024-07-18")


@pytest.mark.parametrize("stream", [False, True])
def test_a_zero_arrives_as_a_zero(gateway, unique, stream):
    zeros = {"temperature": 0, "top_p": 0, "seed": 0, "presence_penalty": 0}
    assert gateway.chat("gpt-4o-mini", unique, stream=stream, **zeros).status_code == 200
    [received] = gateway.received(unique)
    assert {name: received["body"].get(name) for name in zeros} == zeros
    assert {type(received["body"][name]) for name in zeros} == {int}, "neither left out nor written otherwise"


@pytest.mark.parametrize(("path", "field"), [("/v1/responses", "input"), ("/v1/completions", "prompt"), ("/v1/embeddings", "input")])
def test_a_path_that_is_not_there_reaches_nobody(gateway, unique, path, field):
    response = gateway.http.post(path, json={"model": "mock", field: unique, "max_tokens": 5})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert path in response.json()["error"]["message"]
    assert not [name for name in response.headers if name.startswith("x-ratelimit-")], "no limit is asked for it"
    assert gateway.received(unique) == []
    log = httpx.get(f"{gateway.mock.url}/mock/log", timeout=60).json()
    assert path not in {entry["path"] for entry in log}


def test_of_the_clients_headers_only_its_own_go_upstream(gateway, unique):
    headers = {
        "x-custom": "kept",
        "x-tollgate-consumer": "forged",
        "spin-client-addr": "1.2.3.4:5",
        "x-api-key": KEY,
        "accept-encoding": "gzip",
        "keep-alive": "timeout=5",
        "cookie": "session=1",
        "x-forwarded-access-token": "somebody's",
        "x-auth-request-email": "somebody@example.com",
    }
    assert gateway.chat(text=unique, headers=headers).status_code == 200
    (received,) = gateway.received(unique)
    sent = received["headers"]
    assert sent["x-custom"] == "kept"
    assert sent["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert not (set(headers) - {"x-custom"}) & set(sent)
    assert not [name for name in sent if name.startswith(("x-tollgate-", "spin-"))]
    assert KEY not in json.dumps(received)


def test_the_request_id_comes_back_and_is_recorded(gateway, unique):
    response = gateway.chat(text=unique, headers={"x-request-id": "my-id-1"})
    assert response.headers["x-request-id"] == "my-id-1"
    assert gateway.record("my-id-1")["model"] == "mock"


def test_the_providers_error_is_passed_on_intact(gateway, unique):
    response = gateway.chat("mock+status=422+code=some_code", unique)
    direct = httpx.post(
        f"{gateway.mock.url}/v1/chat/completions",
        json={"model": "mock+status=422+code=some_code", "messages": [{"role": "user", "content": unique}]},
        timeout=60,
    )
    assert (response.status_code, response.content) == (422, direct.content)
    assert "x-should-retry" not in response.headers
    record = gateway.record_of(response)
    assert (record["outcome"], record["status"], record["prompt_tokens"]) == ("upstream_error", 422, 0)


def test_a_providers_retry_after_reaches_the_client(gateway, unique):
    response = gateway.chat("mock+status=429+retry-after=7", unique)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


def test_a_refused_credential_of_ours_is_not_told_as_the_clients(gateway, unique):
    response = gateway.chat("mock+status=401", unique)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_credential_refused")


def test_a_body_larger_than_a_frame_passes_both_ways(gateway, unique):
    text = unique + " " + "word " * 100_000
    response = gateway.chat("mock+text=300000", text)
    assert response.status_code == 200
    assert len(response.json()["choices"][0]["message"]["content"].encode()) == 300_000
    (received,) = gateway.received(unique)
    assert received["body"]["messages"][0]["content"] == text


def test_an_answer_without_a_declared_length_gets_one(gateway, unique):
    response = gateway.chat("mock+chunked", unique)
    assert int(response.headers["content-length"]) == len(response.content)


def test_a_malformed_upstream_answer_is_a_bad_gateway(gateway, unique):
    for model in ("mock+not-json", "mock+truncated-json", "mock+reset"):
        response = gateway.chat(model, f"{unique} {model}")
        assert response.status_code == 502, f"{model}: {response.text}"
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"].startswith("upstream_")
        record = gateway.record_of(response)
        assert (record["outcome"], record["error_code"]) == ("upstream_failed", error["code"])


def test_a_silent_provider_is_a_timeout_not_a_wait(gateway, unique):
    response = gateway.chat("impatient", unique)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    assert response.elapsed.total_seconds() < 30


def test_the_next_deployment_answers_when_one_is_down(gateway, unique):
    response = gateway.chat("failover", unique)
    assert response.status_code == 200, response.text
    assert response.headers["x-tollgate-attempts"] == "3"
    assert response.headers["x-tollgate-deployment"] == "mock/mock"
    record = gateway.record_of(response)
    assert (record["deployment"], record["attempts"], record["outcome"]) == ("mock/mock", 3, "completed")
    assert [r["body"]["model"] for r in gateway.received(unique)] == ["mock+status=503", "mock"]


def test_models_are_listed(gateway):
    listed = [model["id"] for model in gateway.http.get("/v1/models").json()["data"]]
    assert listed[:2] == ["gpt-4o-mini", "failover"] and "quiet" in listed and "*" not in listed
