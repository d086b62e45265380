"""Answers that begin late, break off and are gone on with: what the client reads, and what each deployment was asked."""

import time

import httpx
import pytest
from support.clients import ended, promptly, until
from support.gateway import KEY, Gateway
from support.pools import asked, beginning, document, estimated, streamed, told

POOLS = """
[defaults.breaker]
enabled = false

[[models]]
name = "restarted"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1 }]

[[models]]
name = "emoji"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+text=emoji+split=3+cut=5" }, { backend = "b", model = "mock-b+tokens=20+text=emoji+split=3", priority = 1 }]

[[models]]
name = "three-parts"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20+cut=10", priority = 1 }, { backend = "c", model = "mock-c+tokens=20", priority = 2 }]

[[models]]
name = "disagreeing"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=8" }, { backend = "b", model = "mock-b+tokens=20+differs=3", priority = 1 }]

[[models]]
name = "nobody-else"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }]

[[models]]
name = "in-vain"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+status=503", priority = 1 }]

[[models]]
name = "stalled/timeout"
mid_stream = "continue"
timeouts = { idle_ms = 300 }
deployments = [{ backend = "a", model = "mock-a+tokens=20+stall=5" }]
fallbacks = [{ to = "twenty", on = ["timeout"] }]

[[models]]
name = "stalled/server"
mid_stream = "continue"
timeouts = { idle_ms = 300 }
deployments = [{ backend = "a", model = "mock-a+tokens=20+stall=5" }]
fallbacks = [{ to = "twenty", on = ["server"] }]

[[models]]
name = "cut/server"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }]
fallbacks = [{ to = "twenty", on = ["server"] }]

[[models]]
name = "twenty"
deployments = [{ backend = "b", model = "mock-b+tokens=20" }]

[[models]]
name = "given-up-on"
mid_stream = "error"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1 }]

[[models]]
name = "last_message"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20+prefill", priority = 1, prefill = "last_message" }]

[[models]]
name = "marked_message"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1, prefill = "marked_message" }]

[[models]]
name = "echoing"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20+prefill=echo+split=5", priority = 1, prefill = "marked_message" }]

[[models]]
name = "continue_final_message"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1, prefill = "continue_final_message" }]

[[models]]
name = "stalled"
mid_stream = "continue"
# As long for whoever goes on.
timeouts = { idle_ms = 1_500 }
deployments = [{ backend = "a", model = "mock-a+tokens=20+stall=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1 }]

[[models]]
name = "late"
keepalive_ms = 300
deployments = [{ backend = "a", model = "mock-a+slow=2s+tokens=6" }]

[[models]]
name = "late-failover"
keepalive_ms = 300
deployments = [{ backend = "a", model = "mock-a+slow=2s+status=503" }, { backend = "b", model = "mock-b+tokens=6", priority = 1 }]

[[models]]
name = "late-refusal"
keepalive_ms = 300
retries = { max_attempts = 2 }
deployments = [{ backend = "a", model = "mock-a+slow=2s+status=503" }, { backend = "b", model = "mock-b+status=500+code=overloaded", priority = 1 }]

[[models]]
name = "never"
keepalive_ms = 200
timeouts = { first_byte_ms = 3_000 }
deployments = [{ backend = "a", model = "mock-a+silence" }]

[[models]]
name = "prompt"
keepalive_ms = 20_000
deployments = [{ backend = "a", model = "mock-a+status=503" }, { backend = "b", model = "mock-b+status=500", priority = 1 }]

[[models]]
name = "held"
buffer = true
deployments = [{ backend = "a", model = "mock-a+tokens=20+error-in-stream=5" }, { backend = "b", model = "mock-b+tokens=20", priority = 1 }]

[[models]]
name = "short-of-time"
timeouts = { total_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+gap=100ms+tokens=200" }]

[[models]]
name = "short-of-time-whole"
timeouts = { total_ms = 800 }
deployments = [{ backend = "a", model = "mock-a+silence" }, { backend = "b", model = "mock-b+silence", priority = 1 }]

[[models]]
name = "held-and-slow"
buffer = true
keepalive_ms = 200
deployments = [{ backend = "a", model = "mock-a+gap=10ms+tokens=60+cut=40" }, { backend = "b", model = "mock-b+gap=50ms+tokens=600", priority = 1 }]

[[models]]
name = "slowly-gone-on-with"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-a+tokens=20+cut=5" }, { backend = "b", model = "mock-b+slow=20s", priority = 1 }]

[[models]]
name = "too-long-held"
buffer = true
keepalive_ms = 200
timeouts = { total_ms = 2_000 }
deployments = [{ backend = "a", model = "mock-a+gap=50ms+tokens=600" }]

[[models]]
name = "quiet-at-first"
deployments = [{ backend = "a", model = "mock-a+ttft=30s" }]
keepalive_ms = 100
"""


