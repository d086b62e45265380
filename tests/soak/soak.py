"""A soak: many streams at once, faults of every kind, clients that leave; and at the end everything must add up.

Run by `scripts/soak [seconds] [streams]`; `tests/e2e/test_soak.py` runs it for some seconds.
"""

import argparse
import asyncio
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import servers  # noqa: E402
from support.gateway import KEY, Gateway, digest  # noqa: E402

WELL = "mock-well+tokens=40+gap=10ms"
PROMPTS = [f"soak prompt {number}: what does a traveller pay?" for number in range(50)]
# What a model's first deployment does; the second one is well. None: there is no second one.
FAULTS = {
    "steady": ("", "continue"),
    "flaky-503": ("+status=503", "continue"),
    "reset": ("+reset", "continue"),
    "silent": ("+silence", "continue"),
    "cut": ("+cut=11", "continue"),
    "clean-cut": ("+clean-cut=17", "continue"),
    "stalled": ("+stall=9", "continue"),
    "malformed": ("+malformed=13", "continue"),
    "error-in-stream": ("+error-in-stream=7", "continue"),
    "late": ("+ttft=900ms", "continue"),
    "held": ("+cut=23", "buffer"),
    "cut-alone": ("+cut=19", "error"),
    "differs": ("+cut=21", "differs"),
    "told-to-wait": ("+status=429+retry-after=1", "continue"),
    "runaway": ("+runaway", "error"),
    "gzip": ("+gzip", "continue"),
    "odd-frames": ("+crlf+split=7+comments", "continue"),
}
# Whole answers, whose provider is asked for a stream or not: see `cancel_whole`.
WHOLE_CALLS = {
    "whole": ("", False),
    "whole-truncated": ("+truncated-json", False),
    "whole-gzip": ("+gzip", False),
    "gathered": ("", True),
    "gathered-cut": ("+cut=11", True),
    "gathered-odd": ("+crlf+split=7+gzip", True),
}
# Those whose answers are always whole.
WHOLE = {name for name, (_, kind) in FAULTS.items() if kind in ("continue", "buffer")}
# How a client may leave: after so many bytes of its answer, or so many seconds after its request.
LEAVES = [None] * 18 + ["600 bytes", "0.1 s"]
# So many are to have left. On a machine that is too slow for that the soak takes longer, up to so many seconds.
LEFT_MIN, LONGER_S = 12, 60
STREAM_WITHIN_S = 120
# What the host's memory may grow by from the second quarter of the time to the last, beyond a fifth: less is noise.
SLACK_BYTES = 20 * 1024 * 1024


def document(mock_url):
    text = f"""
[[backends]]
id = "mock"
base_url = "{mock_url}/v1"

[defaults]
keepalive_ms = 500
[defaults.timeouts]
first_byte_ms = 6_000
first_token_ms = 6_000
idle_ms = 6_000
# Every fault is to be met again and again; `guarded` alone has a breaker.
[defaults.breaker]
enabled = false
"""
    for name, (fault, kind) in FAULTS.items():
        text += f"""
[[models]]
name = "{name}"
mid_stream = "{"error" if kind in ("error", "buffer") else "continue"}"
buffer = {"true" if kind == "buffer" else "false"}
[[models.deployments]]
backend = "mock"
model = "{WELL.replace("mock-well", "mock-" + name)}{fault}"
"""
        if kind != "error":
            other = WELL + ("+differs=5" if kind == "differs" else "")
            text += f'[[models.deployments]]\nbackend = "mock"\nmodel = "{other}"\npriority = 1\n'
        else:
            text += "[models.retries]\nmax_attempts = 1\n"
    text = text.replace('name = "runaway"\n', 'name = "runaway"\nresponse_bytes = 40_000\n')
    for name, (fault, is_gathered) in WHOLE_CALLS.items():
        text += f"""
[[models]]
name = "{name}"
cancel_whole = {"true" if is_gathered else "false"}
[[models.deployments]]
backend = "mock"
model = "{WELL.replace("mock-well", "mock-" + name)}{fault}"
[[models.deployments]]
backend = "mock"
model = "{WELL}"
priority = 1
"""
    text += f"""
[[models]]
name = "guarded"
[models.breaker]
enabled = true
failures = 3
trip_duration_s = 2
[[models.deployments]]
backend = "mock"
model = "mock-guarded+tokens=40+gap=10ms+status=500"
[[models.deployments]]
backend = "mock"
model = "{WELL}"
priority = 1

[[consumers]]
id = "soak"
keys_sha256 = ["{digest(KEY)}"]

[[limits]]
name = "everything"
counter_key = []
token_quota = 1_000_000_000_000
period = "year"

[cache]
enabled = false

[logging]
stdout = false
"""
    return text


