"""Every ordered pair of real tokenizers over real text: chunks equal those of brute force.

The reference knows nothing of byte masks: it compares prefixes. A prefix of the tokens and a prefix
of the text belong together if the first spells the normalised second, and the text can be cut there
(the normalised parts make up the normalised whole).
"""

import dataclasses
import gzip
import itertools
import json
import os
import sysconfig
import time
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from tests.real_tokenizers import NAMES, real_view

from alm_lightning import align_text

pytestmark = pytest.mark.slow

SPECIALS = "<bos>hello<eos> and <s>x</s>"
INPUTS = [
    "",
    " ",
    "  ",
    "\t ",
    " hello world",
    "\n  starts with newline and spaces",
    "a b\nc d e",
    "user name is here",
    SPECIALS,
    "one<|endoftext|>two",
    "<|im_start|>user\nhi<|im_end|>",
    "[INST] x [/INST]<|begin_of_text|><|eot_id|>\n\nHuman: y",
    "a\u2581b \u2581\u2581c",
    "cafe\u0301 and \u1112\u1161\u11ab\u1100\u1173\u11af",
    "e\u0323\u0302 q\u0307\u0323 a\u0334\u0301 x",
    "\uff21\uff22\uff23 \ufb01ne \u2460\u2461 x\u00b2 \u00bd \u3392 \ufdfa",
    "👩\u200d👩\u200d👧\u200d👦 👍🏽 🇩🇪🇫🇷 🏳\ufe0f\u200d🌈",
    "\U00020000\U0002a6d6\U0001f9d1\u200d\U0001f680",
    "नमस्ते ไทย ᄒ שלום مرحبا",
    "\x00\x07\x7f\u0085\u00a0\u2028\ufeff\u200b",
    "\U0010ffff \ue000 \u0378 \ufffd",
    "1234567 1,000.50 0x1F -12",
    "tabs\t\tand\r\nline ends\r",
    "<0x41> is not A",
]
NORMALIZED = {
    "qwen2_5": lambda text: unicodedata.normalize("NFC", text),
    "qwen3_5": lambda text: unicodedata.normalize("NFC", text),
    "claude": lambda text: unicodedata.normalize("NFKC", text),
    "gemma3": lambda text: text.replace("\u2581", " "),
    "mistral_v3": lambda text: text.replace("\u2581", " "),
}
"""What the tokenizers do to a text before they cut it; the others leave it as it is."""

SHARE = int(os.environ.get("ALM_LIGHTNING_PAIRS_STEP", "40"))
"""Every so manieth text of the corpora; 1 for all of them, which takes minutes."""


@cache
def corpora() -> dict[str, list[str]]:
    """The texts, by where they are from."""
    found = {"inputs": INPUTS}
    stdlib = Path(sysconfig.get_path("stdlib"))
    sources = sorted(stdlib.glob("*.py"), key=lambda file: file.stat().st_size)
    # of middling size, and not the same twenty on every version: any will do
    found["python"] = [f.read_text("utf-8") for f in sources[60:80]]
    if folder := os.environ.get("ALM_LIGHTNING_DATA"):
        data = Path(folder)
        # not splitlines, which takes U+2028 within a text for the end of one
        lines = (data / "multilingual.jsonl").read_text("utf-8").strip().split("\n")
        found["multilingual"] = [json.loads(line)["text"] for line in lines]
        with gzip.open(data / "prose_en.jsonl.gz", "rt", encoding="utf-8") as prose:
            found["prose"] = [json.loads(line)["text"] for line in itertools.islice(prose, 300)]
        with (data / "gsm8k_train.jsonl").open(encoding="utf-8") as problems:
            rows = map(json.loads, itertools.islice(problems, 300))
            found["gsm8k"] = [f"{row['question']}\n{row['answer']}" for row in rows]
    return {name: texts if name == "inputs" else texts[::SHARE] for name, texts in found.items()}


