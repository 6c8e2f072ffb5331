"""A bake-off: all objectives on one pair, alike but for the objective and its learning rate.

First every objective is run at every rate with the first seed; then, seed by seed, every objective
at the rate that did best. Finished runs are not run again, so the same command continues a bake-off
that was stopped; tables and plot are written after each run.
"""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from alm_lightning.app.bakeoff.plan import make_plan
from alm_lightning.app.bakeoff.pool import ProcessPool, environments
from alm_lightning.app.bakeoff.results import check_earlier_runs
from alm_lightning.app.bakeoff.runs import Programs, locked
from alm_lightning.app.bakeoff.schedule import Schedule
from alm_lightning.app.bakeoff.state import BakeoffState
from alm_lightning.app.bakeoff.table import screen
from alm_lightning.app.hydra.overrides import as_typed
from alm_lightning.app.hydra.processes import config_flags
from alm_lightning.app.log import GROUP, JOB_TYPE, group_of

NOT_FOR_RUNS = ("hydra.mode", "hydra.run", "hydra.sweep", "hydra.sweeper", "hydra.launcher")
"""Hydra's own settings that are for the bake-off itself."""


def bakeoff(cfg: DictConfig, train_command: Sequence[str], evaluate_command: Sequence[str]) -> None:
    """Starts a bake-off, or continues one.

    Args:
        cfg: The composed configuration, with a node ``bakeoff``.
        train_command: Arguments of Python that start a training run.
        evaluate_command: The same of an evaluation.

    Raises:
        SystemExit: A run failed (the others and the tables are there), or a signal stopped it.
    """
    own = HydraConfig.get()
    folder = Path(own.runtime.output_dir)
    settings = OmegaConf.to_container(cfg.bakeoff, resolve=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with locked(folder) as lock:
        plan = make_plan(
            settings,
            folder,
            as_typed(own.overrides.task),
            lambda overrides: compose(own.job.config_name, overrides),
        )
        check_earlier_runs(plan)
        names = {GROUP: group_of(folder), JOB_TYPE: "bakeoff"}
        pool = ProcessPool([own_share | names for own_share in environments(settings["jobs"])])
        programs = Programs(
            train_command=train_command,
            evaluate_command=evaluate_command,
            flags=config_flags(own),
            hydra=[each for each in as_typed(own.overrides.hydra) if not _is_own(each)],
            lock=lock,
            keep_checkpoints=settings["keep_checkpoints"],
            evaluate_arguments=settings["evaluate"],
            pool=pool,
        )
        state = Schedule(plan, programs.train, programs.evaluate, pool).run()
    Console().print(screen(plan, state))
    # the last line is for programs: nothing but the path
    sys.stdout.write(f"{folder / 'bakeoff.json'}\n")
    sys.stdout.flush()
    if state.failures:
        raise SystemExit(failure_message(state, folder / "bakeoff.md"))


def failure_message(state: BakeoffState, table: Path) -> str:
    """How many runs failed and how many diverged, what to do, and the file that names them."""
    failed, diverged = len(state.failures.keys() - state.diverged), len(state.diverged)
    lines = []
    if failed:
        lines.append(f"{failed} runs failed: the same command tries them again.")
    if diverged:
        lines.append(
            f"{diverged} runs diverged, and are not run again: try lower rates "
            "(bakeoff.learning_rates or bakeoff.factors)."
        )
    return " ".join([*lines, f"{table} says which and why."])


def _is_own(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in NOT_FOR_RUNS)