@pytest.fixture(scope="module")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock, POOLS))
    yield running
    running.stop()


# Going on with an answer repeats nothing and leaves nothing out.


@pytest.mark.parametrize(
    ("model", "plain"), [("restarted", "mock+tokens=20"), ("emoji", "mock+tokens=20+text=emoji"), ("stalled", "mock+tokens=20")]
)
def test_an_answer_that_breaks_off_is_begun_again_elsewhere_and_cut_where_they_agree(gateway, unique, model, plain):
    answer = streamed(gateway, model, unique)
    assert answer.is_whole and answer.text == told(gateway, plain, unique)
    assert ended(gateway, unique) == ("client_gone" if model == "stalled" else "cut_by_mock")
    first, second = gateway.received(unique)[:2]
    assert first["body"]["model"].startswith("mock-a") and second["body"]["model"].startswith("mock-b")
    assert first["body"]["messages"] == second["body"]["messages"], "the same question again"
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["attempts"], record["completion_tokens"]) == ("completed", 2, 20)
    assert record["deployment"] == f"b/{second['body']['model']}"
    assert [used["deployment"] for used in record["retried_usage"]] == [f"a/{first['body']['model']}"]
    [part] = record["retried_usage"]
    assert part["completion_tokens"] == estimated(beginning(answer.text, 5)) and part["prompt_tokens"] > 0


@pytest.mark.parametrize("style", ["last_message", "marked_message", "continue_final_message"])
def test_a_deployment_that_can_be_told_where_its_answer_begins_goes_on_from_there(gateway, unique, style):
    answer = streamed(gateway, style, unique)
    whole = told(gateway, "mock+tokens=20", unique)
    assert answer.is_whole and answer.text == whole
    second = gateway.received(unique)[1]["body"]
    begun = second["messages"][-1]
    assert (begun["role"], begun["content"]) == ("assistant", whole[:20]), "five tokens of four bytes"
    assert begun.get("prefix") == (True if style == "marked_message" else None)
    assert second.get("continue_final_message") == (True if style == "continue_final_message" else None)
    record = gateway.record_of(answer.response)
    assert (record["attempts"], record["completion_tokens"]) == (2, 15)
    assert [used["completion_tokens"] for used in record["retried_usage"]] == [estimated(whole[:20])]


def test_a_prefix_that_is_said_again_is_cut_off(gateway, unique):
    answer = streamed(gateway, "echoing", unique)
    whole = told(gateway, "mock+tokens=20", unique)
    assert answer.is_whole and answer.text == whole
    begun = gateway.received(unique)[1]["body"]["messages"][-1]
    assert begun == {"role": "assistant", "content": whole[:20], "prefix": True}
    assert gateway.record_of(answer.response)["completion_tokens"] == 20, "as it is billed"


@pytest.mark.parametrize(("model", "bound"), [("last_message", 7), ("restarted", 12)])
def test_an_answer_that_is_gone_on_with_keeps_to_the_clients_bound(gateway, unique, model, bound):
    answer = streamed(gateway, model, unique, max_tokens=12)
    assert answer.is_whole and answer.text == told(gateway, "mock+tokens=20", unique, max_tokens=12)
    assert [entry["body"]["max_tokens"] for entry in gateway.received(unique)[:2]] == [12, bound], "five were said"


def test_an_answer_may_break_off_more_than_once(gateway, unique):
    answer = streamed(gateway, "three-parts", unique)
    assert answer.is_whole and answer.text == told(gateway, "mock+tokens=20", unique)
    assert [entry["ended"] for entry in gateway.received(unique)[:3]] == ["cut_by_mock", "cut_by_mock", "completed"]
    record = gateway.record_of(answer.response)
    assert (record["deployment"], record["attempts"]) == ("c/mock-c+tokens=20", 3)
    parts = [("a", estimated(answer.text[:20])), ("b", estimated(answer.text[:40]))]
    assert [(u["deployment"][0], u["completion_tokens"]) for u in record["retried_usage"]] == parts


def test_another_answer_than_the_one_begun_is_not_sewn_on(gateway, unique):
    answer = streamed(gateway, "disagreeing", unique)
    whole = told(gateway, "mock+tokens=20", unique)
    assert answer.error and not answer.is_whole
    assert answer.text and whole.startswith(answer.text), "nothing of the other text"
    assert asked(gateway, unique)[:2] == ["mock-a+tokens=20+cut=8", "mock-b+tokens=20+differs=3"]
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["attempts"], len(record["retried_usage"])) == ("upstream_failed", 2, 1)


# What nobody goes on with ends with an error.


