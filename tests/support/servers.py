"""Starts the programs under test and stops them again: the mock provider, and the app on its host."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
NATIVE = TARGET / "native"
WASM = TARGET / "wasm32-wasip2" / "release"
# A slow machine may have all components to compile first.
START_SECONDS = 300

# Bound for as long as this process lives and never listened on: whoever connects is refused, and nobody else is given the port.
_nobody = socket.socket()
_nobody.bind(("127.0.0.1", 0))
DEAD_PORT = _nobody.getsockname()[1]


class Server:
    """A process that prints the address it listens on, and its log."""

    def __init__(self, command, pattern, log, **options):
        self.log_path = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, **options)
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(pattern, self.log())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{command[0]} did not start:\n{self.log()}")
            time.sleep(0.02)
        self.url = found.group(1)

    def log(self):
        return Path(self.log_path).read_text(errors="replace")

    def stop(self, sig=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        self.process.wait(timeout=60)


class Redis(Server):
    """A redis of the test's own, which can be asked and held still."""

    def __init__(self, command, folder, port):
        super().__init__(command, r"(Ready to accept connections)", folder / "redis.log")
        self.address = ("127.0.0.1", port)
        self.url = f"redis://127.0.0.1:{port}"

    def ask(self, command):
        """The answer to one command, by redis's own protocol."""
        with socket.create_connection(self.address) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode()

    def hang(self):
        """Lets it answer nobody from now on, once nobody waits for an answer: an increment under way would hold up
        its whole instance (the limiter's README says so)."""
        quiet = 0
        deadline = time.monotonic() + 60
        while quiet < 3:
            assert time.monotonic() < deadline, "the redis is asked without end"
            before = self._commands()
            time.sleep(0.1)
            quiet = quiet + 1 if self._commands() == before + 1 else 0
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def _commands(self):
        """How many it was given, this question among them."""
        return int(re.search(r"total_commands_processed:(\d+)", self.ask("INFO stats")).group(1))


def start_mock(folder):
    command = [built(NATIVE / "mock-provider"), "--listen", "127.0.0.1:0", "--record"]
    return Server(command, r"listening on (http://\S+)", folder / "mock.log")


def start_host(folder, manifest, variables, runtime_config=None, state=None, arguments=()):
    """Runs a manifest on the stand-in for Spin. `variables` is a dict; values may be long, so they go in as files.

    Without a `state` of the test's own its stores are fast ones: no test is about the disk, and a slow one would have
    the router do without what it waits for only so long.
    """
    command = [built(NATIVE / "dev-host"), "up", "--from", str(manifest), "--listen", "127.0.0.1:0", *arguments]
    state = Path(state or fast_state(folder / "state"))
    state.mkdir(parents=True, exist_ok=True)
    command += ["--state-dir", str(state)]
    for name, value in variables.items():
        path = folder / f"variable-{name}"
        path.write_text(value)
        command += ["--variable", f"{name}=@{path}"]
    if runtime_config is not None:
        path = folder / "runtime-config.toml"
        path.write_text(runtime_config)
        command += ["--runtime-config-file", str(path)]
    return Server(command, r"Serving (http://\S+)", folder / "host.log")


def fast_state(folder):
    """A folder for the stores of a host, set to SQLite's write-ahead log, as scripts/up does it."""
    folder.mkdir(exist_ok=True)
    for name in ("sqlite_key_value.db", "sqlite_db.db"):
        sqlite3.connect(folder / name).execute("PRAGMA journal_mode=WAL").close()
    return folder


def built(path):
    assert path.exists(), f"{path} is missing: scripts/test builds it"
    return str(path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_redis(folder, password=None):
    binary = shutil.which("redis-server")
    assert binary, "redis-server is missing: scripts/test installs Debian's redis-server"
    for tries_left in (2, 1, 0):
        port = free_port()
        command = [binary, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        command += ["--requirepass", password] if password else []
        try:
            return Redis(command, folder, port)
        except RuntimeError as error:
            # It takes no port 0, and the free one may have been taken in between.
            if not tries_left or "in use" not in str(error):
                raise


def temporary_folder():
    return Path(tempfile.mkdtemp(prefix="tollgate-test-"))
