"""Pairing two tokenizations: tokens a second, bytes of memory a token, and how both grow.

    python benchmarks/alignment.py --student SPEC --teacher SPEC --text FILE

`--text` is a text file or JSON lines with a column `text`. Specs are those of
`alm_lightning.load_tokenizer`. One process, one thread: set OMP_NUM_THREADS=1 and
TOKENIZERS_PARALLELISM=false for figures that mean something. The machine may be shared: of each
figure the best of many rounds is taken, and ratios within one run are what to compare.
"""

import argparse
import dataclasses
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from alm_lightning import align_text, load_tokenizer
from alm_lightning.alignment.aligned import AlignedText
from alm_lightning.alignment.boundaries import chunk_ids, closing_tokens, common_boundaries
from alm_lightning.corpus.document import Document
from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.collator import Collator
from alm_lightning.data.windows import NUM_EXTRA, Window, windows
from alm_lightning.tokenization.view import TokenizerView

ROWS, LENGTH = 16, 2048
GROWTH = (512, 2048, 8192, 32768)


class Remembered:
    """An encoder that knows the ids of its texts beforehand: tokenising is taken off."""

    def __init__(self, view: TokenizerView, texts: list[str]):
        self.encoder = view.encoder
        self.known = {text: view.encoder.ids(text, continued=False) for text in texts}

    def ids(self, text: str, *, continued: bool) -> np.ndarray:
        return self.known[text]

    def __getattr__(self, name: str):
        return getattr(self.encoder, name)


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the quickest of several rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def read(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8")
    if ".jsonl" in path.name:
        text = "\n\n".join(json.loads(line)["text"] for line in text.strip().split("\n"))
    return text


def rows_of(text: str, views: list[TokenizerView], length: int, count: int) -> list[str]:
    """Texts of which the longer side has about `length` tokens, one after another."""
    sample = text[:100_000]
    longest = max(len(view.encoder.ids(sample, continued=False)) for view in views)
    step = int(length * len(sample) / longest)
    while len(text) < step * count:
        text += text
    return [text[start * step : (start + 1) * step] for start in range(count)]


def alignment_bytes(batch: DistillBatch) -> int:
    """Memory of what the alignment adds to a batch: chunk ids, masks, accounts."""
    of_tokens = [t for side in (batch.student, batch.teacher) for t in (side.mask, side.chunk_ids)]
    of_rows = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    return sum(tensor.nbytes for tensor in of_tokens + of_rows)


def num_tokens(aligned: AlignedText) -> int:
    return len(aligned.student_ids) + len(aligned.teacher_ids)


def pairing(student: TokenizerView, teacher: TokenizerView, texts: list[str], rounds: int) -> tuple:
    """Tokens and seconds of pairing with tokenising taken off."""
    sides = [
        dataclasses.replace(view, encoder=Remembered(view, texts)) for view in (student, teacher)
    ]
    aligned = [align_text(text, student=sides[0], teacher=sides[1]) for text in texts]
    seconds = best(
        lambda: [align_text(text, student=sides[0], teacher=sides[1]) for text in texts], rounds
    )
    return sum(map(num_tokens, aligned)), seconds


def memory(student: TokenizerView, teacher: TokenizerView, texts: list[str]) -> int:
    """Bytes of the alignment of one batch of all texts."""
    (batch,) = Collator(student=student, teacher=teacher, micro_batch_size=len(texts))(
        [whole_window(text, student, teacher) for text in texts]
    )
    return alignment_bytes(batch)


def whole_window(text: str, student: TokenizerView, teacher: TokenizerView) -> Window:
    """A text as one window."""
    aligned = align_text(text, student=student, teacher=teacher)
    (window,) = windows(aligned, student_length=1_000_000, teacher_length=1_000_000, name="text")
    return window


def bare_mask(student: TokenizerView, teacher: TokenizerView, texts: list[str]) -> float:
    """Seconds of the intersection alone: ends are given, nothing is checked."""
    pairs = [(student.encode(t).ends, teacher.encode(t).ends, len(t.encode())) for t in texts]

    def work() -> None:
        for student_ends, teacher_ends, num_bytes in pairs:
            boundaries = common_boundaries(student_ends, teacher_ends, num_bytes)
            for ends in (student_ends, teacher_ends):
                chunk_ids(closing_tokens(ends, boundaries))

    return best(work, 50)


def collating(student: TokenizerView, teacher: TokenizerView, texts: list[str]) -> tuple:
    """Seconds from texts to a batch of tensors, and of tokenising both sides alone."""
    collator = Collator(student=student, teacher=teacher, micro_batch_size=len(texts))

    def whole() -> None:
        collator([whole_window(text, student, teacher) for text in texts])

    backends = [view.hf.backend_tokenizer for view in (student, teacher)]

    def tokenising() -> None:
        for backend in backends:
            backend.encode_batch_fast(texts, add_special_tokens=False)

    # alternating, for the machine may be shared
    seconds = [(best(whole, 1), best(tokenising, 1)) for _ in range(12)]
    wholes, alone = zip(*seconds, strict=True)
    return min(wholes), min(alone)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--text", required=True, type=Path)
    return parser


def main() -> None:
    args = _parser().parse_args()
    student, teacher = load_tokenizer(args.student), load_tokenizer(args.teacher)
    text = Document(read(args.text), name=str(args.text)).text
    texts = rows_of(text, [student, teacher], LENGTH, ROWS)
    tokens, seconds = pairing(student, teacher, texts, 60)
    bare = bare_mask(student, teacher, texts)
    whole, alone = collating(student, teacher, texts)
    print(f"{ROWS} rows of at most about {LENGTH - NUM_EXTRA} tokens a side, {tokens:,} tokens")
    print(f"pairing, tokenising taken off     {tokens / seconds / 1e6:8.1f} million tokens/s")
    print(f"byte mask and chunk ids alone     {tokens / bare / 1e6:8.1f} million tokens/s")
    print(f"tokenising both sides             {tokens / alone / 1e6:8.2f} million tokens/s")
    print(f"text to tensors / tokenising      {whole / alone:8.2f}")
    per_token = memory(student, teacher, texts) / tokens
    print(f"memory of a batch's alignment     {per_token:8.2f} bytes per token")
    print("\n| tokens a side | microseconds a row | ns per token | bytes per token |")
    print("|---|---|---|---|")
    for length in GROWTH:
        count = max(2, 32768 // length)
        texts = rows_of(text, [student, teacher], length, count)
        tokens, seconds = pairing(student, teacher, texts, 30)
        num_bytes = memory(student, teacher, texts)
        print(
            f"| {length:,} | {seconds / count * 1e6:,.0f} | {seconds / tokens * 1e9:.1f} | "
            f"{num_bytes / tokens:.2f} |"
        )


if __name__ == "__main__":
    main()