async def ask(url, model, prompt, leaves):
    """What became of one request: `whole`, `error`, `left`, or what went wrong; and its text."""
    is_stream = model not in WHOLE_CALLS
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": is_stream, "max_tokens": 64}
    ).encode()
    address = urlsplit(url)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(STREAM_WITHIN_S):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(head.encode() + body)
                if leaves == "0.1 s":
                    await asyncio.sleep(0.1)
                    return "left", ""
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if (status := head.split(" ", 2)[1]) != "200":
                    return f"status {status}", ""
                received = b""
                if "content-length: " in head:
                    received = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                else:
                    while size := int(await reader.readuntil(b"\r\n"), 16):
                        received += (await reader.readexactly(size + 2))[:-2]
                        if leaves == "600 bytes" and len(received) > 600:
                            return "left", ""
                return read(received) if is_stream else read_whole(received)
            finally:
                writer.close()
    except TimeoutError:
        return "hangs", ""
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"broke off: {type(error).__name__}", ""


def read_whole(received):
    """The outcome and the text of a whole answer's bytes."""
    choice = json.loads(received)["choices"][0]
    return "whole" if choice["finish_reason"] == "stop" else "no end", choice["message"]["content"]


def read(received):
    """The outcome and the text of a stream's bytes."""
    text, outcome = "", "no end"
    for event in received.decode().replace("\r\n", "\n").split("\n\n"):
        event = "\n".join(line for line in event.split("\n") if not line.startswith(":"))
        data = event.removeprefix("data: ")
        if not event.startswith("data: "):
            continue
        if data == "[DONE]":
            outcome = "whole" if outcome == "no end" else f"[DONE] after {outcome}"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            outcome = "error"
        for choice in chunk.get("choices", []):
            text += choice["delta"].get("content") or ""
    return outcome, text


class Soak:
    """One run."""

    def __init__(self, gateway, expected, seed):
        self.gateway = gateway
        self.expected = expected
        self.random = random.Random(seed)
        self.outcomes = Counter()
        self.wrong = []
        self.models = [*FAULTS, *WHOLE_CALLS, "guarded"]
        # Each is asked once before any is asked again.
        self.unasked = self.models.copy()

    def is_over(self, until):
        left = sum(count for (_, outcome), count in self.outcomes.items() if outcome == "left")
        return time.monotonic() >= until and (left >= LEFT_MIN or time.monotonic() >= until + LONGER_S)

    async def worker(self, until):
        while not self.is_over(until):
            model = self.unasked.pop() if self.unasked else self.random.choice(self.models)
            prompt, leaves = self.random.choice(PROMPTS), self.random.choice(LEAVES)
            outcome, text = await ask(self.gateway.url, model, prompt, leaves)
            self.outcomes[model, outcome] += 1
            if problem := self.problem(model, prompt, outcome, text):
                self.wrong.append(f"{model}: {outcome}: {problem}: {text!r}")

    def problem(self, model, prompt, outcome, text):
        expected = self.expected[prompt]
        if outcome == "left":
            return None
        if outcome == "whole":
            return None if text == expected else "another text"
        if outcome == "error":
            if model in WHOLE or model == "guarded":
                return "an error although another deployment is well"
            if model == "runaway":
                return None if text.startswith(expected) else "not the text again and again"
            return None if expected.startswith(text) and text != expected else "not a beginning of the text"
        return "must not happen"


