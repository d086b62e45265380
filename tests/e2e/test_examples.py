"""Each document in `examples/` runs, with the mock in the place of its providers, and answers every model of every consumer."""

import re
import tomllib

import pytest
from support.gateway import digest
from support.servers import ROOT

SECRETS = (ROOT / "examples/secrets.example.toml").read_text()
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.toml") if path.name != "secrets.example.toml")


def consumers(text):
    """The consumers of a document, each with the key that its comment tells."""
    keys = re.findall(r'"([0-9a-f]{64})"\] # (\S+)$', text, re.M)
    assert all(digest(key) == sha256 for sha256, key in keys), keys
    by_digest = dict(keys)
    for consumer in tomllib.loads(text)["consumers"]:
        yield by_digest[consumer["keys_sha256"][0]], consumer.get("models")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_answers_every_model_that_a_consumer_may_use(new_gateway, mock, path, unique):
    text = path.read_text()
    elsewhere, backends = re.subn(r'base_url = "[^"]+"', f'base_url = "{mock.url}/v1"', text)
    assert backends
    gateway = new_gateway(document=elsewhere, variables={"secrets": SECRETS})
    asked = 0
    for key, models in consumers(text):
        for model in tomllib.loads(text)["models"]:
            for name in [model["name"], *model.get("aliases", [])]:
                if models is None or name in models:
                    name = "any-model-at-all" if name == "*" else name
                    answer = gateway.chat(name, f"{unique} {key}", headers={"authorization": f"Bearer {key}"})
                    assert answer.status_code == 200, (name, key, answer.text)
                    assert answer.json()["choices"][0]["message"]["content"]
                    asked += 1
    assert asked
