"""Figures of finished runs: of one run, and means with standard errors over seeds."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from alm_lightning.metrics.totals import gap_closed
from alm_lightning.show.numbers import Figure

Figures = dict[str, Figure]

SECONDS, MEMORY = "seconds a step", "peak memory"
BITS, BITS_OTHER = "bits per byte, training domain", "bits per byte, other domain"
DIFFERENCE, DIFFERENCE_OTHER = "difference, training domain", "difference, other domain"
DOMAINS = {
    "bits_per_byte": (BITS, "gap closed, training domain"),
    "bits_per_byte_other": (BITS_OTHER, "gap closed, other domain"),
}
DIFFERENCES = {"": DIFFERENCE, "_other": DIFFERENCE_OTHER}
NATS = "nats per chunk"
EVALUATION = "evaluation"
"""Prefix of a run's folders with results of evaluate.py."""
ARGUMENTS = "arguments.json"
"""The arguments of evaluate.py, in the folder of a finished evaluation."""
HASH_LENGTH = 8


def selected(summary: Mapping, path: str) -> float:
    """The number of a summary at dotted keys, such as ``bits_per_byte_other.student_after``.

    Args:
        summary: The content of summary.json.
        path: The keys.

    Returns:
        The number; it may not be finite.

    Raises:
        ValueError: There is no number.
    """
    node: object = summary
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    if isinstance(node, bool) or not isinstance(node, int | float):
        raise ValueError(
            f"bakeoff.criterion={path}: summary.json has no such number. Take one that it has, "
            "such as bits_per_byte_other.student_after or chunk_difference.after_other."
        )
    return float(node)


def figures_of(summary: Mapping) -> Figures:
    """Figures of one run: bits per byte, share of the gap, difference, time, memory; no errors.

    The share of the gap closed is (before - after) / (before - teacher) in bits per byte; the
    difference is the mean of ``|log p_T - log p_S|`` over chunks. What `summary` lacks is left out.
    """
    found: dict[str, Figure | None] = {}
    for key, (bits, gap) in DOMAINS.items():
        node = summary[key]
        before, after = node["student_before"], node["student_after"]
        found[bits] = _one(after, "bits/byte", lower_is_better=True)
        closed = gap_closed(before=before, after=after, teacher=node["teacher"])
        found[gap] = _one(closed, "share", lower_is_better=False)
    for end, name in DIFFERENCES.items():
        found[name] = _one(summary["chunk_difference"][f"after{end}"], NATS, lower_is_better=True)
    found[SECONDS] = _one(summary["seconds"]["per_step"], "s", lower_is_better=True)
    found[MEMORY] = _one(summary["peak_memory_bytes"] / 2**30, "GiB", lower_is_better=True)
    return _measured(found)


def ends_of(summary: Mapping) -> dict[str, Figures]:
    """Figures of ``teacher`` and ``student before``, from the summary of any of a pair's runs."""
    teacher: dict[str, Figure | None] = {}
    before: dict[str, Figure | None] = {}
    for key, (bits, _) in DOMAINS.items():
        teacher[bits] = _one(summary[key]["teacher"], "bits/byte", lower_is_better=True)
        before[bits] = _one(summary[key]["student_before"], "bits/byte", lower_is_better=True)
    for end, name in DIFFERENCES.items():
        teacher[name] = _one(0.0, NATS, lower_is_better=True)
        before[name] = _one(summary["chunk_difference"][f"before{end}"], NATS, lower_is_better=True)
    return {"teacher": _measured(teacher), "student before": _measured(before)}


def evaluation_folder(folder: Path, arguments: Sequence[str]) -> Path:
    """Where evaluate.py writes, in the folder of a run: named by a hash of its arguments."""
    digest = hashlib.sha256(json.dumps(list(arguments)).encode()).hexdigest()
    return folder / f"{EVALUATION}_{digest[:HASH_LENGTH]}"


def is_evaluated(folder: Path, arguments: Sequence[str]) -> bool:
    """Whether the evaluation of a run's model with these arguments is finished."""
    path = evaluation_folder(folder, arguments) / ARGUMENTS
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == list(arguments)


def task_figures(folder: Path, arguments: Sequence[str] | None) -> Figures:
    """Figures of evaluate.py, of a run's model; empty without a finished evaluation.

    Args:
        folder: Of the run.
        arguments: Of evaluate.py; results with other arguments are not read.

    Returns:
        Main figures of each harness, by ``<harness>: <figure>``, without their standard errors over
        items: the table has those over seeds.
    """
    if not arguments or not is_evaluated(folder, arguments):
        return {}
    path = evaluation_folder(folder, arguments) / "results.json"
    return {
        f"{result['harness']}: {name.replace('_', ' ')}": Figure(
            figure["value"], None, 1, figure["unit"], figure["lower_is_better"]
        )
        for result in json.loads(path.read_text(encoding="utf-8"))
        for name, figure in result["figures"].items()
    }


def over_runs(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error over runs that differ in their seed.

    Args:
        values: At least one.

    Returns:
        The mean, and the standard deviation (n - 1) over the root of n: None for a single run, NaN
        where not all values are finite.

    Example:
        >>> over_runs([1.0, 2.0, 3.0])
        (2.0, 0.5773502691896258)
    """
    if not all(map(math.isfinite, values)):
        # fmean and stdev raise for some of these
        return sum(values) / len(values), math.nan if len(values) > 1 else None
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return fmean(values), error


def over_seeds(runs: Sequence[Figures]) -> Figures:
    """Means of figures over runs that differ in their seed, with standard errors.

    ``count`` of each is the number of runs that have the figure.
    """
    found = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        own = [run[name] for run in runs if name in run]
        mean, error = over_runs([figure.value for figure in own])
        found[name] = Figure(mean, error, len(own), own[0].unit, own[0].lower_is_better)
    return found


def _measured(figures: Mapping[str, Figure | None]) -> Figures:
    return {name: figure for name, figure in figures.items() if figure is not None}


def _one(value: float | int | None, unit: str, *, lower_is_better: bool) -> Figure | None:
    return None if value is None else Figure(float(value), None, 1, unit, lower_is_better)
