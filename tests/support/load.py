"""Many requests at once, from one thread: raw HTTP/1.1, a connection for each, because a full client would be the bottleneck."""

import asyncio
import json
import resource
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Each request holds a socket here and up to two in the host, which inherits the limit.
_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))


@dataclass
class Answer:
    """What came back. `status` is None when the connection broke before the answer was whole."""

    request_id: str
    status: int | None = None
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    started: float = 0.0  # time.monotonic() when it was asked
    began: float = 0.0  # when its head was there
    finished: float = 0.0  # and when all of it was

    def json(self):
        return json.loads(self.body)


async def post(url, key, request_id, body, headers=None, timeout=60, began=lambda: None):
    """One chat request; never raises for what the server or the network does. `began` is called once, when an answer begins
    or never will."""
    answer = Answer(request_id, started=time.monotonic())
    payload = json.dumps(body).encode()
    address = urlsplit(url)
    sent = {
        "host": address.netloc,
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(payload)),
        "x-request-id": request_id,
        "connection": "close",
        **(headers or {}),
    }
    head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in sent.items()) + "\r\n"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(head.encode() + payload)
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                answer.began = time.monotonic()
                began()
                began = lambda: None  # noqa: E731
                pairs = (line.split(":", 1) for line in lines[1:] if line)
                answer.headers = {name.lower(): value.strip() for name, value in pairs}
                answer.body = await _body(reader, answer.headers)
                answer.finished = time.monotonic()
                answer.status = int(lines[0].split(" ")[1])
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        answer.finished = time.monotonic()
        began()
    return answer


async def _body(reader, headers):
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(parts)