@pytest.mark.parametrize("model", ["nobody-else", "given-up-on"])
def test_an_answer_that_nobody_goes_on_with_ends_with_an_error(gateway, unique, model):
    answer = streamed(gateway, model, unique)
    assert answer.error["code"] == "upstream_failed" and not answer.is_whole
    assert answer.lines[-1][0] < 5, "at once: nobody is waited for"
    assert asked(gateway, unique) == ["mock-a+tokens=20+cut=5"], "and asked once"
    assert answer.text == told(gateway, "mock+tokens=20", unique)[:20]
    assert gateway.record_of(answer.response)["outcome"] == "upstream_failed"


def test_whoever_was_asked_in_vain_to_go_on_is_not_who_answered(gateway, unique):
    answer = streamed(gateway, "in-vain", unique)
    assert answer.error["code"] == "upstream_failed" and answer.text == told(gateway, "mock+tokens=20", unique)[:20]
    assert asked(gateway, unique)[:4] == ["mock-a+tokens=20+cut=5"] + ["mock-b+status=503"] * 3
    record = gateway.record_of(answer.response)
    assert record["deployment"] == answer.response.headers["x-tollgate-deployment"] == "a/mock-a+tokens=20+cut=5"
    assert (record["pool"], record["attempts"], record["completion_tokens"]) == ("in-vain", 4, estimated(answer.text))
    assert not record.get("retried_usage")


@pytest.mark.parametrize(("model", "cause"), [("stalled/timeout", "timeout"), ("cut/server", "server"), ("stalled/server", None)])
def test_a_fallback_goes_on_upon_the_class_that_it_names_and_no_other(gateway, unique, model, cause):
    answer = streamed(gateway, model, unique)
    record = gateway.record_of(answer.response)
    if cause:
        assert answer.is_whole and answer.text == told(gateway, "mock+tokens=20", unique)
        assert (record["pool"], record["deployment"]) == ("twenty", "b/mock-b+tokens=20")
        assert ";deployment=b/mock-b+tokens=20;" in record["route"] and f";fallback={model}:{cause}" in record["route"]
    else:
        assert answer.error["code"] == "upstream_timeout" and record["deployment"] == "a/mock-a+tokens=20+stall=5"


# A client that waits is told that somebody is there.


@pytest.mark.parametrize(("model", "deployment"), [("late", "a/mock-a+slow=2s+tokens=6"), ("late-failover", "b/mock-b+tokens=6")])
def test_a_stream_that_is_late_begins_with_a_comment_and_then_answers(gateway, unique, model, deployment):
    answer = streamed(gateway, model, unique)
    assert answer.response.status_code == 200 and answer.response.headers["content-type"] == "text/event-stream"
    assert answer.lines[0][1].startswith(":") and 0.25 < answer.first(":") < answer.first("data:") > 1.9
    assert answer.is_whole and answer.text == told(gateway, "mock+tokens=6", unique)
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["deployment"], record["completion_tokens"]) == ("completed", deployment, 6)
    assert len(asked(gateway, unique)) - 1 == record["attempts"] == (2 if model == "late-failover" else 1)


def test_a_stream_that_was_promised_and_that_nobody_gives_ends_with_the_providers_error(gateway, unique):
    answer = streamed(gateway, "late-refusal", unique)
    assert answer.response.status_code == 200 and 0.25 < answer.first(":") < answer.first("data:") > 1.9
    assert answer.error and answer.error["code"] == "overloaded" and answer.text == ""
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["attempts"]) == ("upstream_error", len(asked(gateway, unique)))


def test_a_promise_to_a_silent_provider_ends_at_its_timeout(gateway, unique):
    answer = streamed(gateway, "never", unique)
    assert answer.error["code"] == "upstream_timeout" and 2.9 < answer.first("data:") < 20
    assert len([line for _, line in answer.lines if line.startswith(":")]) >= 2
    assert ended(gateway, unique) == "client_gone" and len(asked(gateway, unique)) == 1
    assert gateway.record_of(answer.response)["error_code"] == "upstream_timeout"


def test_whoever_fails_before_anything_was_promised_leaves_an_honest_status(gateway, unique):
    response, _ = gateway.stream("prompt", unique)
    assert (response.status_code, response.headers["x-should-retry"]) == (503, "false"), "the last one's"
    assert asked(gateway, unique) == ["mock-a+status=503", "mock-b+status=500", "mock-a+status=503"]


# An error inside a stream of 200, before the client has got any of it.


def test_a_stream_that_is_held_hides_an_error_in_its_middle(gateway, unique):
    answer = streamed(gateway, "held", unique)
    assert answer.is_whole and answer.text == told(gateway, "mock+tokens=20", unique)
    assert asked(gateway, unique)[:2] == ["mock-a+tokens=20+error-in-stream=5", "mock-b+tokens=20"]
    record = gateway.record_of(answer.response)
    begun = estimated(answer.text[:20])
    assert record["attempts"] == 2 and [u["completion_tokens"] for u in record["retried_usage"]] == [begun]


