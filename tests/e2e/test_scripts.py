"""The commands of the README, as a newcomer runs them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib

import httpx
import pytest
import yaml
from support import servers
from support.clients import until
from support.gateway import KEY, digest

ROOT = servers.ROOT


@pytest.fixture
def up(tmp_path):
    """Runs scripts/up in a process group of its own, as a terminal does; returns its process, address and output so far."""
    running = []

    def start(*arguments, address=None, environment=None, wait_for="The gateway is up"):
        address = address or f"127.0.0.1:{servers.free_port()}"
        log = tmp_path / f"up-{len(running)}.log"
        command = [ROOT / "scripts/up", "--listen", address, "--state-dir", "state", *arguments]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, env=environment, start_new_session=True
            )
        running.append(process)
        deadline = time.monotonic() + 300
        while wait_for and wait_for not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return process, address, log.read_text

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def interrupt(process):
    """Ctrl-C: the signal goes to the whole foreground group."""
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=60)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("something of the group still runs")


def test_up_without_a_config_prints_a_curl_line_that_works(up):
    process, address, output = up()
    usage = until("all is printed", lambda: re.search(r"^  (curl http\S+/admin/usage.*)\n\n", output(), re.M))
    curl = re.search(r"^  (curl http\S+/v1/chat/completions.*?\n.*?\n.*?)\n\n", output(), re.M | re.S)
    assert curl, output()
    answer = subprocess.run(shlex.split(curl[1].replace("\\\n", " ")), capture_output=True, text=True, timeout=300)
    assert '"object":"chat.completion"' in answer.stdout, answer
    deadline = time.monotonic() + 60
    while '"requests":1' not in (got := subprocess.run(shlex.split(usage[1]), capture_output=True, text=True).stdout):
        assert time.monotonic() < deadline, got
        time.sleep(0.1)
    interrupt(process)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{address}/health")


def requests_recorded(address, token):
    answer = httpx.get(f"http://{address}/admin/requests", headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return [record["request_id"] for record in answer.json()["requests"]]


def ask(address, key, text="Hello"):
    return httpx.post(
        f"http://{address}/v1/chat/completions",
        json={"model": "mock", "messages": [{"role": "user", "content": text}]},
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
    )


def test_up_again_finds_the_records_of_the_time_before(up):
    process, address, _ = up()
    request_id = ask(address, "demo-key").headers["x-request-id"]
    until("it is recorded", lambda: request_id in requests_recorded(address, "demo-admin"))
    interrupt(process)
    process, _, _ = up(address=address)
    assert request_id in requests_recorded(address, "demo-admin")
    interrupt(process)


def test_up_beside_another_says_that_the_address_is_taken(up):
    first, address, _ = up()
    second, _, output = up(address=address, wait_for=None)
    assert second.wait(timeout=300) != 0
    assert "cannot listen on" in output() and "The gateway is up" not in output(), output()
    assert httpx.get(f"http://{address}/health", timeout=60).status_code == 200, "the first goes on"
    interrupt(first)


def own_document(mock, tmp_path):
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
    return ["--config", "my.toml", "--secrets", "my-secrets.toml"]


def test_up_runs_a_document_of_ones_own_with_paths_as_its_caller_sees_them(up, mock, tmp_path):
    (tmp_path / "my-runtime-config.toml").write_text('[key_value_store.default]\ntype = "spin"\n')
    (tmp_path / "my-token").write_text("the token in a file")
    more = ["--runtime-config-file", "my-runtime-config.toml", "--variable", "admin_token=@my-token"]
    process, address, _ = up(*own_document(mock, tmp_path), *more)
    response = ask(address, KEY, "from my own document")
    assert response.status_code == 200, response.text
    request_id = response.headers["x-request-id"]
    until("it is recorded", lambda: request_id in requests_recorded(address, "the token in a file"))
    interrupt(process)


def openai_document(mock, tmp_path):
    """Its backend gets the key that the variable `openai_api_key` holds."""
    own_document(mock, tmp_path)
    text = (tmp_path / "my.toml").read_text().replace('secret = "mine"', 'secret = "openai_api_key"')
    (tmp_path / "my.toml").write_text(text)
    return ["--config", "my.toml"]


@pytest.mark.parametrize(
    "given", ["openai_api_key=sk-given-0123456789", "openai_api_key=@my-key", "@my-variables.toml", None]
)
def test_up_hands_the_key_for_openai_on_to_the_check(up, mock, tmp_path, given):
    key = "sk-given-0123456789"
    (tmp_path / "my-key").write_text(key)
    (tmp_path / "my-variables.toml").write_text(f'openai_api_key = "{key}"')
    variable = ["--variable", given] if given else []
    environment = {**os.environ, **({} if given else {"SPIN_VARIABLE_OPENAI_API_KEY": key})}
    process, address, _ = up(*openai_document(mock, tmp_path), *variable, environment=environment)
    text = f"with the key of {given}"
    assert ask(address, KEY, text).status_code == 200
    received = [entry for entry in httpx.get(f"{mock.url}/mock/log", timeout=60).json() if text in str(entry["body"])]
    assert [entry["headers"]["authorization"] for entry in received] == [f"Bearer {key}"]
    interrupt(process)


def test_up_without_that_key_says_that_the_document_wants_it(mock, tmp_path):
    done = subprocess.run(
        [ROOT / "scripts/up", *openai_document(mock, tmp_path), "--listen", "127.0.0.1:0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode != 0 and "backends[0].api_key.secret" in done.stderr, done.stderr


def test_up_with_a_key_for_openai_and_no_document_is_no_demo(up):
    process, address, output = up("--variable", "openai_api_key=sk-0123456789abcdef")
    assert "mock" not in output() and "the built-in document" in output(), output()
    assert "authorization: Bearer tollgate-local" in output() and "demo-key" not in output(), output()
    for key, status in [("tollgate-local", 200), ("demo-key", 401)]:
        models = httpx.get(f"http://{address}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=60)
        assert models.status_code == status, models.text
    interrupt(process)


def test_up_says_what_is_wrong_with_a_document_and_starts_nothing(tmp_path):
    (tmp_path / "bad.toml").write_text('[[backends]]\nid = "a b"\nbase_url = "ftp://x"\n')
    done = subprocess.run(
        [ROOT / "scripts/up", "--config", "bad.toml", "--listen", f"127.0.0.1:{servers.free_port()}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode != 0 and "The gateway is up" not in done.stderr
    assert "backends[0].id" in done.stderr and "backends[0].base_url" in done.stderr


def test_up_fails_when_its_host_does(up, tmp_path):
    (tmp_path / "bad.toml").write_text("[no_such_table]\n")
    process, _, output = up("--runtime-config-file=bad.toml", wait_for=None)
    assert process.wait(timeout=300) != 0
    assert "no_such_table" in output() and "The gateway is up" not in output(), output()


@pytest.fixture
def path(tmp_path):
    """An environment for the scripts with programs of a test's own before those of the machine. `cargo` does nothing:
    everything is built. `dev-host` is the real one, but it leaves a note of how it was called, `called`."""
    programs, native = tmp_path / "programs", tmp_path / "target/native"
    for folder in (programs, native):
        folder.mkdir(parents=True)
    (native / "mock-provider").symlink_to(servers.built(servers.NATIVE / "mock-provider"))
    (native / "check-config").symlink_to(servers.built(servers.NATIVE / "check-config"))

    def write(name, script, folder=programs):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    def host(name, version="", folder=programs, then=f'exec "{servers.NATIVE}/dev-host" "$@"'):
        answer = f"[ \"$1\" != --version ] || {{ echo '{version}'; exit; }}"
        note = f"printf '%s\\n' {name} \"$@\" >'{tmp_path}/called'"
        write(name, f"{answer}\n{note}\n{then}", folder)

    write("cargo", "exit 0")
    host("dev-host", folder=native)
    write.host, write.native = host, native
    write.called = lambda: (tmp_path / "called").read_text().splitlines()
    write.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "CARGO_TARGET_DIR": str(tmp_path / "target")}
    return write


@pytest.mark.parametrize(
    "version, chosen",
    [
        ("spin 4.0.2 (f5c0a1d 2026-06-30)", "dev-host"),
        ("spin 4.1.0 (0a1b2c3 2026-08-20)", "spin"),
        ("spin 4.2.0 (4d5e6f7 2026-10-14)", "spin"),
        ("Spin Version 6.5.2 -- 6 December 2019", "dev-host"),  # Debian's model checker
    ],
)
def test_up_runs_on_spin_where_there_is_one_that_is_new_enough(up, path, version, chosen, tmp_path):
    path.host("spin", version)
    process, address, output = up("--quiet", environment=path.environment)
    assert httpx.get(f"http://{address}/health", timeout=60).status_code == 200
    called = path.called()
    program, subcommand, *arguments = called
    assert (program, subcommand) == (chosen, "up"), output()
    assert ("running on spin" in output()) == (chosen == "spin")
    pairs = dict(zip(arguments[:8:2], arguments[1:8:2]))
    assert pairs == {
        "--from": "spin.toml",
        "--listen": address,
        "--state-dir": str(tmp_path / "state"),
        "--runtime-config-file": "runtime-config.toml",
    }
    variables = dict(pair.split("=", 1) for pair in arguments[9::2] if "=" in pair)
    assert set(variables) == {"gateway", "http_backend_1", "admin_token"} and arguments[-1] == "--quiet", called
    assert variables["gateway"].startswith("@/"), "the document travels as a file"
    interrupt(process)


@pytest.mark.parametrize("kind, state", [("demo", ".spin/demo"), ("own", ".spin"), ("openai", ".spin")])
def test_a_demo_keeps_its_records_apart(path, mock, tmp_path, kind, state):
    path.host("spin", "spin 4.1.0 (0a1b2c3 2026-08-20)", then="exit 1")
    more = {"demo": [], "own": own_document(mock, tmp_path), "openai": ["--variable", "openai_api_key=sk-0123456789abcdef"]}
    command = [ROOT / "scripts/up", "--listen", "127.0.0.1:0", *more[kind]]
    done = subprocess.run(command, cwd=tmp_path, env=path.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "the gateway did not start" in done.stderr
    called = path.called()
    assert called[called.index("--state-dir") + 1] == state


def library(path, line, folder=ROOT):
    """Runs a line of shell with scripts/lib.sh."""
    command = ["bash", "-euo", "pipefail", "-c", f". {ROOT}/scripts/lib.sh; {line}"]
    return subprocess.run(command, cwd=folder, env=path.environment, capture_output=True, text=True, timeout=300)


def test_the_scripts_install_what_is_missing_and_say_what_is_too_old(path, tmp_path):
    note = f"echo \"${{0##*/}} $*\" >>'{tmp_path}/installed'"
    path("sudo", 'exec "$@"')
    path("apt-get", note)

    for program, line, expected in [
        ("rustc", "echo 'rustc 1.93.1 (abc 2026-01-01)'", "Rust 1.94 or newer is needed, this is 1.93.1: run rustup update stable"),
        ("python3", '[ "$1" != --version ] || echo Python 3.9.2; exit 1', "Python 3.11 or newer is needed, this is Python 3.9.2"),
        ("node", '[ "$1" != --version ] || echo v18.1.0; exit 1', "Node.js 20 or newer is needed, this is v18.1.0"),
    ]:
        path(program, line)
        check = {"rustc": "ensure_rust", "python3": "ensure_python", "node": "ensure_node"}[program]
        done = library(path, check)
        assert done.returncode != 0 and expected in done.stderr, done
        (tmp_path / "programs" / program).unlink()

    path("rustup", f"{note}\n[ \"$2\" != list ] || printf 'cargo-x86_64\\nwasm32-wasip2\\nclippy-x86_64\\n'")
    done = library(path, "ensure_rust; ensure_rust_components rustfmt clippy; ensure_debian_package no-such-command some-package")
    assert done.returncode == 0, done
    installed = (tmp_path / "installed").read_text()
    assert "rustup component add rustfmt\n" in installed and "install -y -qq --no-install-recommends some-package" in installed
    assert "target add" not in installed and "component add clippy" not in installed, "what is there stays"


def test_debians_python_gets_what_makes_environments(path, tmp_path):
    path("apt-get", f"echo \"$*\" >>'{tmp_path}/installed'")
    path("sudo", 'exec "$@"')
    pip = "mkdir -p .cache/venv/bin; printf '#!/bin/sh\\n' >.cache/venv/bin/pip; chmod +x .cache/venv/bin/pip"
    version = tmp_path / "version"
    version.write_text("Python 3.11.9")
    path("python3", f"case \"$*\" in --version) cat {version} ;; *ensurepip*) exit 1 ;; *venv*) {pip} ;; esac")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/requirements.txt").write_text("nothing\n")
    for _ in range(2):
        done = library(path, 'ensure_venv; echo "$venv"', folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, ".cache/venv\n"), done
    installed = (tmp_path / "installed").read_text()
    assert installed.count("python3-venv") == 1, "and the second time nothing is missing"
    version.write_text("Python 3.12.1")
    assert library(path, "ensure_venv", folder=tmp_path).returncode == 0
    assert (tmp_path / "installed").read_text().count("python3-venv") == 2, "another Python finds no package of the first's"


def test_fetch_model_gets_what_makes_environments(path, tmp_path):
    path("apt-get", f"echo \"$*\" >>'{tmp_path}/installed'")
    path("sudo", 'exec "$@"')
    without_pip = f"""
