"""The state of a bake-off: the rate that each objective takes, and its figures over seeds."""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from alm_lightning.app.bakeoff.figures import (
    Figures,
    ends_of,
    figures_of,
    over_seeds,
    selected,
    task_figures,
)
from alm_lightning.app.bakeoff.plan import Plan, Run
from alm_lightning.app.bakeoff.results import read_summary
from alm_lightning.app.train.divergence import read_divergence

Summaries = Mapping[Run, Mapping]
"""What the summary.json of finished runs hold."""


@dataclass(frozen=True)
class Row:
    """An objective in the table.

    Attributes:
        objective: Its name.
        rate: The learning rate that it takes; None while none is known.
        is_edge: Whether that is the lowest or the highest of several: a better one may lie beyond.
        tried: The criterion by learning rate, where it is finite, with the first seed.
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
class BakeoffState:
    """All that the tables show.

    Attributes:
        rows: One for each objective.
        ends: Figures of ``teacher`` and ``student before``; empty before the first run ends.
        failures: Errors by run.
        diverged: Those of them that ended with a gradient that was not finite, or are finished
            without a finite criterion: not run again.
        missing: Runs that are still to come, without those that failed.
    """

    rows: Sequence[Row]
    ends: Mapping[str, Figures]
    failures: Mapping[str, str]
    diverged: Set[str]
    missing: Sequence[str]


def criterion(plan: Plan, run: Run) -> float | None:
    """The figure that a rate is chosen by; None if `run` is not finished.

    It may not be finite, as that of a run that diverged on its way.
    """
    summary = read_summary(run.folder)
    if summary is None:
        return None if read_divergence(run.folder) is None else math.nan
    return selected(summary, plan.settings["criterion"])


def criteria(plan: Plan, objective: str) -> dict[str, float]:
    """The criterion by learning rate, of the finished runs of an objective with the first seed."""
    runs = {rate: plan.run(objective, rate, plan.seeds[0]) for rate in plan.rates}
    values = {rate: criterion(plan, run) for rate, run in runs.items()}
    return {rate: value for rate, value in values.items() if value is not None}


def best_rate(plan: Plan, values: Mapping[str, float]) -> str | None:
    """The rate with the best of the finite values, the first among equals; None without any."""
    finite = {rate: value for rate, value in values.items() if math.isfinite(value)}
    best = min if plan.settings["lower_is_better"] else max
    return best(finite, key=finite.__getitem__) if finite else None


def chosen_rate(plan: Plan, objective: str) -> str | None:
    """The learning rate that an objective takes, of the finished runs; None without any."""
    return best_rate(plan, criteria(plan, objective))


def read_state(plan: Plan, failures: Mapping[str, str]) -> BakeoffState:
    """Reads the state from the folders of the runs; `failures` are errors of this call, by run."""
    every = [
        plan.run(name, r, s) for name in plan.overrides for r in plan.rates for s in plan.seeds
    ]
    # read once: a run that ends meanwhile must not be in one part of the table alone
    read = {run: read_summary(run.folder) for run in every}
    summaries = {run: summary for run, summary in read.items() if summary is not None}
    # they end without a summary
    notes = {run: note for run in every if (note := read_divergence(run.folder)) is not None}
    rows = [_row(plan, objective, summaries) for objective in plan.overrides]
    wanted = list(_wanted_runs(plan, rows))
    finished = [run for run in wanted if run in summaries]
    path = plan.settings["criterion"]
    values = {str(run): selected(summaries[run], path) for run in finished}
    diverged = {
        run: f"it diverged: {path} is {value}"
        for run, value in values.items()
        if not math.isfinite(value)
    }
    diverged |= {str(run): f"it diverged: {notes[run]}" for run in wanted if run in notes}
    known = diverged | dict(failures)
    missing = [str(run) for run in wanted if run not in summaries and str(run) not in known]
    ends = ends_of(summaries[finished[0]]) if finished else {}
    return BakeoffState(rows, ends, known, diverged.keys(), missing)


def _row(plan: Plan, objective: str, summaries: Summaries) -> Row:
    path = plan.settings["criterion"]
    runs = {rate: plan.run(objective, rate, plan.seeds[0]) for rate in plan.rates}
    tried = {r: selected(summaries[run], path) for r, run in runs.items() if run in summaries}
    rate = best_rate(plan, tried)
    seeds = {}
    for seed in plan.seeds if rate is not None else ():
        run = plan.run(objective, rate, seed)
        if run in summaries and math.isfinite(selected(summaries[run], path)):
            evaluated = task_figures(run.folder, plan.settings["evaluate"])
            seeds[seed] = figures_of(summaries[run]) | evaluated
    rates = sorted(plan.rates, key=float)
    is_edge = len(rates) > 1 and rate in (rates[0], rates[-1])
    finite = {rate: value for rate, value in tried.items() if math.isfinite(value)}
    return Row(objective, rate, is_edge, finite, seeds, over_seeds(list(seeds.values())))


def _wanted_runs(plan: Plan, rows: Sequence[Row]) -> Iterator[Run]:
    """Every run that the table needs, as far as the rates are known."""
    for row in rows:
        for rate in plan.rates:
            yield plan.run(row.objective, rate, plan.seeds[0])
        if row.rate is not None:
            for seed in plan.seeds[1:]:
                yield plan.run(row.objective, row.rate, seed)
