"""Gateways that limit what a test says, and how their counters stand."""

from .gateway import KEY, digest

DOCUMENT = """
[[backends]]
id = "mock"
base_url = "{mock}/v1"
api_key = {{ secret = "mock" }}

[[models]]
name = "*"
deployments = [{{ backend = "mock" }}]

[[consumers]]
id = "tester"
team = "tests"
keys_sha256 = ["{key}"]
"""


def document(mock, limits):
    return DOCUMENT.format(mock=mock.url, key=digest(KEY)) + limits


def used(gateway, counter):
    """What a counter says is used: of a limit with several amounts, of the first."""
    answer = gateway.admin.get(f"/admin/limits/{counter}")
    assert answer.status_code == 200, answer.text
    return answer.json()["amounts"][0]["used"]
