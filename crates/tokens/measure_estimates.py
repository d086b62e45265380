"""Counts tests/corpus with every tokenizer, writes the counts, prints how far o200k_base times a factor is off."""

import json
import pathlib
import subprocess
import sys

import gguf
import mistral_common
import numpy
import sentencepiece
import tiktoken
import tokenizers
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import sentencepiece_model_pb2

work = pathlib.Path(sys.argv[1])
corpus = pathlib.Path("tests/corpus")
texts = {path.stem: path.read_text() for path in sorted(corpus.glob("*.txt"))}

NODE = """
import { createRequire } from 'module';
import { readFileSync } from 'fs';
const require = createRequire(process.argv[1] + '/');
const texts = JSON.parse(readFileSync(0, 'utf8'));
const claude = require('@anthropic-ai/tokenizer');
const { default: llama3 } = await import(process.argv[1] + '/node_modules/llama3-tokenizer-js/bundle/llama3-tokenizer-with-baked-data.js');
const { default: llama2 } = await import(process.argv[1] + '/node_modules/llama-tokenizer-js/llama-tokenizer.js');
const each = (count) => Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, count(text)]));
console.log(JSON.stringify({
  'claude-2': each((text) => claude.countTokens(text)),
  'llama-3': each((text) => llama3.encode(text, { bos: false, eos: false }).length),
  'llama-2': each((text) => llama2.encode(text, false, false).length),
}));
"""
(work / "count.mjs").write_text(NODE)
node = subprocess.run(
    ["node", "--input-type=module", "-e", NODE, str(work)], input=json.dumps(texts), capture_output=True, text=True, check=True
)
counts = json.loads(node.stdout)


def count(name, encode):
    counts[name] = {file: len(encode(text)) for file, text in texts.items()}


for name in ("o200k_base", "cl100k_base"):
    count(name, tiktoken.get_encoding(name).encode_ordinary)
data = pathlib.Path(mistral_common.__file__).parent / "data"
tekken = Tekkenizer.from_file(data / "tekken_240911.json")
count("mistral-tekken", lambda text: tekken.encode(text, bos=False, eos=False))
v3 = sentencepiece.SentencePieceProcessor(model_file=str(data / "mistral_instruct_tokenizer_240323.model.v3"))
count("mistral-v3", v3.encode)
for name, package in (("gemma", "gemma"), ("qwen-2.5", "qwen2_5")):
    tokenizer = tokenizers.Tokenizer.from_file(str(work / f"node_modules/@lenml/tokenizer-{package}/models/tokenizer.json"))
    count(name, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)


def phi_3():
    """Phi 3's tokenizer, made of its vocabulary without what stands behind the first 32,000: special tokens."""
    fields = gguf.GGUFReader(work / "ggml-vocab-phi-3.gguf").fields
    columns = [fields[f"tokenizer.ggml.{name}"].contents()[:32_000] for name in ("tokens", "scores", "token_type")]
    model = sentencepiece_model_pb2.ModelProto()
    model.trainer_spec.model_type = model.trainer_spec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    # As Llama 2's is asked above: no space before the text.
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    for piece, score, kind in zip(*columns):
        # The file has the unknown token for a control token, of which sentencepiece wants to know.
        model.pieces.add(piece=piece, score=score, type=model.SentencePiece.UNKNOWN if piece == "<unk>" else kind)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


# It is Llama 2's, and so none more for the means below.
count("phi-3", phi_3().encode)
assert counts.pop("phi-3") == counts["llama-2"], "Phi 3 has another vocabulary than Llama 2"

counts["utf8_bytes"] = {name: len(text.encode()) for name, text in texts.items()}
(corpus / "counts.json").write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")

print(f"{'':16}{'whole':>7}  tokens as a share of o200k_base's, by text")
print(f"{'':25}" + "".join(f"{name[:8]:>9}" for name in texts))
base = counts["o200k_base"]
for name, row in counts.items():
    whole = sum(row.values()) / sum(base.values())
    print(f"{name:16}{whole:7.3f}  " + "".join(f"{row[text] / base[text]:9.2f}" for text in texts))

# The factors of src/model.rs: the least squares of the relative errors over all texts; and the errors on each text of the
# factors that the ten others give.
FITS = {
    "claude-2": ("cl100k_base", False),
    "gemma": ("o200k_base", True),
    "llama-3": ("o200k_base", False),
    "mistral-tekken": ("o200k_base", True),
    "mistral-v3": ("cl100k_base", True),
    "llama-2": ("cl100k_base", True),
    "qwen-2.5": ("o200k_base", True),
}
digits = {name: sum(c in "0123456789" for c in text) for name, text in texts.items()}


def fit(rows):
    return numpy.linalg.lstsq(rows, numpy.ones(len(rows)), rcond=None)[0]


print("\nfitted: for a token, for a digit; errors on texts left out: mean, from, to")
for name, (encoding, by_digit) in FITS.items():
    features = [[counts[encoding][text], digits[text]][: 1 + by_digit] for text in texts]
    rows = numpy.array(features) / numpy.array([[counts[name][text]] for text in texts])
    left_out = [rows[i] @ fit(numpy.delete(rows, i, 0)) - 1 for i in range(len(rows))]
    mean = sum(map(abs, left_out)) / len(left_out)
    factors = ", ".join(f"{factor:.2f}" for factor in fit(rows))
    print(f"{name:16}{encoding:12} {factors:12} {mean:6.2f} {min(left_out):+.2f} {max(left_out):+.2f}")

# The worths of src/estimate.rs, by kind of character, fitted in the same way to the mean of all tokenizers.


def kinds(text):
    size = [len(c.encode()) for c in text]
    letters = sum(c.isascii() and (c.isalpha() or c <= " ") for c in text)
    return [letters, size.count(1) - letters, size.count(2), size.count(3) + 3 * size.count(4)]


mean = {file: numpy.mean([row[file] for name, row in counts.items() if name != "utf8_bytes"]) for file in texts}
rows = numpy.array([kinds(text) for text in texts.values()]) / numpy.array([[mean[file]] for file in texts])
left_out = [rows[i] @ fit(numpy.delete(rows, i, 0)) - 1 for i in range(len(rows))]
fitted = rows @ fit(rows) - 1
print("\nby characters: for a letter, another of ASCII, one of two bytes, one of three; errors: mean, from, to; left out: mean")
print(", ".join(f"{worth:.2f}" for worth in fit(rows)), end="")
print(f" {abs(fitted).mean():.2f} {fitted.min():+.2f} {fitted.max():+.2f} {numpy.abs(left_out).mean():.2f}")