# Traps 21 and 31: a bound on all of it, retries included.


def test_a_stream_ends_at_its_total_time(gateway, unique):
    answer = streamed(gateway, "short-of-time", unique)
    assert answer.error["code"] == "upstream_timeout" and 1.9 < answer.lines[-1][0] < 15
    entry = until("the upstream is closed", lambda: [e for e in gateway.received(unique) if e["ended"]])[0]
    assert entry["ended"] == "client_gone" and entry["chunks"] < 150


def test_a_whole_answer_is_waited_for_no_longer_than_the_total_time(gateway, unique):
    started = time.monotonic()
    response = gateway.chat("short-of-time-whole", unique)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    assert 0.7 < time.monotonic() - started < 15
    assert response.headers["x-tollgate-attempts"] == "1" and len(asked(gateway, unique)) <= 1, "no time was left for another"


# A client that leaves before the first token.


def leave_the_second(gateway, model, text, seconds):
    """Begins to read a stream, and hangs up so long after a second deployment was asked."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as leaving:
        with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
            answer = response.iter_raw()  # kept: dropping it closes the connection
            received = next(answer)
            until("a second one is asked", lambda: len(asked(gateway, text)) == 2)
            time.sleep(seconds)
    return response, received


def test_what_was_held_for_a_client_that_leaves_is_paid_for_where_it_was_made(gateway, unique):
    response, received = leave_the_second(gateway, "held-and-slow", unique, 1)
    assert received.startswith(b":")
    record = gateway.record_of(response)
    assert (record["outcome"], record["attempts"]) == ("client_gone", 2)
    assert record["deployment"] == "b/mock-b+gap=50ms+tokens=600" and record["pool"] == "held-and-slow"
    assert 0 < record["completion_tokens"] < 400 and record["estimated"]
    (wasted,) = record["retried_usage"]
    assert wasted["deployment"][0] == "a"
    assert "skipped=a/mock-a+gap=10ms+tokens=60+cut=40:failed" in record["route"]
    ended = until("all is closed", lambda: [e["ended"] for e in gateway.received(unique) if e["ended"]][1:])
    assert ended == ["client_gone"]
    assert wasted["completion_tokens"] == estimated(beginning(told(gateway, "mock+tokens=60", unique), 40))


def test_what_was_said_before_nobody_had_gone_on_yet_is_paid_for_where_it_was_said(gateway, unique):
    response, received = leave_the_second(gateway, "slowly-gone-on-with", unique, 0.1)
    assert b'"content"' in received
    record = gateway.record_of(response)
    assert (record["outcome"], record["deployment"]) == ("client_gone", "a/mock-a+tokens=20+cut=5")
    assert record["attempts"] == 2
    (going_on,) = record["retried_usage"]
    assert going_on["prompt_tokens"] > 0 and going_on["completion_tokens"] == 0, "whoever was asked to go on has got the prompt"
    until("all is closed", lambda: [e["ended"] for e in gateway.received(unique)] == ["cut_by_mock", "client_gone"])
    assert record["completion_tokens"] == estimated(beginning(told(gateway, "mock+tokens=20", unique), 5))


def test_what_was_held_until_the_total_time_is_paid_for(gateway, unique):
    answer = streamed(gateway, "too-long-held", unique)
    assert answer.error["code"] == "upstream_timeout" and 1.9 < answer.lines[-1][0] < 15
    record = gateway.record_of(answer.response)
    assert (record["outcome"], record["deployment"]) == ("upstream_failed", "a/mock-a+gap=50ms+tokens=600")
    spent = record["completion_tokens"] + sum(u["completion_tokens"] for u in record.get("retried_usage") or [])
    assert 0 < spent < 400


def test_a_client_that_leaves_a_promised_stream_stops_the_provider(gateway, unique):
    def stopped_after(i):
        text = f"{unique} {i}"
        body = {"model": "quiet-at-first", "messages": [{"role": "user", "content": text}], "stream": True}
        with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as leaving:
            with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
                answer = response.iter_raw()
                assert next(answer).startswith(b":")
                assert gateway.received(text)[0]["ended"] is None
                left = time.time()
        assert ended(gateway, text) == "client_gone"
        record = gateway.record_of(response)
        assert (record["outcome"], record["attempts"], record["estimated"]) == ("client_gone", 1, True)
        assert record["prompt_tokens"] > 5 and record["completion_tokens"] == 0, "it has got the prompt"
        return gateway.received(text)[0]["ended_at_ms"] / 1000 - left

    promptly(stopped_after)
