"""What counts against a deployment and what does not, and that a probe whose client leaves is left to the next."""

import time

import httpx
import pytest
from support.clients import until
from support.gateway import KEY, Gateway
from support.pools import asked, document, streamed

POOLS = """
[cache]
enabled = false

[[models]]
name = "left"
keepalive_ms = 100
breaker = { failures = 1, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-left+flaky=1+ttft=30s" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "probed-once"
strategy = "round_robin"
retries = { max_attempts = 1 }
breaker = { failures = 1, trip_duration_s = 1 }
deployments = [{ backend = "a", model = "mock-once+status=500" }, { backend = "b", model = "mock-else" }]

[[models]]
name = "stalls"
timeouts = { idle_ms = 1_500 }
breaker = { failures = 1, timeouts = false, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-stalls+stall=3" }]

[[models]]
name = "stalls-and-counts"
timeouts = { idle_ms = 1_500 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-stalls-2+stall=3" }, { backend = "b", model = "mock-else", priority = 1 }]

[[models]]
name = "takes-long"
timeouts = { total_ms = 2_000 }
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-takes-long+gap=50ms+tokens=200" }]

[[models]]
name = "too-large"
response_bytes = 2000
breaker = { failures = 1, trip_duration_s = 60 }
deployments = [{ backend = "a", model = "mock-large+text=5000" }, { backend = "b", model = "mock-large-2+text=5000", priority = 1 }]
"""


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


def test_a_probe_whose_client_leaves_is_left_to_the_next_request(gateway, unique):
    mine = {"x-mock-id": unique}
    assert gateway.chat("left", f"{unique} trips", headers=mine).headers["x-tollgate-attempts"] == "2"
    time.sleep(1.2)
    body = {"model": "left", "messages": [{"role": "user", "content": f"{unique} leaves"}], "stream": True}
    with httpx.Client(base_url=gateway.url, timeout=60, headers={"authorization": f"Bearer {KEY}", **mine}) as leaving:
        with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
            answer = response.iter_raw()
            assert next(answer).startswith(b":"), "promised, while the probe is under way"
            until("the probe is asked", lambda: asked(gateway, f"{unique} leaves") == ["mock-left+flaky=1+ttft=30s"])
            meanwhile = gateway.chat("left", f"{unique} meanwhile", headers=mine)
            assert meanwhile.headers["x-tollgate-deployment"] == "b/mock-else", "one at a time"
    until("the upstream is closed", lambda: [e for e in gateway.received(f"{unique} leaves") if e["ended"]])
    # Other instances have the probe for taken for a second; one that is not given back would be for minutes.
    after = lambda: gateway.chat("left", f"{unique} after", headers=mine).headers["x-tollgate-deployment"]  # noqa: E731
    until("the next request has it", lambda: after() == "a/mock-left+flaky=1+ttft=30s", within=30)
    assert gateway.chat("left", f"{unique} then", headers=mine).headers["x-tollgate-deployment"].startswith("a/"), "closed"


def test_a_probe_that_fails_costs_nobody_the_answer(gateway, unique):
    statuses = [gateway.chat("probed-once", f"{unique} {i}").status_code for i in range(3)]
    assert sorted(statuses)[:2] == [200, 200], "the first at the broken one fails, as it may be asked once only"
    probes = lambda: asked(gateway, unique).count("mock-once+status=500") - 1  # noqa: E731
    began, answers = time.monotonic(), []
    while probes() < 2:
        answers.append(gateway.chat("probed-once", f"{unique} again {len(answers)}"))
        assert answers[-1].status_code == 200 and time.monotonic() - began < 60
        time.sleep(0.1)
    at_ms = [entry["received_at_ms"] for entry in gateway.received(unique) if entry["body"]["model"] == "mock-once+status=500"]
    # By the provider's clock, so that a pause of the machine can only make them longer.
    assert min(then - before for before, then in zip(at_ms, at_ms[1:])) >= 1_000, "one at a time, as long as a trip apart"


def test_a_stall_is_a_timeout_by_the_settings(gateway, unique):
    for model, number in [("stalls", "first"), ("stalls", "second"), ("stalls-and-counts", "first")]:
        answer = streamed(gateway, model, f"{unique} {number}")
        assert answer.error["code"] == "upstream_timeout"
        gateway.record_of(answer.response)  # which comes after what it says of the deployment
    assert streamed(gateway, "stalls-and-counts", f"{unique} second").is_whole, "another one is asked"


def test_a_bound_of_ours_is_no_fault_of_the_deployments(gateway, unique):
    for i in range(2):
        answer = streamed(gateway, "takes-long", f"{unique} {i}")
        assert answer.error["code"] == "upstream_timeout"
        gateway.record_of(answer.response)
    assert len(gateway.received(unique)) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_large_is_not_asked_for_again_and_opens_nothing(gateway, unique, stream):
    for i in range(2):
        if stream:
            assert streamed(gateway, "too-large", f"{unique} {i}").error["code"] == "upstream_bad_reply"
        else:
            response = gateway.chat("too-large", f"{unique} {i}")
            assert (response.status_code, response.headers["x-tollgate-attempts"]) == (502, "1")
        assert asked(gateway, f"{unique} {i}") == ["mock-large+text=5000"]
