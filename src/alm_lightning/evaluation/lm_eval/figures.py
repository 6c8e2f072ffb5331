"""Figures of tasks and groups of lm-eval, from what it reported of each task."""

from collections.abc import Mapping
from typing import Any

from alm_lightning.evaluation.harness import Figure, Record

UNITS = {"bits_per_byte": "bits/byte", "acc": "accuracy", "exact_match": "accuracy"}
"""Units of metrics; those of others are their names."""

Figures = dict[str, Figure]


def figures_of(
    records: Mapping[str, Record], groups: Mapping[str, Any]
) -> tuple[Figures, dict[str, dict[str, Figures]]]:
    """Figures of all tasks, and of groups as lm-eval aggregates them.

    Returns a figure for each metric of each group, and of each task that is in no group with a
    figure of its own; and the figures of the members of each group.
    """
    metrics = {
        name: {**record["results"], "sample_len": record["count"]}
        for name, record in records.items()
    }
    by_task = {
        name: _figures(record["results"], record["higher_is_better"], record["count"])
        for name, record in records.items()
    }
    figures: Figures = {}
    by_group = {}
    in_groups: set[str] = set()
    for name, group in groups.items():
        members = [task.task_name for task in group.get_all_tasks()]
        numbers = group.aggregate(metrics).items()
        own = {k: float(v) for k, v in numbers if "," in k and v != "N/A"}
        if own:
            # many groups are lists of tasks without a figure of their own
            in_groups |= set(members)
        better = records[members[0]]["higher_is_better"]
        count = sum(records[member]["count"] for member in members)
        figures |= _named(name, _figures(own, better, count))
        by_group[name] = {member: by_task[member] for member in members}
    for name, own_figures in by_task.items():
        if name not in in_groups:
            figures |= _named(name, own_figures)
    return figures, by_group


def _figures(
    numbers: Mapping[str, float], better: Mapping[str, bool], count: int
) -> dict[str, Figure]:
    """Figures by metric, from keys such as ``acc,none`` and ``acc_stderr,none``."""
    figures = {}
    for key, value in numbers.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        error = numbers.get(f"{metric}_stderr,{filtered}")
        name = metric if filtered == "none" else f"{metric} ({filtered})"
        is_higher = better.get(metric)
        unit = UNITS.get(metric, "accuracy" if metric.startswith("acc_") else metric)
        figures[name] = Figure(
            value, error, count, unit, None if is_higher is None else not is_higher
        )
    return figures


def _named(task: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    return {f"{task} {metric}": figure for metric, figure in figures.items()}
