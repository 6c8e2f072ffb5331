"""Tokenizer files, read here and by the libraries that they were written for.

`pip install tiktoken sentencepiece` brings those; the project itself does without them.
"""

import base64
import json
import sysconfig
import unicodedata
from pathlib import Path

import pytest
from tests.real_tokenizers import real_view, tokenizer_file

from alm_lightning.tokenization.files.patterns import PATTERNS

pytestmark = pytest.mark.slow

AWKWARD = [
    *("", " ", "  ", "\t ", "\n\n   x", " hello world", "a\u2581b \u2581\u2581c", "\u2581a"),
    *(
        "cafe\u0301 \u1112\u1161\u11ab",
        "\uff21\uff22 \ufb01 \u2460x\u00b2\u00bd",
        "user name is here",
    ),
    *(
        "👩\u200d👩\u200d👧 👍🏽 🇩🇪",
        "\U00020000\U0002a6d6",
        "नमस्ते สวัสดี שלום مرحبا",
        "I'M it'S '\u017f",
    ),
    *(
        "<bos>hello<eos> and <s>x</s>",
        "one<|endoftext|>two",
        "<0x41>",
        "\u00a0\u3000\x85\u2028\x1c",
    ),
    *(
        "123456 \u0661\u0662\u0663 \u2177 12,345.67",
        " " * 150 + "x",
        "\r\n \r\n\tx",
        "HTTPServer/getURL",
    ),
]


def texts() -> list[str]:
    """Awkward ones, and source files of Python itself."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(folder.glob("*.py"))[:20]
    return AWKWARD + [file.read_text(encoding="utf-8", errors="replace") for file in files]


@pytest.mark.parametrize(
    ("name", "pattern", "form"),
    [
        ("gpt2", "gpt2", None),
        ("qwen2_5", "qwen2", "NFC"),
        ("qwen3_5", "qwen3_5", "NFC"),
        ("llama3", "llama3", None),
        ("tekken", "tekken", None),
    ],
)
def test_ids_are_those_of_tiktoken(name, pattern, form):
    tiktoken = pytest.importorskip("tiktoken")
    raw, first = tokenizer_file(name).read_bytes(), 0
    if name == "tekken":
        entries, first = json.loads(raw)["vocab"][:130_072], 1000
        ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in entries}
        assert json.loads(raw)["config"]["pattern"] == PATTERNS["tekken"]
    else:
        lines = (line.split() for line in raw.splitlines() if line)
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    expected = tiktoken.Encoding(
        name, pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={}
    )
    view = real_view(name)
    for text in texts():
        normal = unicodedata.normalize(form, text) if form else text
        ids = [first + rank for rank in expected.encode_ordinary(normal)]
        assert view.encode(text).ids.tolist() == ids, text[:80]


def test_ids_are_those_of_sentencepiece():
    sentencepiece = pytest.importorskip("sentencepiece")
    expected = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file("mistral_v3")))
    view = real_view("mistral_v3")
    for text in texts():
        assert view.encode(text).ids.tolist() == expected.encode(text), text[:80]


def test_smollm2_takes_digits_one_by_one():
    view = real_view("smollm2")
    tokens = [view.token_bytes[index] for index in view.encode("in 2024").ids]
    assert tokens == [b"in", b" ", b"2", b"0", b"2", b"4"]
