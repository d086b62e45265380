"""Money: the counter of a budget says what the records say, whatever way a request took, and is never overspent."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.clients import until
from support.gateway import KEY
from support.limits import used
from support.pools import asked, document, estimated, streamed

POOLS = """
[defaults.breaker]
enabled = false
[defaults.retries]
max_attempts = 2
backoff_ms = 1

[[models]]
name = "fast"
aliases = ["quick"]
deployments = [{ backend = "a", model = "mock-fast" }]

[[models]]
name = "auto"
deployments = [{ backend = "a", model = "mock-auto" }]

[[models]]
name = "big"
deployments = [{ backend = "b", model = "mock-big" }]

[[models]]
name = "continued"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-cut+cut=5+no-usage" }, { backend = "b", model = "mock-rest", priority = 1 }]

[[models]]
name = "cut-short"
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-short+cut=5" }, { backend = "b", model = "mock-down+status=503", priority = 1 }]

[[models]]
name = "tumbling"
deployments = [{ backend = "a", model = "mock-tumbling+status=503" }]
fallbacks = [{ to = "big", on = ["any"] }]

[[models]]
name = "thinking"
deployments = [{ backend = "a", model = "mock-thinking+cached=20+reasoning=16" }]

[[models]]
name = "free"
deployments = [{ backend = "a", model = "mock-free" }]

[[models]]
name = "held"
buffer = true
deployments = [{ backend = "a", model = "mock-held+error-in-stream=5" }, { backend = "c", model = "mock-held-too", priority = 1 }]

[[models]]
name = "long"
deployments = [{ backend = "a", model = "mock-long+gap=50ms+tokens=200" }]

[[models]]
name = "late"
keepalive_ms = 200
deployments = [{ backend = "a", model = "mock-late+slow=20s" }]

[[models]]
name = "later"
keepalive_ms = 200
mid_stream = "continue"
deployments = [{ backend = "a", model = "mock-later+cut=5+gap=20ms" }, { backend = "b", model = "mock-never+slow=20s", priority = 1 }]

[[routes]]
name = "up"
models = ["auto"]
to = "big"
"""

PRICES = {
    "fast": (1, 2),
    "auto": (3, 4),
    "big": (100, 200),
    "mock-cut+cut=5+no-usage": (5, 6),
    "mock-rest": (7, 8),
    "mock-short+cut=5": (9, 10),
    "mock-down+status=503": (900, 1000),
    "tumbling": (0.5, 0.5),
    "thinking": (11, 12),
    "free": (0, 0),
    "held": (13, 14),
    "long": (15, 16),
    "late": (17, 18),
    "mock-later+cut=5+gap=20ms": (19, 20),
    "mock-never+slow=20s": (21, 22),
}

LIMITS = """
[[limits]]
name = "budget"
counter_key = []
cost_quota_usd = 100
period = "year"

[[limits]]
name = "weighted"
counter_key = []
token_quota = 1_000_000
period = "year"
counts = { prompt_tokens = 1, cached_tokens = 0.1, completion_tokens = 2, reasoning_tokens = 3 }

[[limits]]
name = "of-big"
counter_key = ["model", "pool"]
match = { models = ["big"] }
request_quota = 1_000
period = "year"

[[limits]]
name = "of-auto"
counter_key = ["model", "pool"]
match = { models = ["auto"] }
request_quota = 1_000
period = "year"
"""


def priced(prices):
    table = '[pricing."{}"]\nprompt_usd_per_million = {}\ncached_usd_per_million = {}\ncompletion_usd_per_million = {}\n'
    return "".join(table.format(name, prompt, prompt / 10, completion) for name, (prompt, completion) in prices.items())


@pytest.fixture
def gateway(new_gateway, mock):
    return new_gateway(document=document(mock, POOLS + LIMITS + priced(PRICES)))


def settled(gateway, responses):
    """The records of these requests, once the budget's counter says what they cost together."""
    records = [gateway.record_of(response) for response in responses]
    costs = [record["cost_nano_usd"] for record in records]
    assert None not in costs, records
    until(
        f"the counter is {sum(costs)}, what {[(r['model'], r['cost_nano_usd']) for r in records]} cost together",
        lambda: used(gateway, "budget") == sum(costs),
    )
    return records


def cost(name, prompt_tokens, completion_tokens, cached_tokens=0):
    prompt, completion = (int(usd * 1000) for usd in PRICES[name])
    return (prompt_tokens - cached_tokens) * prompt + cached_tokens * prompt // 10 + completion_tokens * completion


