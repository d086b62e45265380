"""Each component alone, against its contract: one data file per case, run on the built wasm.

A case (`<component>/<case>.toml`):

    name = "a sentence"
    variables = { gateway = '''…''' }          # optional
    [[before]]                                  # optional requests first; each a request, with an optional
    method = "POST"                             #   status = 204 that must hold, and
    capture = { key = "header:x-name" }         #   captures, used later as {{key}}
    [request]
    method = "POST"
    path = "/reserve"
    headers = { name = "value" }                # a list gives the header several times
    body = '''…'''
    [response]
    status = 204
    headers = { name = "value", other = "regex:/^\\d+$/", absent = "none" }
    json = '''…'''                              # every given field must match; "*" matches anything
    body = '''…'''                              # the exact text
    body_contains = "…"                         # or several
"""

import json
import re
import tomllib
from pathlib import Path

import httpx
import pytest
from support import servers

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.toml"))
COMPONENTS = sorted({case.parent.name for case in CASES})

MANIFEST = """
spin_manifest_version = 2
[application]
name = "contract"
version = "0.0.0"
[variables]
{declared}
[[trigger.http]]
route = "/..."
component = "{component}"
[component.{component}]
source = "{wasm}"
key_value_stores = [{key_value}]
sqlite_databases = [{sqlite}]
[component.{component}.variables]
{given}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Starts the component once for each set of variables; the cases of one component share nothing else."""
    running = {}

    def start(component, variables, case):
        # A case that needs something to have happened before gets an instance and stores of its own.
        key = (component, json.dumps(variables, sort_keys=True), case)
        if key not in running:
            folder = tmp_path_factory.mktemp(component)
            if component == "router":  # it is nothing without the others
                running[key] = servers.start_host(folder, servers.ROOT / "spin.toml", variables)
                return running[key].url
            manifest = folder / "spin.toml"
            defaults = {"gateway": "", "secrets": "", "openai_api_key": "", "admin_token": ""}
            manifest.write_text(
                MANIFEST.format(
                    component=component,
                    wasm=servers.built(servers.WASM / f"{component.replace('-', '_')}.wasm"),
                    declared="\n".join(f'{name} = {{ default = "" }}' for name in defaults),
                    given="\n".join(f'{name} = "{{{{ {name} }}}}"' for name in defaults),
                    key_value='"default"' if component in ("token-limiter", "semantic-cache") else "",
                    sqlite='"default"' if component == "usage-logger" else "",
                )
            )
            running[key] = servers.start_host(folder, manifest, variables)
        return running[key].url

    yield start
    for server in running.values():
        server.stop()


def test_every_component_has_cases():
    assert {"token-limiter", "semantic-cache", "usage-logger", "router"} <= set(COMPONENTS)


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_case(path, run):
    case = tomllib.loads(path.read_text())
    known = {"name", "variables", "before", "request", "response"}
    assert set(case) <= known, f"unknown keys {set(case) - known}"
    url = run(path.parent.name, case.get("variables", {}), path.name if "before" in case else None)
    captured = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for before in case.get("before", []):
            response = send(client, before, captured)
            if "status" in before:
                assert response.status_code == before["status"], response.text
            for name, source in before.get("capture", {}).items():
                captured[name] = response.headers[source.removeprefix("header:")]
        response = send(client, case["request"], captured)
    check(case["response"], response, case["name"])


def send(client, request, captured):
    def fill(text):
        return re.sub(r"\{\{(\w+)\}\}", lambda m: captured[m[1]], text)

    headers = []
    for name, value in request.get("headers", {}).items():
        headers += [(name, fill(v)) for v in (value if isinstance(value, list) else [value])]
    body = fill(request["body"]).encode() if "body" in request else None
    return client.request(request.get("method", "GET"), fill(request["path"]), headers=headers, content=body)


def check(expected, response, name):
    told = f"{name}\n{response.status_code} {dict(response.headers)}\n{response.text}"
    assert response.status_code == expected["status"], told
    for header, value in expected.get("headers", {}).items():
        got = response.headers.get(header)
        if value == "none":
            assert got is None, f"{header}\n{told}"
        elif value.startswith("regex:/"):
            assert got and re.search(value[len("regex:/") : -1], got), f"{header}\n{told}"
        else:
            assert got == value, f"{header}\n{told}"
    if "json" in expected:
        difference = subset(json.loads(expected["json"]), response.json(), "$")
        assert not difference, f"{difference}\n{told}"
    if "body" in expected:
        assert response.text == expected["body"], told
    contains = expected.get("body_contains", [])
    for part in [contains] if isinstance(contains, str) else contains:
        assert part in response.text, f"lacks {part!r}\n{told}"


def subset(expected, got, where):
    """Where `got` lacks something of `expected`, or ''."""
    if expected == "*":
        return ""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            if key not in got:
                return f"{where}.{key} is missing"
            if difference := subset(value, got[key], f"{where}.{key}"):
                return difference
        return ""
    if isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            return f"{where} has {len(got)} elements, not {len(expected)}"
        differences = (subset(e, g, f"{where}[{i}]") for i, (e, g) in enumerate(zip(expected, got)))
        return next((d for d in differences if d), "")
    return "" if expected == got and type(expected) is type(got) else f"{where} is {got!r}, not {expected!r}"
