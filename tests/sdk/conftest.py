"""One gateway for all real clients, and OpenAI's Python client on it and on the provider behind it."""

import openai
import pytest
from support.clients import LIMITED_TOKENS, PLENTY, document
from support.gateway import KEY, Gateway


def started(mock, tmp_path_factory, tokens_per_minute):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock, document=document(mock.url, tokens_per_minute))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def gateway(mock, tmp_path_factory):
    yield from started(mock, tmp_path_factory, PLENTY)


@pytest.fixture(scope="session")
def limited_gateway(mock, tmp_path_factory):
    """The same with few tokens per minute for each consumer."""
    yield from started(mock, tmp_path_factory, LIMITED_TOKENS)


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