def leave_after(gateway, model, text, is_enough):
    """The response to a stream whose client leaves once it has read enough."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    with httpx.Client(base_url=gateway.url, timeout=60, headers={"authorization": f"Bearer {KEY}"}) as leaving:
        with leaving.stream("POST", "/v1/chat/completions", json=body) as response:
            seen = ""
            for part in response.iter_text():
                seen += part
                if is_enough(seen):
                    break
    return response


def test_an_alias_costs_what_its_model_costs(gateway, unique):
    [record] = settled(gateway, [gateway.chat("quick", unique)])
    assert record["model"] == "quick" and record["pool"] == "fast"
    assert record["cost_nano_usd"] == cost("fast", record["prompt_tokens"], record["completion_tokens"])


def test_a_route_counts_for_the_model_asked_for_and_for_the_one_that_serves(gateway, unique):
    [record] = settled(gateway, [gateway.chat("auto", unique)])
    assert (record["model"], record["pool"]) == ("auto", "big")
    assert record["cost_nano_usd"] == cost("big", record["prompt_tokens"], record["completion_tokens"])
    assert [used(gateway, f"{limit}:auto+big") for limit in ("of-auto", "of-big")] == [1, 1]
    settled_directly = gateway.chat("big", unique + " directly")
    gateway.record_of(settled_directly)
    assert [used(gateway, f"{limit}:big+big") for limit in ("of-auto", "of-big")] == [0, 1]


def test_answers_of_a_routes_target_are_not_the_models_own(gateway, unique):
    """The cache goes by the model that serves: a route may lead the next request elsewhere."""
    first = gateway.chat("auto", unique)
    gateway.record_of(first)
    until("it is cached", lambda: gateway.chat("auto", unique).headers["x-tollgate-cache"] == "exact")
    assert gateway.chat("big", unique).json()["model"] != "mock-auto"


def test_each_part_of_an_answer_is_paid_where_it_was_made(gateway, unique):
    answer = streamed(gateway, "continued", unique)
    assert answer.is_whole
    [record] = settled(gateway, [answer.response])
    [part] = record["retried_usage"]
    assert (part["deployment"], part["pool"], record["deployment"]) == (
        "a/mock-cut+cut=5+no-usage",
        "continued",
        "b/mock-rest",
    )
    assert part["prompt_tokens"] > 0 and part["completion_tokens"] == estimated(answer.text[:20])
    assert record["cost_nano_usd"] == cost(
        "mock-cut+cut=5+no-usage", part["prompt_tokens"], part["completion_tokens"]
    ) + cost("mock-rest", record["prompt_tokens"], record["completion_tokens"])


def test_an_answer_that_nobody_goes_on_with_is_paid_where_it_was_made(gateway, unique):
    answer = streamed(gateway, "cut-short", unique)
    assert answer.error
    [record] = settled(gateway, [answer.response])
    assert (record["deployment"], record["attempts"]) == ("a/mock-short+cut=5", 3)
    assert record["completion_tokens"] == estimated(answer.text)
    assert record["cost_nano_usd"] == cost("mock-short+cut=5", record["prompt_tokens"], record["completion_tokens"])


def test_a_fallback_costs_what_it_costs_there(gateway, unique):
    [record] = settled(gateway, [gateway.chat("tumbling", unique)])
    assert (record["model"], record["pool"]) == ("tumbling", "big")
    assert record["cost_nano_usd"] == cost("big", record["prompt_tokens"], record["completion_tokens"])


def test_cached_and_reasoning_tokens_have_their_own_weights_and_prices(gateway, unique):
    text = unique + " and a long prompt, of which a part was cached by the provider" * 4
    [record] = settled(gateway, [gateway.chat("thinking", text)])
    prompt, completion = record["prompt_tokens"], record["completion_tokens"]
    assert (record["cached_tokens"], record["reasoning_tokens"]) == (20, 16)
    assert record["cost_nano_usd"] == cost("thinking", prompt, completion, cached_tokens=20)
    assert used(gateway, "weighted") == prompt - 20 + 2 + (completion - 16) * 2 + 16 * 3


def test_what_is_free_costs_nothing_which_is_a_price(gateway, unique):
    [record] = settled(gateway, [gateway.chat("free", unique)])
    assert record["cost_nano_usd"] == 0 and record["completion_tokens"] > 0
    sums = gateway.admin.get("/admin/usage", params={"group_by": ""}).json()["rows"][0]
    assert (sums["requests"], sums["cost_nano_usd"], sums["unpriced"]) == (1, 0, 0)
    assert asked(gateway, unique) == ["mock-free"] and used(gateway, "budget") == 0


def test_over_every_way_that_a_request_can_take_counter_and_records_agree(gateway, unique):
    responses = [gateway.chat(model, f"{unique} {model}") for model in ("quick", "auto", "tumbling", "thinking", "big")]
    responses += [
        streamed(gateway, model, f"{unique} {model}").response for model in ("continued", "cut-short", "held", "fast")
    ]
    settled(gateway, responses)

    def is_cached():
        responses.append(gateway.chat("quick", f"{unique} quick"))
        return responses[-1].headers["x-tollgate-cache"] == "exact"

    until("it is cached", is_cached)
    assert gateway.record_of(responses[-1])["cache"] == "exact"
    responses.append(leave_after(gateway, "long", f"{unique} long", lambda seen: seen.count("data:") > 5))
    records = settled(gateway, responses)
    assert [record["outcome"] for record in records[-2:]] == ["completed", "client_gone"]
    sums = gateway.admin.get("/admin/usage", params={"group_by": ""}).json()["rows"][0]
    assert sums["unpriced"] == 0 and sums["cost_nano_usd"] == used(gateway, "budget")


def test_who_leaves_while_somebody_is_asked_pays_for_the_prompt(gateway, unique):
    response = leave_after(gateway, "late", unique, lambda _: asked(gateway, unique))
    [record] = settled(gateway, [response])
    assert (record["outcome"], record["deployment"], record["pool"]) == ("client_gone", "a/mock-late+slow=20s", "late")
    assert record["estimated"] and record["attempts"] == 1
    assert record["prompt_tokens"] > 5 and record["completion_tokens"] == 0
    assert record["cost_nano_usd"] == cost("late", record["prompt_tokens"], 0)


def test_who_leaves_while_somebody_is_asked_to_go_on_pays_for_both(gateway, unique):
    response = leave_after(gateway, "later", unique, lambda _: "mock-never+slow=20s" in asked(gateway, unique))
    [record] = settled(gateway, [response])
    [going_on] = record["retried_usage"]
    assert (record["outcome"], record["deployment"]) == ("client_gone", "a/mock-later+cut=5+gap=20ms")
    assert (going_on["deployment"], going_on["completion_tokens"]) == ("b/mock-never+slow=20s", 0)
    assert going_on["prompt_tokens"] > 5 and record["completion_tokens"] > 0


def test_a_budget_is_not_overspent_by_fallbacks_to_what_is_dearer(new_gateway, mock, unique):
    pools = """
