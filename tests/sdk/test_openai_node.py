"""The Node clients on the same gateway: their own tests, in node/, are run here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.clients import limited_key
from support.gateway import KEY, OTHER_KEY

HERE = Path(__file__).parent / "node"
SECONDS = 900


@pytest.mark.parametrize("client", ["openai", "ai-sdk"])
def test_the_node_client_works(gateway, limited_gateway, client):
    node = shutil.which("node")
    assert node, "node is missing: install Node.js 20 or newer"
    assert (HERE / "node_modules").is_dir(), "the Node clients are missing: npm ci --prefix tests/sdk/node"
    settings = {
        "GATEWAY_URL": gateway.url,
        "LIMITED_GATEWAY_URL": limited_gateway.url,
        "MOCK_URL": gateway.mock.url,
        "GATEWAY_KEY": KEY,
        "OTHER_KEY": OTHER_KEY,
        "LIMITED_KEY": limited_key("node" if client == "openai" else client),
        "RUN": f"node {client}",
    }
    command = [node, "--test", "--test-reporter=spec", f"--test-timeout={SECONDS * 500}", f"{client}.test.mjs"]
    done = subprocess.run(
        command, cwd=HERE, env={**os.environ, **settings}, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"\n{done.stdout}\n{done.stderr}"
    counts = {name: int(count) for name, count in re.findall(r"^ℹ (\w+) (\d+)$", done.stdout, re.M)}
    assert counts["pass"] == counts["tests"] > 0, f"not every test was run:\n{done.stdout}"
