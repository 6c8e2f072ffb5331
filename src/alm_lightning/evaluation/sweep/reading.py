"""Files of the runs of a sweep, as records."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alm_lightning.evaluation.report.reading import read_curves
from alm_lightning.evaluation.report.tables import mapping
from alm_lightning.show.numbers import MINUS

SUMMARY, FAILURE, PRUNED, METRICS = "summary.json", "failure.json", "pruned.json", "metrics.csv"
FIGURES = {
    "bits_per_byte.student_after": "bits per byte ↓",
    "bits_per_byte_other.student_after": "bits per byte, other domain ↓",
    "chunk_difference.after": f"|log p_T {MINUS} log p_S| a chunk, nats ↓",
    "seconds.per_step": "seconds a step",
}
"""Figures of a summary, and what the page calls them; runs are ordered by the first one."""
NUMBERS_OF_RUNS = ("search.trial",)
"""Settings that only tell runs apart."""


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep that has ended.

    Attributes:
        folder: Its folder.
        settings: Values of its overrides by key, as they were given.
        figures: Figures by their titles in `FIGURES`, those that it has.
        steps: Steps that it made; None of a run that failed.
        pruned_at: The step at which a search ended it early.
        failure: Its error.
    """

    folder: Path
    settings: Mapping[str, str]
    figures: Mapping[str, float]
    steps: int | None = None
    pruned_at: int | None = None
    failure: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder, which is its number in most sweeps."""
        return self.folder.name

    @property
    def order(self) -> tuple[float, bool, int, str]:
        """Less is better: by the first figure, then by the number."""
        first = next(iter(FIGURES.values()))
        number = int(self.name) if self.name.isdecimal() else 0
        return self.figures.get(first, math.inf), self.failure is not None, number, self.name


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep that have ended, the best one first.

    Attributes:
        folder: The folder of the sweep.
        runs: All runs.
    """

    folder: Path
    runs: Sequence[SweepRun]

    @property
    def ranked(self) -> list[SweepRun]:
        """Runs with figures."""
        return [run for run in self.runs if run.figures]

    @property
    def varied(self) -> list[str]:
        """Settings in which runs differ, in the order in which they were given."""
        keys = dict.fromkeys(key for run in self.runs for key in run.settings)
        return [
            key
            for key in keys
            if key not in NUMBERS_OF_RUNS and len({run.settings.get(key) for run in self.runs}) > 1
        ]

    @property
    def shared(self) -> dict[str, str]:
        """Settings that all runs were given alike."""
        if not self.runs:
            return {}
        varied = {*self.varied, *NUMBERS_OF_RUNS}
        return {k: v for k, v in self.runs[0].settings.items() if k not in varied}


def read_sweep(folder: Path) -> Sweep:
    """Reads the runs of a sweep.

    Args:
        folder: The folder of the sweep, with one folder for each run.

    Returns:
        The runs that have ended.

    Raises:
        FileNotFoundError: There is no such folder, or no run in it has ended.
    """
    ended = {path.parent for name in (SUMMARY, FAILURE) for path in folder.glob(f"*/{name}")}
    if not ended:
        raise FileNotFoundError(
            f"no run in {folder} has ended: expected folders with a {SUMMARY} or a {FAILURE}. Give "
            "the folder of a sweep, such as multirun/<name>/<time>."
        )
    return Sweep(folder, sorted(map(_run, sorted(ended)), key=lambda run: run.order))


def curves_of(run: SweepRun) -> Mapping[str, Sequence[tuple[float, float]]]:
    """Step and value of all that a run has logged, by name.

    Args:
        run: The run.

    Returns:
        Nothing of a run without metrics.csv.
    """
    path = run.folder / METRICS
    curves = read_curves(path) if path.is_file() else {}
    return {name: curve.points for name, curve in curves.items()}


def _run(folder: Path) -> SweepRun:
    summary, failure, pruned = (_json(folder / name) for name in (SUMMARY, FAILURE, PRUNED))
    overrides = summary.get("overrides") or failure.get("overrides") or ()
    figures = {title: _figure(summary, name) for name, title in FIGURES.items()}
    return SweepRun(
        folder,
        settings=dict(_setting(override) for override in overrides),
        figures={title: value for title, value in figures.items() if value is not None},
        steps=summary.get("steps"),
        pruned_at=pruned.get("step"),
        failure=failure.get("error"),
    )


def _json(path: Path) -> Mapping[str, Any]:
    return mapping(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _figure(summary: Mapping[str, Any], name: str) -> float | None:
    group, _, key = name.partition(".")
    value = mapping(summary.get(group)).get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _setting(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+"), value