import importlib.machinery, importlib.util, pathlib, venv
loader = importlib.machinery.SourceFileLoader("fetch_model", "{ROOT}/scripts/fetch-model")
fetch_model = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_model", loader))
loader.exec_module(fetch_model)
importlib.util.find_spec = lambda name: None
venv.create = lambda folder, with_pip: print("made", folder)
print(fetch_model.python_with_pip(pathlib.Path("{tmp_path}/made")))
"""
    command = [sys.executable, "-B", "-c", without_pip]
    done = subprocess.run(command, env=path.environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == [f"made {tmp_path}/made", f"{tmp_path}/made/bin/python"], done
    assert "python3-venv" in (tmp_path / "installed").read_text()
    path("apt-get", "exit 1")
    done = subprocess.run(command, env=path.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "install python3-venv" in done.stderr, done


def test_the_oldest_rust_is_the_same_everywhere():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"\nRUST_VERSION={version}\n" in (ROOT / "scripts/lib.sh").read_text()


def test_bench_measures_and_writes_what_it_found(tmp_path):
    found = tmp_path / "found.json"
    command = ["scripts/bench", "--quick", "--streams", "20", "--only", "pass-through,same-calls-memory,gateway-memory", "--enforce"]
    done = subprocess.run([*command, "--output", found], cwd=ROOT, capture_output=True, text=True, timeout=300)
    results = json.loads(found.read_text())
    holds = all(bar["holds"] for bar in results["bars"])
    assert (done.returncode == 0) == holds and ("bars do not hold" in done.stderr) != holds, done.stderr
    assert set(results) == {
        "started_at_unix_s", "machine", "settings", "paths", "cpu_relative_to_pass_through", "cpu_relative_to_same_calls",
        "bars", "notes",
    }
    assert set(results["paths"]) == {"direct", "pass-through", "same-calls-memory", "gateway-memory"}
    gateway = results["paths"]["gateway-memory"]
    figures = """
        added_one_p50_us added_one_p99_us load_per_s load_p50_us cpu_host_us_per_request calls_before calls_after key_value_writes
        database_writes added_ttft_p50_us added_gap_p50_us over_floor_ttft_p50_us over_floor_gap_p99_us held_complete held_at_once
        idle_rss_bytes load_rss_bytes held_rss_bytes
    """.split()
    assert not set(figures) - set(gateway), set(figures) - set(gateway)
    assert all(set(spread) == {"median", "min", "max"} for spread in gateway.values())
    # What does not depend on how busy the machine is.
    assert gateway["calls_before"]["median"] == 3 and results["paths"]["direct"]["held_complete"]["median"] == 20
    bars = {(bar["path"], bar["what"]): bar for bar in results["bars"]}
    assert bars["direct", "requests per second of the mock"]["at_least"] == 20_000
    assert bars["gateway-memory", "component calls before the upstream call"]["holds"]
    # The mock is no bottleneck: it takes about as much CPU as who asks it, whatever the machine.
    direct = results["paths"]["direct"]
    assert direct["cpu_mock_us_per_request"]["median"] < 4 * direct["cpu_client_us_per_request"]["median"], direct
    # What the gateway's CPU is held against makes the same calls and store operations. Those after the answer are one batch
    # for three requests; the gateway's batches are as large as the machine's pace has them.
    same = {name: spread["median"] for name, spread in results["paths"]["same-calls-memory"].items()}
    assert same["calls_before"] == 3 and 0.9 < same["calls_after"] < 1.1
    for name in ["get", "increment"]:
        ours = gateway[f"key_value_{name}"]["median"]
        assert 0.4 * ours < same[f"key_value_{name}"] < 2.5 * ours, (name, same, ours)
    for name in ["key_value_set_many", "database_writes"]:
        assert 0.9 < same[name] * 3 < 1.1 and gateway[name]["median"] > 0, (name, same)
    assert not [note for note in results["notes"] if "same-calls" in note], "a batch that was not taken would be told there"
    ratio = gateway["cpu_host_us_per_request"]["median"] / same["cpu_host_us_per_request"]
    assert results["cpu_relative_to_same_calls"] == {"gateway-memory": pytest.approx(ratio)}
    assert "added ms" in done.stdout and "gateway-memory" in done.stdout


def test_the_limiter_is_measured_alone(tmp_path):
    command = ["scripts/bench", "limiter", "--quick", "--limits", "1", "--consumers", "10"]
    done = subprocess.run([*command, "--stores", "memory,script"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = {name: row.split() for name in ["memory", "redis, script"] for row in re.findall(rf"^  {name}\s+(.*)$", done.stdout, re.M)}
    for name, (limits, consumers, *figures) in rows.items():
        assert (limits, consumers) == ("1", "10")
        *latencies, rate, cpu, reads, writes = (float(figure) for figure in figures)
        assert len(latencies) == 4 and min(*latencies, rate, cpu) > 0, (name, figures)
        # A script asks the key-value store for nothing; an instance looks there for what is to be swept.
        assert (reads >= 1, writes >= 1) == (name == "memory",) * 2 and (name == "memory" or writes == 0), (name, figures)
    assert len(rows) == 2, done.stdout
    held = {int(bytes_): float(mib) for bytes_, mib in re.findall(r"after a prompt of (\d+) bytes: ([\d.]+) MiB", done.stdout)}
    assert set(held) == {60, 5000} and 0 < held[60] <= held[5000] < 2, held


def test_what_was_measured_of_the_limiter_is_told_although_the_rest_fails(tmp_path):
    # A Redis that hangs up on everybody fails the second store, after the first was measured.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "redis-server").write_text(f"""#!{sys.executable}
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
while True:
    listener.accept()[0].close()
