"""A bake-off: all objectives on one pair, alike but for the objective and its learning rate.

First every objective is run at every rate with the first seed; then, seed by seed, every objective
at the rate that did best. What is finished is not run again, so the same command goes on where it
was stopped; and tables and plot are written anew after each run.
"""

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from alm_lightning.app.bakeoff.models import remove_losing_models, space_warning
from alm_lightning.app.bakeoff.plan import Plan, Run, make_plan
from alm_lightning.app.bakeoff.plot import plot
from alm_lightning.app.bakeoff.pool import Children, environments, side_by_side
from alm_lightning.app.bakeoff.results import check_found, is_finished
from alm_lightning.app.bakeoff.runs import Programs, held
from alm_lightning.app.bakeoff.state import Standing, chosen, criterion, standing
from alm_lightning.app.bakeoff.table import as_json, markdown, screen
from alm_lightning.app.hydra.quoting import as_said

log = logging.getLogger(__name__)
NOT_FOR_RUNS = ("hydra.mode", "hydra.run", "hydra.sweep", "hydra.sweeper", "hydra.launcher")
"""Overrides of Hydra's own settings that are of the bake-off."""


def bakeoff(cfg: DictConfig, train: Path) -> None:
    """Holds a bake-off, or goes on with one.

    Args:
        cfg: The composed configuration, with a node ``bakeoff``.
        train: The path of train.py.

    Raises:
        SystemExit: A run failed: the others and the table are there; or a signal asked to stop.
    """
    own = HydraConfig.get()
    folder = Path(own.runtime.output_dir)
    settings = OmegaConf.to_container(cfg.bakeoff, resolve=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with held(folder) as lock:
        plan = make_plan(
            settings,
            folder,
            as_said(own.overrides.task),
            lambda overrides: compose(own.job.config_name, overrides),
        )
        check_found(plan)
        programs = Programs(
            train=train,
            flags=_flags(own),
            hydra=[each for each in as_said(own.overrides.hydra) if not _is_own(each)],
            lock=lock,
            keep_checkpoints=settings["keep_checkpoints"],
            evaluate=settings["evaluate"],
            children=Children(environments(settings["jobs"])),
        )
        failures = compete(
            plan,
            programs.start,
            programs.evaluated,
            jobs=settings["jobs"],
            stop=programs.children.stop,
        )
        found = write(plan, failures)
    console = Console()
    console.print(screen(plan, found))
    # the last line is for programs: nothing but the path
    sys.stdout.write(f"{folder / 'bakeoff.json'}\n")
    sys.stdout.flush()
    if found.failures:
        raise SystemExit(ending(found, folder / "bakeoff.md"))


def compete(
    plan: Plan,
    start: Callable[[Run], str | None],
    evaluated: Callable[[Run], str | None],
    *,
    jobs: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Does all runs that are not finished.

    Args:
        plan: What is to be run.
        start: Does a run, and says why it failed if it did.
        evaluated: Evaluates a finished run, and says why that failed if it did.
        jobs: How many runs are at work at a time.
        stop: Has those that are at work end soon.

    Returns:
        Errors by run.
    """
    failures: dict[str, str] = {}
    lock = threading.Lock()
    warnings: list[str] = []

    def tidy(objective: str) -> None:
        if plan.settings["keep_models"] == "chosen":
            remove_losing_models(plan, objective)

    def warn(run: Run) -> None:
        warning = None if warnings else space_warning(plan, run)
        if warning is not None:
            # once: each run would say it again
            warnings.append(warning)
            log.warning(warning)

    def do(run: Run) -> None:
        if not is_finished(run.folder):
            log.info("%s", run)
            error = start(run)
            with lock:
                if error is None:
                    value = criterion(plan, run)
                    log.info("%s: %s is %.4f", run, plan.settings["criterion"], value)
                else:
                    log.error("%s failed, the others go on: %s", run, error)
                    failures[str(run)] = error
                tidy(run.objective)
                write(plan, failures)
                if error is None:
                    warn(run)

    def do_and_evaluate(run: Run) -> None:
        do(run)
        error = evaluated(run) if is_finished(run.folder) else None
        if error is not None:
            log.error("%s, evaluation: %s", run, error)
            with lock:
                failures[f"{run}, evaluation"] = error

    for name in plan.overrides:
        tidy(name)
    search = [(name, rate) for name in plan.overrides for rate in plan.rates]
    runs = [plan.run(name, rate, plan.seeds[0]) for name, rate in search]
    side_by_side([partial(do, run) for run in runs], jobs, stop)
    best = {name: chosen(plan, name) for name in plan.overrides}
    # seed by seed: one that is stopped has as many of each objective
    runs = [plan.run(name, r, seed) for seed in plan.seeds for name, r in best.items() if r]
    side_by_side([partial(do_and_evaluate, run) for run in runs], jobs, stop)
    return failures


def write(plan: Plan, failures: Mapping[str, str]) -> Standing:
    """Writes tables and plot, in place of those of fewer runs.

    Args:
        plan: What is run.
        failures: Errors by run.

    Returns:
        What they show.
    """
    found = standing(plan, failures)
    plain = json.dumps(as_json(plan, found), indent=2, ensure_ascii=False, allow_nan=False)
    (plan.folder / "bakeoff.json").write_text(plain + "\n", encoding="utf-8")
    (plan.folder / "bakeoff.md").write_text(markdown(plan, found), encoding="utf-8")
    if any(row.figures for row in found.rows):
        drawn = plot(found, plan.settings["baseline"])
        (plan.folder / "bakeoff.svg").write_text(drawn, encoding="utf-8")
    return found


def ending(found: Standing, table: Path) -> str:
    """What a bake-off with failures ends with: some are tried again, and some are not.

    Args:
        found: How it stands.
        table: The file that names them.

    Returns:
        How many runs failed and how many diverged, and what to do.
    """
    failed, diverged = len(found.failures.keys() - found.diverged), len(found.diverged)
    lines = []
    if failed:
        lines.append(f"{failed} runs failed: the same command tries them again.")
    if diverged:
        lines.append(
            f"{diverged} runs diverged, and are not run again: try lower rates "
            "(bakeoff.learning_rates or bakeoff.factors)."
        )
    return " ".join([*lines, f"{table} says which and why."])


def _flags(own: DictConfig) -> list[str]:
    """What the command line said before overrides, and each run needs as well."""
    given = [s.path for s in own.runtime.config_sources if s.provider == "command-line"]
    return [flag for path in given for flag in ("--config-dir", path)]


def _is_own(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in NOT_FOR_RUNS)
