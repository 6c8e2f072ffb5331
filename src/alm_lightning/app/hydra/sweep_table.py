"""The table of a sweep: a row for each of its runs, with the error of those that failed."""

import json
import math
import pickle
import re
import traceback
from pathlib import Path

from filelock import FileLock
from hydra.core.utils import JobReturn

from alm_lightning.app.errors import UserError
from alm_lightning.app.evaluate.table import grid
from alm_lightning.app.hydra.pruning import PRUNED
from alm_lightning.app.hydra.search_mode import MARK, TRIAL
from alm_lightning.evaluation.sweep import write_sweep_page

COLUMNS = {
    "bits_per_byte.teacher": "bpb teacher",
    "bits_per_byte.student_before": "bpb before",
    "bits_per_byte.student_after": "bpb after",
    "bits_per_byte_other.student_after": "bpb after, other domain",
    "chunk_difference.after": "chunk difference (nats)",
    "chunk_difference.after_other": "chunk difference, other domain",
    "seconds.per_step": "s a step",
}


TEXTS = ("overrides", "failed")
MOST_OF_AN_ERROR = 300
"""The most characters of an error in a table; the run's folder has all."""
LONG_NUMBER = re.compile(r"(?<==)\d*\.\d{6,}(?:e[+-]?\d+)?(?=,|$)")
"""A value of an override that a sampler drew: sweep.json has all its digits, a table four."""
FAILURE = "failure.json"
"""The file with the error, in the folder of a run that failed."""


def write_failure(folder: Path, job_return: JobReturn) -> str:
    """Writes the error of a job to its run's folder, and returns its text."""
    # the property `return_value` would raise the error, which Hydra shows at the end
    cause = job_return._return_value
    if isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__ or cause
    error = f"{type(cause).__name__}: {cause}"
    plain = {"overrides": list(job_return.overrides or ()), "error": error}
    (folder / FAILURE).write_text(json.dumps(plain, indent=2, ensure_ascii=False), "utf-8")
    return error


def portable(error: BaseException) -> BaseException:
    """An error that can go from a process of a launcher to the one that started it.

    One that can't would end the sweep there, and the runs that go on. In its place comes its text.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        # whatever a class does when it is made anew
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def let_go(error: BaseException) -> None:
    """Lets go of what an error's traceback holds: a failed run's models and optimizer.

    Hydra keeps the errors of a sweep to its end. Their texts and lines stay.

    Args:
        error: The error, with those that caused it.
    """
    seen: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and not any(each is other for other in seen):
            seen.append(each)
            traceback.clear_frames(each.__traceback__)
            left += [each.__cause__, each.__context__]


def read_failure(folder: Path) -> str | None:
    """The error of the run in `folder`; None if it has written none."""
    path = folder / FAILURE
    return json.loads(path.read_text(encoding="utf-8"))["error"] if path.is_file() else None


def write_sweep(folder: Path) -> Path:
    """Writes table and page of the sweep in `folder`, in place of those of fewer runs.

    Args:
        folder: The folder of the sweep.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: No run of the sweep has ended.
    """
    # runs end side by side: whichever writes last must have seen all that ended before
    with FileLock(folder / ".sweep.lock"):
        rows = sweep_rows(folder)
        (folder / "sweep.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
        (folder / "sweep.md").write_text(markdown(rows), encoding="utf-8")
        return write_sweep_page(folder)


def sweep_rows(folder: Path) -> list[dict[str, str | float | None]]:
    """One row for each run that has ended of the sweep in `folder`: overrides and figures.

    They have the order of the runs, or of their folders' names where `hydra.sweep.subdir` gives
    names instead of numbers. If runs failed, the last column has their errors.

    Those of a search are in the order of what it minimises, with the names of their folders.
    """
    ended = {path.parent for name in ("summary.json", FAILURE) for path in folder.glob(f"*/{name}")}
    folders = sorted(ended, key=_run_order)
    failures = [read_failure(run) for run in folders]
    summaries = [_summary(run) for run in folders]
    # the table shows only the overrides in which runs differ
    shared = set.intersection(
        *(set(summary["overrides"]) for summary in summaries or [{"overrides": []}])
    )
    is_search = (folder / MARK).is_file()
    pruned = [_pruned_at(run) for run in folders]
    rows = []
    for run, summary, failure, step in zip(folders, summaries, failures, pruned, strict=True):
        own = [
            override
            for override in summary["overrides"]
            if override not in shared and not override.startswith(f"{TRIAL}=")
        ]
        row: dict[str, str | float | None] = {"run": run.name} if is_search else {}
        row["overrides"] = ", ".join(own)
        for name, title in COLUMNS.items():
            group, _, key = name.partition(".")
            row[title] = summary.get(group, {}).get(key)
        if any(pruned):
            row["stopped at step"] = step
        if any(failures):
            row["failed"] = " ".join((failure or "").split())[:MOST_OF_AN_ERROR]
        rows.append(row)
    return sorted(rows, key=_minimised) if is_search else rows


def _minimised(row: dict[str, str | float | None]) -> float:
    value = row["bpb after"]
    return value if isinstance(value, float) and math.isfinite(value) else math.inf


def _pruned_at(folder: Path) -> str:
    path = folder / PRUNED
    return str(json.loads(path.read_text(encoding="utf-8"))["step"]) if path.is_file() else ""


def _summary(folder: Path) -> dict:
    """The summary of a run, or its failure, which has only overrides."""
    path = folder / "summary.json"
    if not path.is_file():
        path = folder / FAILURE
    return json.loads(path.read_text(encoding="utf-8"))


def _run_order(folder: Path) -> tuple[int, str]:
    name = folder.name
    return (int(name) if name.isdecimal() else 0, name)


def markdown(rows: list[dict[str, str | float | None]]) -> str:
    """A table in Markdown.

    Args:
        rows: From `sweep_rows`.

    Returns:
        The table, empty without rows.
    """
    if not rows:
        return ""
    return grid([list(rows[0]), *([cell(value) for value in row.values()] for row in rows)])


def cell(value: str | float | None) -> str:
    """A value as the table shows it.

    Args:
        value: A text, or a figure; None where a run has none.

    Returns:
        Text.
    """
    if value is None:  # a run that timed no step
        return "-"
    if isinstance(value, str):
        return LONG_NUMBER.sub(lambda found: f"{float(found[0]):.4g}", value)
    return f"{value:.3f}"
