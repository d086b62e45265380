"""The shortest start, `spin up --variable openai_api_key=…` and nothing else: a gateway to OpenAI, for this machine.

OpenAI is the mock behind TLS, with a certificate for OpenAI's name; the host is told to find that name there.
"""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import trustme
from openai import AuthenticationError, OpenAI
from support import servers

NAME = "api.openai.com"


@pytest.fixture
def openai_here(mock, tmp_path, monkeypatch):
    """The address where OpenAI is found, and the keys that it was shown."""
    authority, shown = trustme.CA(), []
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            shown.append((self.headers["host"], self.headers["authorization"]))
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = httpx.post(f"{mock.url}{self.path}", content=body, headers={"content-type": "application/json"})
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", shown
    server.shutdown()


def test_a_key_of_openais_is_all_it_takes(openai_here, tmp_path, unique):
    address, shown = openai_here
    variables = {"openai_api_key": "sk-of-the-test"}
    resolve = ["--resolve", f"{NAME}:443={address}"]
    host = servers.start_host(tmp_path, servers.ROOT / "spin.toml", variables, arguments=resolve)
    try:
        messages = [{"role": "user", "content": unique}]
        client = OpenAI(base_url=f"{host.url}/v1", api_key="tollgate-local", max_retries=0)
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        assert answer.choices[0].message.content and answer.usage.completion_tokens > 0
        chunks = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert shown == [(NAME, "Bearer sk-of-the-test")] * 2
        with pytest.raises(AuthenticationError):
            client.with_options(api_key="sk-of-the-test").chat.completions.create(model="gpt-4o", messages=messages)
        assert len(shown) == 2, "a provider's key is no key of the gateway"
    finally:
        host.stop()