""")
    (programs / "redis-server").chmod(0o755)
    done = subprocess.run(
        [
            servers.built(servers.NATIVE / "bench-limiter"), "--quick", "--limits", "1", "--consumers", "10", "--stores", "memory,script",
            "--dev-host", servers.NATIVE / "dev-host", "--component", servers.WASM / "token_limiter.wasm", "--state", tmp_path / "state",
        ],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode != 0 and "Script" in done.stderr, done
    assert re.search(r"^  memory\s+1\s+10\s+\d", done.stdout, re.M) and "redis, script" not in done.stdout, done.stdout


def test_the_choice_of_a_deployment_is_measured_alone():
    done = subprocess.run(["scripts/bench", "selection"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+)\s+(\d+)\s+(\d+)\s+(\d+)$", done.stdout, re.M)
    assert [row[0] for row in rows] == [
        "round_robin", "weighted", "least_busy", "lowest_latency", "lowest_cost", "session",
    ], done.stdout
    assert all(int(figure) > 0 for row in rows for figure in row[1:]), rows


def test_only_a_soak_that_failed_leaves_its_folder_behind(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "tests/soak")
    import soak

    monkeypatch.setattr(soak.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["soak"])
    monkeypatch.setattr(soak, "run", lambda *_: ({("whole", "right"): 1}, {}))
    soak.main()
    assert not list(tmp_path.iterdir())

    def fail(*_):
        raise AssertionError("something did not add up")

    monkeypatch.setattr(soak, "run", fail)
    with pytest.raises(AssertionError, match="did not add up"):
        soak.main()
    [folder] = tmp_path.iterdir()
    assert str(folder) in capsys.readouterr().err and (folder / "mock.log").exists()


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


def manifest_variables():
    return tomllib.loads((ROOT / "spin.toml").read_text())["variables"]


def test_the_readme_lists_every_setting_with_its_default():
    table = re.search(r"^## Settings$.*?^\| variable \|.*?\n\|---.*?\n(.*?)\n\n", (ROOT / "README.md").read_text(), re.M | re.S)
    listed = {}
    for row in table[1].splitlines():
        names, default, holds = (cell.strip() for cell in row.strip("|").split(" | "))
        names = re.findall(r"`(\w+)`", names)
        if len(names) == 2:  # first … last
            stem, (first, last) = names[0][:-1], (int(name[-1]) for name in names)
            names = [f"{stem}{number}" for number in range(first, last + 1)]
        assert holds
        listed |= {name: default.split(":")[0] for name in names}
    assert listed == {name: variable["default"] or "empty" for name, variable in manifest_variables().items()}


def test_the_files_for_spinkube_fit_the_manifest(mock, tmp_path):
    app = yaml.safe_load((ROOT / "deploy/spinkube/tollgate.yaml").read_text())
    assert (app["apiVersion"], app["kind"]) == ("core.spinkube.dev/v1alpha1", "SpinApp")
    variables = {variable["name"]: variable for variable in app["spec"]["variables"]}
    assert set(variables) <= set(manifest_variables())
    for name, declared in manifest_variables().items():
        if declared.get("secret") and name in variables:
            assert variables[name]["valueFrom"]["secretKeyRef"]["key"] == name, "a secret is no plain value"
    assert variables["gateway"]["valueFrom"]["secretKeyRef"]["name"] == "tollgate"
    # The host takes the runtime config, but for the address, as it stands; a Redis is asked when something is stored.
    text = (ROOT / "deploy/spinkube/runtime-config.toml").read_text()
    config = tomllib.loads(text)
    assert config["key_value_store"]["default"]["type"] == "redis" and config["outbound_http"]["connection_pooling"]
    host = servers.start_host(tmp_path, ROOT / "spin.toml", {}, runtime_config=text)
    assert httpx.get(f"{host.url}/health", timeout=60).status_code == 200
    host.stop()


def test_what_is_said_to_be_missing_on_akamai_functions_is_what_is_imported():
    said = (ROOT / "deploy/akamai/README.md").read_text()
    for component in tomllib.loads((ROOT / "spin.toml").read_text())["component"]:
        wasm = (servers.WASM / f"{component.replace('-', '_')}.wasm").read_bytes()
        absent = {"wasi:keyvalue/atomics", "spin:sqlite", "fermyon:spin/llm"}
        imported = {name for name in absent if re.search(rb"%s[/@]" % name.encode(), wasm)}
        row = re.search(rf"^\| `{component}` \| (.*?) \|", said, re.M)[1]
        assert {name for name in absent if name in row} == imported, component
