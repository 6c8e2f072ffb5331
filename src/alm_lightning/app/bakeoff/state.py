"""How a bake-off stands: the rate that each objective takes, and its figures over seeds."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from alm_lightning.app.bakeoff.figures import (
    Figures,
    ends_of,
    figures_of,
    over_seeds,
    selected,
    task_figures,
)
from alm_lightning.app.bakeoff.plan import Plan, Run
from alm_lightning.app.bakeoff.results import is_finished


@dataclass(frozen=True)
class Row:
    """An objective in the table.

    Attributes:
        objective: Its name.
        rate: The learning rate that it takes; None while none is known.
        is_edge: Whether that is the least or the most of several: a better one may lie beyond.
        tried: The criterion by learning rate, of the seed that chooses.
        seeds: Figures by seed, of the finished runs at that rate.
        figures: Their means with standard errors.
    """

    objective: str
    rate: str | None
    is_edge: bool
    tried: Mapping[str, float]
    seeds: Mapping[int, Figures]
    figures: Figures


@dataclass(frozen=True)
class Standing:
    """All that the table shows.

    Attributes:
        rows: One an objective.
        ends: Figures of ``teacher`` and ``student before``; nothing before the first run ends.
        failures: Errors by run.
        diverged: Those of them that are finished, without a finite criterion: not run again.
        missing: Runs that are still to come, failed ones left out.
    """

    rows: Sequence[Row]
    ends: Mapping[str, Figures]
    failures: Mapping[str, str]
    diverged: Set[str]
    missing: Sequence[str]


def criterion(plan: Plan, run: Run) -> float | None:
    """What the rate is chosen by.

    Args:
        plan: What is run.
        run: One of its runs.

    Returns:
        Its figure, which may not be finite; None if the run is not finished.
    """
    if not is_finished(run.folder):
        return None
    return selected(_summary(run.folder), plan.settings["criterion"])


def tried(plan: Plan, objective: str) -> dict[str, float]:
    """The criterion by learning rate, of the seed that chooses.

    Args:
        plan: What is run.
        objective: Name of the objective.

    Returns:
        Finite figures, in the order of the plan's rates.
    """
    runs = {rate: plan.run(objective, rate, plan.seeds[0]) for rate in plan.rates}
    values = {rate: criterion(plan, run) for rate, run in runs.items()}
    return {
        rate: value for rate, value in values.items() if value is not None and math.isfinite(value)
    }


def chosen(plan: Plan, objective: str) -> str | None:
    """The learning rate that an objective takes.

    Args:
        plan: What is run.
        objective: Name of the objective.

    Returns:
        The best of those that came to an end with a finite figure, the first among equals.
    """
    found = tried(plan, objective)
    best = min if plan.settings["lower_is_better"] else max
    return best(found, key=found.__getitem__) if found else None


def standing(plan: Plan, failures: Mapping[str, str]) -> Standing:
    """Reads how things stand from the folders of the runs.

    Args:
        plan: What is run.
        failures: Errors of this call, by run.

    Returns:
        The table's content.
    """
    rows = [_row(plan, objective) for objective in plan.overrides]
    runs = list(_wanted(plan, rows))
    diverged = {str(run): told for run in runs if (told := _diverged(plan, run))}
    told = diverged | dict(failures)
    missing = [str(run) for run in runs if not is_finished(run.folder) and str(run) not in failures]
    finished = [run for run in runs if is_finished(run.folder)]
    ends = ends_of(_summary(finished[0].folder)) if finished else {}
    return Standing(rows, ends, told, diverged.keys(), missing)


def _row(plan: Plan, objective: str) -> Row:
    rate = chosen(plan, objective)
    found, evaluate = {}, plan.settings["evaluate"]
    for seed in plan.seeds if rate is not None else ():
        run = plan.run(objective, rate, seed)
        value = criterion(plan, run)
        if value is not None and math.isfinite(value):
            found[seed] = figures_of(_summary(run.folder)) | task_figures(run.folder, evaluate)
    rates = sorted(plan.rates, key=float)
    is_edge = len(rates) > 1 and rate in (rates[0], rates[-1])
    figures = over_seeds(list(found.values()))
    return Row(objective, rate, is_edge, tried(plan, objective), found, figures)


def _wanted(plan: Plan, rows: Sequence[Row]) -> Iterator[Run]:
    """Every run that the table needs, as far as the rates are known."""
    for row in rows:
        for rate in plan.rates:
            yield plan.run(row.objective, rate, plan.seeds[0])
        if row.rate is not None:
            for seed in plan.seeds[1:]:
                yield plan.run(row.objective, row.rate, seed)


def _diverged(plan: Plan, run: Run) -> str | None:
    value = criterion(plan, run)
    if value is None or math.isfinite(value):
        return None
    return f"it diverged: {plan.settings['criterion']} is {value}"


def _summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
