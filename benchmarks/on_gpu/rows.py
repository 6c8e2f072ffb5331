"""Lines of the table of `benchmarks/gpu.py`: what was measured, expected, and measured before."""

import dataclasses
from dataclasses import dataclass

TITLES = ["part", "what", "measured", "expected", "before (H200)"]

BEFORE = {
    ("loss", "matrix product, bf16 (TFLOP/s)"): 790,
    ("loss", "copy (TB/s)"): 4.3,
    ("loss", "bf16, forward, ours (ms)"): 39,
    ("loss", "bf16, forward, ours (extra MiB)"): 170,
    ("loss", "bf16, forward, chunked (ms)"): 27,
    ("loss", "bf16, forward, chunked (extra MiB)"): 5120,
    ("loss", "bf16, forward + backward, ours (ms)"): 498,
    ("loss", "bf16, forward + backward, ours (extra MiB)"): 1646,
    ("loss", "bf16, forward + backward, chunked (ms)"): 69,
    ("loss", "bf16, forward + backward, chunked (extra MiB)"): 8356,
    ("loss", "float32, forward, ours (ms)"): 220,
    ("loss", "float32, forward, ours (extra MiB)"): 210,
    ("loss", "float32, forward, chunked (ms)"): 31,
    ("loss", "float32, forward, chunked (extra MiB)"): 5120,
    ("loss", "float32, forward + backward, ours (ms)"): 853,
    ("loss", "float32, forward + backward, ours (extra MiB)"): 2658,
    ("loss", "float32, forward + backward, chunked (ms)"): 82,
    ("loss", "float32, forward + backward, chunked (extra MiB)"): 10705,
    ("bytes", "a step (s)"): 5.7,
    ("bytes", "student's tokens a second"): 55_600 / 5.7,
    ("bytes", "share of the matrix-product rate"): 0.17,
    ("bytes", "peak memory (GiB)"): 104,
    # with a teacher of its own size, and not of 8B
    ("maths", "a step (s)"): 23,
    ("maths", "share of the matrix-product rate"): 0.06,
}
"""What was measured on an H200 before this script was there, by part and line."""


@dataclass
class Row:
    """One line: a figure, or the error that took its place."""

    part: str
    what: str
    measured: float | str | None = None
    expected: float | None = None
    error: str | None = None

    @property
    def before(self) -> float | None:
        return BEFORE.get((self.part, self.what))

    def cells(self) -> list[str]:
        measured = figure(self.measured) if self.error is None else f"ERROR: {self.error}"
        return [self.part, self.what, measured, figure(self.expected), figure(self.before)]


def figure(value: float | str | None) -> str:
    """A number with three digits that count, or more where it is large."""
    if value is None or isinstance(value, str):
        return (value or "").replace("|", "/")
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def table(rows: list[Row], *, quick: bool = False) -> str:
    """All lines, in Markdown. Of tiny models, nothing to compare with."""
    titles = TITLES[:3] if quick else TITLES
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [f"| {' | '.join(row.cells()[: len(titles)])} |" for row in rows]
    return "\n".join(lines)


def one_line(error: BaseException) -> str:
    """An error's kind and the beginning of what it says, as a cell can have it."""
    said = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {said[:300]}"


def as_json(rows: list[Row]) -> list[dict]:
    return [{**dataclasses.asdict(row), "before": row.before} for row in rows]
