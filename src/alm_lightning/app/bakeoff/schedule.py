"""The order of a bake-off's runs: every objective at every rate, then every seed at the best."""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from alm_lightning.app.bakeoff.models import remove_losing_models, space_warning
from alm_lightning.app.bakeoff.plan import Plan, Run
from alm_lightning.app.bakeoff.plot import plot
from alm_lightning.app.bakeoff.pool import ProcessPool
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.bakeoff.state import BakeoffState, chosen_rate, criterion, read_state
from alm_lightning.app.bakeoff.table import as_json, markdown
from alm_lightning.app.train.divergence import read_divergence

log = logging.getLogger(__name__)
Step = Callable[[Run], str | None]
"""Does something with a run; returns the error, None if there was none."""


class Schedule:
    """Does all runs of a plan that are not finished, and writes the tables after each.

    Args:
        plan: What is run.
        train: Trains a run.
        evaluate: Evaluates a finished run.
        pool: Where they run.

    Attributes:
        failures: Errors by run, of this call.
    """

    def __init__(self, plan: Plan, train: Step, evaluate: Step, pool: ProcessPool):
        self.failures: dict[str, str] = {}
        self._plan, self._pool = plan, pool
        self._train, self._evaluate = train, evaluate
        self._lock = threading.Lock()
        self._has_warned = False

    def run(self) -> BakeoffState:
        """Does the runs.

        What the tables show at the end.
        """
        plan = self._plan
        for objective in plan.overrides:
            self._remove_models(objective)
        search = [(name, rate) for name in plan.overrides for rate in plan.rates]
        runs = [plan.run(name, rate, plan.seeds[0]) for name, rate in search]
        self._pool.run_tasks([partial(self._do, run) for run in runs])
        best = {name: chosen_rate(plan, name) for name in plan.overrides}
        # seed by seed: a bake-off that is stopped has as many seeds of each objective
        runs = [plan.run(name, rate, s) for s in plan.seeds for name, rate in best.items() if rate]
        self._pool.run_tasks([partial(self._do_and_evaluate, run) for run in runs])
        return write_tables(plan, self.failures)

    def _do(self, run: Run) -> None:
        if is_finished(run.folder) or read_divergence(run.folder) is not None:
            return
        log.info("%s", run)
        error = self._train(run)
        with self._lock:
            if error is None:
                value = criterion(self._plan, run)
                log.info("%s: %s is %.4f", run, self._plan.settings["criterion"], value)
            else:
                log.error("%s failed, the other runs continue: %s", run, error)
                self.failures[str(run)] = error
            self._remove_models(run.objective)
            write_tables(self._plan, self.failures)
            if error is None:
                self._warn_of_space(run)

    def _do_and_evaluate(self, run: Run) -> None:
        self._do(run)
        error = self._evaluate(run) if is_finished(run.folder) else None
        if error is not None:
            log.error("%s, evaluation: %s", run, error)
            with self._lock:
                self.failures[f"{run}, evaluation"] = error

    def _remove_models(self, objective: str) -> None:
        if self._plan.settings["keep_models"] == "chosen":
            remove_losing_models(self._plan, objective)

    def _warn_of_space(self, run: Run) -> None:
        # once: it would be the same after each run
        warning = None if self._has_warned else space_warning(self._plan, run)
        if warning is not None:
            self._has_warned = True
            log.warning(warning)


def write_tables(plan: Plan, failures: Mapping[str, str]) -> BakeoffState:
    """Writes tables and plot, in place of those of fewer runs.

    Args:
        plan: What is run.
        failures: Errors of this call, by run.

    Returns:
        What they show.
    """
    state = read_state(plan, failures)
    plain = json.dumps(as_json(plan, state), indent=2, ensure_ascii=False, allow_nan=False)
    (plan.folder / "bakeoff.json").write_text(plain + "\n", encoding="utf-8")
    (plan.folder / "bakeoff.md").write_text(markdown(plan, state), encoding="utf-8")
    if any(row.figures for row in state.rows):
        drawn = plot(state, plan.settings["baseline"])
        (plan.folder / "bakeoff.svg").write_text(drawn, encoding="utf-8")
    return state
