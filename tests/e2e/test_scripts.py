"""The commands of the README, as a newcomer runs them."""

import os
import re
import shlex
import signal
import subprocess
import time
import tomllib

import httpx
import pytest
from support import servers
from support.gateway import KEY, digest

ROOT = servers.ROOT


@pytest.fixture
def up(tmp_path):
    """Runs scripts/up in a process group of its own, as a terminal does; returns its process and its output so far."""
    running = []

    def start(*arguments):
        address = f"127.0.0.1:{servers.free_port()}"
        log = tmp_path / "up.log"
        command = [ROOT / "scripts/up", "--listen", address, "--state-dir", str(tmp_path / "state"), *arguments]
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True)
        running.append(process)
        deadline = time.monotonic() + 300
        while "The gateway is up" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        time.sleep(0.2)  # the text is printed in one go
        return process, address, log.read_text

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def interrupt(process):
    """Ctrl-C: the signal goes to the whole foreground group."""
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=20)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("something of the group still runs")


def test_up_without_a_config_prints_a_curl_line_that_works(up):
    process, address, output = up()
    curl = re.search(r"^  (curl http\S+/v1/chat/completions.*?\n.*?\n.*?)\n\n", output(), re.M | re.S)
    assert curl, output()
    answer = subprocess.run(shlex.split(curl[1].replace("\\\n", " ")), capture_output=True, text=True, timeout=20)
    assert '"object":"chat.completion"' in answer.stdout, answer
    usage = re.search(r"^  (curl http\S+/admin/usage.*)$", output(), re.M)
    deadline = time.monotonic() + 5
    while '"requests":1' not in (got := subprocess.run(shlex.split(usage[1]), capture_output=True, text=True).stdout):
        assert time.monotonic() < deadline, got
        time.sleep(0.1)
    interrupt(process)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/health")


def test_up_runs_a_document_of_ones_own(up, mock, tmp_path):
    (tmp_path / "my.toml").write_text(
        f"""
        [[backends]]
        id = "mine"
        base_url = "{mock.url}/v1"
        api_key = {{ secret = "mine" }}
        [[models]]
        name = "*"
        [[models.deployments]]
        backend = "mine"
        [[consumers]]
        id = "me"
        keys_sha256 = ["{digest(KEY)}"]
        """
    )
    (tmp_path / "my-secrets.toml").write_text('mine = "sk-mine-0123456789abcdef"')
    process, address, _ = up("--config", "my.toml", "--secrets", "my-secrets.toml")
    response = httpx.post(
        f"http://{address}/v1/chat/completions",
        json={"model": "mock", "messages": [{"role": "user", "content": "from my own document"}]},
        headers={"authorization": f"Bearer {KEY}"},
    )
    assert response.status_code == 200, response.text
    interrupt(process)


def test_up_says_what_is_wrong_with_a_document_and_starts_nothing(tmp_path):
    (tmp_path / "bad.toml").write_text('[[backends]]\nid = "a b"\nbase_url = "ftp://x"\n')
    done = subprocess.run(
        [ROOT / "scripts/up", "--config", "bad.toml", "--listen", f"127.0.0.1:{servers.free_port()}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode != 0 and "The gateway is up" not in done.stderr
    assert "backends[0].id" in done.stderr and "backends[0].base_url" in done.stderr


def test_the_manifest_keeps_the_platforms_rules():
    manifest = tomllib.loads((ROOT / "spin.toml").read_text())
    assert all("default" in variable for variable in manifest["variables"].values()), "one unset variable denies every call"
    for name, component in manifest["component"].items():
        assert component["build"]["command"].endswith(f"-p {name}")
        assert not [host for host in component.get("allowed_outbound_hosts", []) if "*.spin.internal" in host]
    routes = {t["component"]: t["route"] for t in manifest["trigger"]["http"]}
    assert routes == {
        "router": "/...",
        "token-limiter": "/admin/limits/...",
        "semantic-cache": {"private": True},
        "usage-logger": "/admin/...",
    }
