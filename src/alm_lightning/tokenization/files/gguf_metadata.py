"""The head of a GGUF file: its keys and values, and shapes of tensors, without a weight.

The gguf package has a reader too, which makes an array object of every string: many seconds for
Gemma's 262,144 tokens.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import contextlib
import math
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
"""Types of numbers, as `struct` calls them."""
ALIGNMENT = 32
"""Of tensors, where a file does not say: bytes."""
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 6: (32, 22), 8: (32, 34), 30: (1, 2)}
"""Elements and bytes of a block of some types of tensors: F32, F16, Q4_0, Q5_0, Q8_0, BF16."""


def read_metadata(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Keys and values of a GGUF file, those that are wanted: numbers, truth values, texts, lists.

    A ValueError if it is not a GGUF file, of a version that is not known, or damaged.
    """
    with _opened(path) as head:
        _, count = head.number("Q"), head.number("Q")
        return {key: value for key, value in head.items(count) if wanted(key)}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a GGUF file, rows first, as torch has them.

    A ValueError if it is not a GGUF file, of a version that is not known, damaged, or ends before
    its tensors do.
    """
    with _opened(path) as head:
        num_tensors, count = head.number("Q"), head.number("Q")
        alignment = dict(head.items(count)).get("general.alignment", ALIGNMENT)
        shapes, end = {}, 0
        for _ in range(num_tensors):
            name = head.text()
            # the fastest axis first
            shapes[name] = head.numbers("Q", head.number("I"))[::-1]
            elements, size = BLOCKS.get(head.number("I"), (1, 0))
            end = max(end, head.number("Q") + math.prod(shapes[name]) // elements * size)
        # tensors begin at a multiple of the alignment
        end += -head.place % alignment + head.place
        if num_tensors and head.size < end:
            raise ValueError(f"its tensors take {end:,} bytes, and it has {head.size:,}")
        return shapes


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["_Head"]:
    """The head behind its version; what is wrong with it is an error that names the file."""
    if not path.stat().st_size:
        raise ValueError(f"{path} is not a GGUF file: it is empty.")
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if view[:4] != MAGIC:
            raise ValueError(
                f"{path} is not a GGUF file: it starts with {view[:4]!r}, not {MAGIC!r}."
            )
        head = _Head(view)
        try:
            if head.number("I") not in VERSIONS:
                raise ValueError(f"its version is none of {VERSIONS} (little-endian)")
            yield head
        except (struct.error, ValueError, KeyError, OverflowError) as error:
            raise ValueError(
                f"{path} can't be read as GGUF, at byte {head.place}: {error}. The file is damaged "
                "or was cut off: fetch it again."
            ) from error


class _Head:
    """Values of a GGUF file, one after another."""

    def __init__(self, view: mmap.mmap):
        self._view, self.size = view, len(view)
        self.place = len(MAGIC)

    def number(self, code: str) -> Any:
        (value,) = self.numbers(code, 1)
        return value

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{code}")
        values = layout.unpack_from(self._view, self.place)
        self.place += layout.size
        return values

    def text(self) -> str:
        length = self.number("Q")
        raw = self._view[self.place : self.place + length]
        if len(raw) < length:
            raise ValueError(f"a text of {length} bytes ends after {len(raw)}")
        self.place += length
        return raw.decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        kind, count = self.number("I"), self.number("Q")
        if kind in NUMBERS:
            return list(self.numbers(NUMBERS[kind], count))
        return [self.value(kind) for _ in range(count)]

    def items(self, count: int) -> Iterator[tuple[str, Any]]:
        for _ in range(count):
            key = self.text()
            yield key, self.value(self.number("I"))
