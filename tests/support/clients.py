"""What the real clients meet: a document of models that fail in every way, and consumers to be limited."""

import time

from .gateway import KEY, OTHER_KEY, digest

# For each test that uses up a limit a consumer of its own, and so a counter of its own.
LIMITED = ["python", "python-async", "node", "ai-sdk", "langchain"]
PLENTY = 1_000_000_000
LIMITED_TOKENS = 1_000

DOCUMENT = """
# Failures on purpose, one after another: a breaker would have tests fail each other. Those about breakers turn it on.
[defaults.breaker]
enabled = false

[[backends]]
id = "mock"
base_url = "{mock}/v1"
api_key = {{ secret = "mock" }}

[[models]]
name = "gpt-4o-mini"
[[models.deployments]]
backend = "mock"

[[models]]
name = "renamed"
[[models.deployments]]
backend = "mock"
model = "mock-renamed"

[[models]]
name = "failover"
[[models.deployments]]
backend = "mock"
model = "mock+status=500"
[[models.deployments]]
backend = "mock"
model = "mock"
priority = 1

[[models]]
name = "given-up"
[[models.deployments]]
backend = "mock"
model = "mock-a+status=500"
[[models.deployments]]
backend = "mock"
model = "mock-b+status=503"
priority = 1

[[models]]
name = "given-up-unreachable"
[[models.deployments]]
backend = "mock"
model = "mock-a+reset"
[[models.deployments]]
backend = "mock"
model = "mock-b+reset"
priority = 1

[[models]]
name = "impatient"
[models.timeouts]
first_byte_ms = 300
[[models.deployments]]
backend = "mock"
model = "mock+silence"

[[models]]
name = "impatient-stream"
[models.timeouts]
idle_ms = 300
[[models.deployments]]
backend = "mock"
model = "mock+stall=3"

[[models]]
name = "*"
[[models.deployments]]
backend = "mock"

[[consumers]]
id = "tester"
keys_sha256 = ["{key}"]

[[consumers]]
id = "other"
keys_sha256 = ["{other_key}"]
models = ["gpt-4o-mini"]

[[limits]]
name = "tokens"
counter_key = ["consumer"]
tokens_per_minute = {tokens_per_minute}
"""

LIMITED_CONSUMER = """
[[consumers]]
id = "limited-{name}"
keys_sha256 = ["{key}"]
"""


def limited_key(name):
    """The key of the consumer whose limit the tests of that name use up."""
    assert name in LIMITED, name
    return f"limited-key-{name}"


def document(mock_url, tokens_per_minute):
    text = DOCUMENT.format(
        mock=mock_url, key=digest(KEY), other_key=digest(OTHER_KEY), tokens_per_minute=tokens_per_minute
    )
    return text + "".join(LIMITED_CONSUMER.format(name=n, key=digest(limited_key(n))) for n in LIMITED)


def until(what, condition, within=60):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return value


def promptly(attempt, within=1, tries=4):
    """For what must not take longer, and what a pause of the machine may delay: `attempt(i)` sees to everything else each time
    and says how many seconds it took. Whatever waits for something else takes longer in every try."""
    took = []
    while len(took) < tries and min(took, default=within) >= within:
        took.append(attempt(len(took)))
    assert min(took) < within, f"seconds: {took}"


def ended(gateway, text):
    """How the provider's only answer to this text ended, once it has."""
    return until("the answer's end", lambda: gateway.received(text)[0]["ended"])