class Remembered:
    """An encoder that tokenizes each text once, however many pairs it is part of."""

    def __init__(self, encoder):
        self.encoder, self.known = encoder, {}

    def ids(self, text, *, continued):
        if text not in self.known:
            self.known[text] = self.encoder.ids(text, continued=continued)
        return self.known[text]

    def __getattr__(self, name):
        return getattr(self.encoder, name)


@cache
def view_of_name(name):
    view = real_view(name)
    return dataclasses.replace(view, encoder=Remembered(view.encoder))


@cache
def reference_ends(name: str, text: str) -> dict[int, int]:
    """Byte prefixes of the text that token prefixes spell, and how many tokens they take."""
    view = view_of_name(name)
    normal = NORMALIZED.get(name, str)
    surfaces = [view.token_bytes[index] for index in view.encoder.ids(text, continued=False)]
    whole, spelled = normal(text), b"".join(surfaces)
    dummy = spelled[: len(spelled) - len(whole.encode())]
    assert dummy in (b"", b" ")
    assert spelled == dummy + whole.encode()
    # every byte position of the text at which it can be cut, and what is spelled up to there
    prefixes = {}
    place = 0
    for index, character in enumerate(text):
        encoded = character.encode()
        before, after = normal(text[:index]), normal(text[: index + 1])
        if whole == text or before + normal(text[index:]) == whole:
            at = len(dummy + before.encode())
            prefixes[at] = place
            # a character that stays as it is can be cut between its bytes
            if after == before + character and after + normal(text[index + 1 :]) == whole:
                prefixes |= {at + step: place + step for step in range(1, len(encoded))}
        place += len(encoded)
    prefixes[len(spelled)] = place
    found, length = {}, 0
    for count, surface in enumerate(surfaces, start=1):
        length += len(surface)
        if length in prefixes and prefixes[length] > 0:
            found[prefixes[length]] = count
    return found


def reference_chunks(student: str, teacher: str, text: str) -> list[tuple[int, int, int, int]]:
    student_ends, teacher_ends = reference_ends(student, text), reference_ends(teacher, text)
    common = sorted(student_ends.keys() & teacher_ends.keys())
    points = [(0, 0), *((student_ends[end], teacher_ends[end]) for end in common)]
    return [(s0, s1, t0, t1) for (s0, t0), (s1, t1) in itertools.pairwise(points)]


@pytest.mark.parametrize("student", NAMES)
def test_chunks_equal_brute_force(student):
    rows = []
    for teacher in NAMES:
        if teacher == student:
            continue
        texts = [text for found in corpora().values() for text in found]
        tokens = [0, 0]
        chunks = covered = total = 0
        seconds = 0.0
        for text in texts:
            start = time.perf_counter()
            aligned = align_text(text, student=view_of_name(student), teacher=view_of_name(teacher))
            seconds += time.perf_counter() - start
            assert aligned.chunks == reference_chunks(student, teacher, text), text
            assert aligned.coverage == 1.0
            spelled = b"".join(map(aligned.chunk_bytes, range(aligned.num_chunks)))
            assert spelled == text.encode()
            assert sum(aligned.outside_bytes.values()) == 0
            changes = any(NORMALIZED.get(n, str)(text) != text for n in (student, teacher))
            assert (aligned.rewritten_bytes > 0) == changes
            chunks += aligned.num_chunks
            tokens[0] += len(aligned.student_ids)
            tokens[1] += len(aligned.teacher_ids)
            covered += sum(len(aligned.chunk_bytes(i)) for i in range(aligned.num_chunks))
            total += len(text.encode())
        rows.append(
            f"| {student} < {teacher} | {len(texts)} | {chunks} | {tokens[0] / chunks:.2f} | "
            f"{tokens[1] / chunks:.2f} | {covered / total:.4f} | {seconds:.1f} |"
        )
    if table := os.environ.get("ALM_LIGHTNING_PAIRS_TABLE"):
        with Path(table).open("a", encoding="utf-8") as file:
            file.write("\n".join(rows) + "\n")
