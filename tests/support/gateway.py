"""The whole app with a mock provider behind it, as the end-to-end tests see it."""

import hashlib
import time

import httpx

from . import servers

ADMIN_TOKEN = "test-admin-token"
KEY = "test-key"
OTHER_KEY = "other-team-key"
SMALL_KEY = "small-limit-key"

DOCUMENT = """
# Failures on purpose, one after another: a breaker would have tests fail each other. Those about breakers turn it on.
[defaults.breaker]
enabled = false

[[backends]]
id = "mock"
base_url = "{mock}/v1"
api_key = {{ secret = "mock" }}

[[backends]]
id = "dead"
base_url = "http://127.0.0.1:{dead_port}/v1"

[[models]]
name = "gpt-4o-mini"
[[models.deployments]]
backend = "mock"
model = "gpt-4o-mini-2024-07-18"

[[models]]
name = "failover"
[[models.deployments]]
backend = "dead"
priority = 0
[[models.deployments]]
backend = "mock"
model = "mock+status=503"
priority = 1
[[models.deployments]]
backend = "mock"
model = "mock"
priority = 2

[[models]]
name = "unreachable"
[[models.deployments]]
backend = "dead"

[[models]]
name = "impatient"
[models.timeouts]
first_byte_ms = 300
idle_ms = 300
[[models.deployments]]
backend = "mock"
model = "mock+silence"

[[models]]
name = "impatient-stream"
[models.timeouts]
idle_ms = 300
[[models.deployments]]
backend = "mock"
model = "mock+stall=3"

[[models]]
name = "impatient-first"
[models.timeouts]
idle_ms = 300
[[models.deployments]]
backend = "mock"
model = "mock+stall=0"

[[models]]
name = "runaway"
response_bytes = 1_000_000
[[models.deployments]]
backend = "mock"
model = "mock+runaway"

[[models]]
name = "buffered"
buffer = true
[[models.deployments]]
backend = "mock"
model = "mock+cut=3"
priority = 0
[[models.deployments]]
backend = "mock"
model = "mock"
priority = 1

[[models]]
name = "quiet"
keepalive_ms = 200
[[models.deployments]]
backend = "mock"
model = "mock+tokens=2+gap=2s"

[[models]]
name = "*"
[[models.deployments]]
backend = "mock"

[[consumers]]
id = "tester"
team = "tests"
app = "suite"
keys_sha256 = ["{key}"]

[[consumers]]
id = "other"
team = "others"
keys_sha256 = ["{other_key}"]
models = ["gpt-4o-mini"]

[[consumers]]
id = "small"
team = "small"
keys_sha256 = ["{small_key}"]

[[limits]]
name = "tokens"
counter_key = ["team"]
tokens_per_minute = {tokens_per_minute}

[pricing."gpt-4o-mini"]
prompt_usd_per_million = 1
completion_usd_per_million = 2
"""

PROVIDER_KEY = "mock-provider-secret"
SECRETS = f'mock = "{PROVIDER_KEY}"\n'


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


class Gateway:
    """A running app; `url` is what a client would be pointed at. `more` is added to the document."""

    def __init__(
        self,
        folder,
        mock,
        tokens_per_minute=1_000_000,
        document=None,
        more="",
        runtime_config=None,
        state=None,
        manifest=None,
        variables=None,
        arguments=(),
    ):
        self.mock = mock
        self.folder = folder
        document = document or DOCUMENT.format(
            mock=mock.url,
            dead_port=servers.DEAD_PORT,
            key=digest(KEY),
            other_key=digest(OTHER_KEY),
            small_key=digest(SMALL_KEY),
            tokens_per_minute=tokens_per_minute,
        )
        variables = {
            "gateway": document + more,
            "secrets": SECRETS,
            "admin_token": ADMIN_TOKEN,
            "http_backend_1": mock.url,
            "http_backend_2": f"http://127.0.0.1:{servers.DEAD_PORT}",
            **(variables or {}),
        }
        self.server = servers.start_host(
            folder, manifest or servers.ROOT / "spin.toml", variables, runtime_config, state, arguments
        )
        self.url = self.server.url
        self.http = httpx.Client(base_url=self.url, timeout=60, headers={"authorization": f"Bearer {KEY}"})
        self.admin = httpx.Client(
            base_url=self.url, timeout=60, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )

    def stop(self):
        self.http.close()
        self.admin.close()
        self.server.stop()

    def chat(self, model="mock", text="Hello", headers=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def stream(self, model="mock", text="Hello", headers=None, **fields):
        """The whole body of a streamed answer, and its response."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
        with self.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            return response, response.read().decode()

    def record(self, request_id, within=60):
        """The usage record of a request, once it is written."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            answer = self.admin.get("/admin/requests", params={"limit": 1000})
            assert answer.status_code == 200, answer.text
            for record in answer.json()["requests"]:
                if record["request_id"] == request_id:
                    return record
            time.sleep(0.05)
        raise AssertionError(f"no usage record of {request_id} within {within} s")

    def record_of(self, response):
        return self.record(response.headers["x-request-id"])

    def received(self, request_id_or_text):
        """What the provider received with this text in its body, in order."""
        log = self.http.get(f"{self.mock.url}/mock/log").json()
        return [entry for entry in log if request_id_or_text in str(entry["body"])]