def rss_bytes(pid):
    """Resident memory of a process."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def expected_texts(mock_url):
    """What a well deployment answers, asked directly."""
    texts = {}
    with httpx.Client(base_url=mock_url, timeout=30) as client:
        for prompt in PROMPTS:
            body = {"model": WELL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 64}
            answer = client.post("/v1/chat/completions", json=body).json()
            texts[prompt] = answer["choices"][0]["message"]["content"]
    return texts


async def watched(soak, seconds, streams):
    """Runs the workers; returns the most memory that the host had in the second and in the last quarter of the time."""
    began = time.monotonic()
    workers = [asyncio.create_task(soak.worker(began + seconds)) for _ in range(streams)]
    peaks = [0, 0, 0, 0]
    while (quarter := int((time.monotonic() - began) / seconds * 4)) < 4:
        peaks[quarter] = max(peaks[quarter], rss_bytes(soak.gateway.server.process.pid))
        await asyncio.sleep(0.25)
    await asyncio.gather(*workers)
    return peaks[1], peaks[3]


def run(folder, mock, seconds, streams, seed=1):
    """Soaks; returns the outcomes. Asserts all that must hold."""
    expected = expected_texts(mock.url)
    # As `scripts/up` sets it up: with each write on the disk, 200 streams would measure the disk.
    state = servers.fast_state(folder / "state")
    gateway = Gateway(folder, mock, document=document(mock.url), state=state)
    try:
        soak = Soak(gateway, expected, seed)
        early, late = asyncio.run(watched(soak, seconds, streams))
        asked = sum(soak.outcomes.values())
        assert not soak.wrong, f"{len(soak.wrong)} of {asked} wrong, the first: " + "\n".join(soak.wrong[:5])
        totals = settled(gateway, asked)
        closed(mock)
        assert late < early * 1.2 + SLACK_BYTES, f"memory grew from {early} to {late} bytes"
        return soak.outcomes, {"asked": asked, "rss_early": early, "rss_late": late, **totals}
    finally:
        gateway.stop()


def closed(mock):
    """Waits until no upstream is open."""
    deadline = time.monotonic() + 60
    while (stats := httpx.get(f"{mock.url}/mock/stats", timeout=60).json())["open_streams"] != 0:
        assert time.monotonic() < deadline, f"{stats}: upstreams stay open"
        time.sleep(0.1)


def settled(gateway, asked):
    """Waits until all is booked: a record for each request, and the counter equal to their tokens."""
    deadline = time.monotonic() + 120
    while True:
        report = gateway.admin.get("/admin/usage").json()
        sums = Counter()
        for row in report["rows"]:
            sums.update({key: value for key, value in row.items() if isinstance(value, int)})
        tokens = sum(
            sums[key]
            for key in ("prompt_tokens", "completion_tokens", "retried_prompt_tokens", "retried_completion_tokens")
        )
        used = gateway.admin.get("/admin/limits/everything").json()["amounts"][0]["used"]
        if sums["requests"] == asked and used == tokens:
            return {"recorded": sums["requests"], "tokens": tokens, "counter": used}
        assert time.monotonic() < deadline, (
            f"asked {asked}, recorded {sums['requests']}; tokens in the records {tokens}, in the counter {used}"
        )
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=600)
    parser.add_argument("streams", type=int, nargs="?", default=200)
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    mock = servers.start_mock(folder)
    try:
        outcomes, figures = run(folder, mock, arguments.seconds, arguments.streams)
    except BaseException:
        print(f"the logs and stores of this run are in {folder}", file=sys.stderr)
        raise
    finally:
        mock.stop()
    shutil.rmtree(folder)
    for (model, outcome), count in sorted(outcomes.items()):
        print(f"{model:16} {outcome:8} {count}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
