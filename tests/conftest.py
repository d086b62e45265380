"""Fixtures: one mock provider and one gateway for most tests, started once."""

import itertools
import time

import httpx
import pytest
from support import servers
from support.gateway import Gateway

_serial = itertools.count()

# Modules that measure time or load the machine. The others mostly wait, so several run at a time.
ALONE = {"test_calls", "test_kill", "test_limit_stores", "test_limits", "test_replicas", "test_scripts", "test_soak", "test_token_counting"}

# Modules that wait longest come first, so that in the end nobody waits for one of them alone.
LONG = ["test_failures", "test_limit_headers", "test_breakers", "test_cooling", "test_limit_parallel"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items:
        if item.path.stem in ALONE:
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def mock(tmp_path_factory):
    server = servers.start_mock(tmp_path_factory.mktemp("mock"))
    yield server
    server.stop()


@pytest.fixture(scope="module", autouse=True)
def short_log(mock):
    """Tests read all that the mock has recorded, often and some within a time: each module begins with nothing."""
    httpx.delete(f"{mock.url}/mock/log", timeout=60).raise_for_status()


@pytest.fixture(scope="session")
def gateway(mock, tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("gateway"), mock)
    yield running
    running.stop()


@pytest.fixture
def new_gateway(mock, tmp_path_factory):
    """Starts gateways of a test's own, with what it asks for."""
    started = []

    def start(**options):
        started.append(Gateway(tmp_path_factory.mktemp("gateway"), mock, **options))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def unique():
    """A text that no other test sends, so that no other test's cached answer or log entry is met."""
    return f"unique question {next(_serial)} of this run"


@pytest.fixture
def minute_ahead():
    """A limit is a sliding minute: begin with enough of it left that a test's requests share it."""
    if (second := time.time() % 60) > 35:
        time.sleep(60.5 - second)
