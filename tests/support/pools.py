"""Gateways with pools of a test's own, and what a client sees of their streams."""

import json
import time
from dataclasses import dataclass

import httpx

from .gateway import KEY, OTHER_KEY, digest

# The backends lead to the same mock: a model's name says what the mock does. Their names are what deployments are told apart by.
HEAD = """
[[backends]]
id = "a"
base_url = "{mock}/v1"

[[backends]]
id = "b"
base_url = "{mock}/v1"

[[backends]]
id = "c"
base_url = "{mock}/v1"

[[consumers]]
id = "tester"
team = "tests"
tags = ["production"]
keys_sha256 = ["{key}"]

[[consumers]]
id = "other"
keys_sha256 = ["{other_key}"]
"""


def document(mock, pools):
    return HEAD.format(mock=mock.url, key=digest(KEY), other_key=digest(OTHER_KEY)) + pools


@dataclass
class Streamed:
    """A streamed answer as a client reads it: each line with the seconds after which it came."""

    response: httpx.Response
    began: float
    lines: list

    @property
    def events(self):
        data = [line.removeprefix("data: ") for _, line in self.lines if line.startswith("data:")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]

    @property
    def text(self):
        return content(self.events)

    @property
    def error(self):
        """The error that it ends with, if it does, which no `[DONE]` follows."""
        errors = [e["error"] for e in self.events if e != "[DONE]" and "error" in e]
        assert not errors or (len(errors) == 1 and "error" in self.events[-1]), self.events
        return errors[0] if errors else None

    @property
    def is_whole(self):
        return self.events[-1:] == ["[DONE]"] and self.error is None

    def first(self, beginning):
        """Seconds until the first line that begins so."""
        return next(at for at, line in self.lines if line.startswith(beginning))


def content(events):
    return "".join(
        choice["delta"].get("content") or "" for e in events if e != "[DONE]" for choice in e.get("choices", [])
    )


def streamed(gateway, model, text, headers=None, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
    started = time.monotonic()
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        began, lines, rest = time.monotonic() - started, [], ""
        for part in response.iter_text():
            *whole, rest = (rest + part).split("\n")
            lines += [(time.monotonic() - started, line) for line in whole if line]
    lines += [(time.monotonic() - started, rest)] if rest else []
    return Streamed(response, began, lines)


def told(gateway, model, text, **fields):
    """The text that the mock itself gives to this question, streamed."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
    whole = httpx.post(f"{gateway.mock.url}/v1/chat/completions", json=body, timeout=60).text
    return content(json.loads(line[6:]) for line in whole.split("\n") if line.startswith("data: {"))


def asked(gateway, text):
    """The upstream models that were asked this, in order."""
    return [entry["body"]["model"] for entry in gateway.received(text)]


def route_of(response):
    """The explanation of a decision, taken apart."""
    return dict(field.split("=", 1) for field in response.headers["x-tollgate-route"].split(";"))


def estimated(text):
    """What is booked for a text whose tokens no provider counted: by its characters, as `crates/tokens` says."""
    size = [len(character.encode()) for character in text]
    letters = sum(c.isascii() and (c.isalpha() or c <= " ") for c in text)
    worth = 23 * letters + 83 * (size.count(1) - letters) + 39 * size.count(2) + 98 * (size.count(3) + 3 * size.count(4))
    return -(-worth // 100)


def beginning(text, tokens):
    """So many of the mock's tokens, each of four bytes and never a part of a character."""
    return text.encode()[: 4 * tokens].decode()
