"""One gateway for all real clients, and OpenAI's Python client on it and on the provider behind it."""

import time

import openai
import pytest
from support.gateway import KEY, OTHER_KEY, Gateway, digest

# For each test that uses up a limit a consumer of its own, and so a counter of its own.
LIMITED = ["python", "python-async", "node", "ai-sdk", "langchain"]
PLENTY = 1_000_000_000

DOCUMENT = """
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


def started(mock, tmp_path_factory, tokens_per_minute):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock.url, tokens_per_minute))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def gateway(mock, tmp_path_factory):
    yield from started(mock, tmp_path_factory, PLENTY)


@pytest.fixture(scope="session")
def limited_gateway(mock, tmp_path_factory):
    """The same with 1,000 tokens per minute for each consumer."""
    yield from started(mock, tmp_path_factory, 1_000)


@pytest.fixture
def new_client(gateway):
    """Makes clients of the gateway that do not retry, unless told otherwise."""
    made = []

    def make(**options):
        made.append(openai.OpenAI(**{"base_url": f"{gateway.url}/v1", "api_key": KEY, "max_retries": 0, **options}))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(new_client):
    return new_client()


@pytest.fixture
def provider(gateway, new_client):
    """A client of the provider itself, to compare with."""
    return new_client(base_url=f"{gateway.mock.url}/v1")


def until(what, condition, within=5):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)
    return value


def ended(gateway, text):
    """How the provider's only answer to this text ended, once it has."""
    return until("the answer's end", lambda: gateway.received(text)[0]["ended"])