[cache]
enabled = false
[defaults.breaker]
enabled = false
[defaults.retries]
max_attempts = 1
[[models]]
name = "cheap"
deployments = [{ backend = "a", model = "mock-cheap+status=503" }]
fallbacks = [{ to = "middling", on = ["any"] }]
[[models]]
name = "middling"
deployments = [{ backend = "a", model = "mock-middling+status=503" }]
fallbacks = [{ to = "dear", on = ["any"] }]
[[models]]
name = "dear"
deployments = [{ backend = "b", model = "mock-dear+tokens=45+slow=1s" }]
[[limits]]
name = "budget"
counter_key = []
cost_quota_usd = 0.1
period = "year"
"""
    prices = {"cheap": (1, 1), "middling": (2, 2), "dear": (100, 200)}
    gateway = new_gateway(document=document(mock, pools + priced(prices)))
    quota = 100_000_000  # nano-dollars: about nine requests of 50 tokens at 200,000 and a prompt at 100,000 each

    def ask(i):
        with httpx.Client(base_url=gateway.url, timeout=120, headers={"authorization": f"Bearer {KEY}"}) as client:
            body = {"model": "cheap", "messages": [{"role": "user", "content": f"{unique} {i}"}], "max_tokens": 50}
            return client.post("/v1/chat/completions", json=body)

    with ThreadPoolExecutor(40) as together:
        responses = list(together.map(ask, range(40)))
    answered = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code == 429]
    assert len(answered) + len(refused) == 40 and 5 <= len(answered) <= 10, [r.status_code for r in responses]
    assert {response.json()["error"]["code"] for response in refused} == {"insufficient_quota"}
    attempts = Counter(asked(gateway, unique))
    came = ["mock-cheap+status=503", "mock-middling+status=503", "mock-dear+tokens=45+slow=1s"]
    assert attempts == {model: len(answered) for model in came}, "who was refused was asked of nobody"
    settled(gateway, answered)
    assert quota * 0.5 < used(gateway, "budget") <= quota
    time.sleep(0.5)
    assert used(gateway, "budget") <= quota, "nothing is added later"
