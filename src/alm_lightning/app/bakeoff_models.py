"""Models that the runs of a bake-off leave: tens of them, as large as the student each."""

import logging
import shutil
from pathlib import Path

from alm_lightning.app.bakeoff_found import is_finished
from alm_lightning.app.bakeoff_plan import Plan, Run
from alm_lightning.app.bakeoff_standing import chosen

log = logging.getLogger(__name__)
GIGABYTE = 10**9


def model_folder(run: Run) -> Path:
    """Where a run leaves its model.

    Args:
        run: A run.

    Returns:
        A folder, which may be gone (`remove_losing_models`).
    """
    return run.folder / "model"


def remove_losing_models(plan: Plan, objective: str) -> None:
    """Removes the models of an objective's finished runs at rates that another one has beaten.

    A rate that has lost stays so, whatever is still to run: the best is taken of those that have
    ended. Everything else of these runs stays, and they count as finished.

    Args:
        plan: What is run.
        objective: Name of the objective.
    """
    best = chosen(plan, objective)
    if best is None:
        return
    losing = [plan.run(objective, r, seed) for r in plan.rates if r != best for seed in plan.seeds]
    for run in losing:
        if is_finished(run.folder) and model_folder(run).is_dir():
            shutil.rmtree(model_folder(run))
            log.info("%s: its model is removed, rate %s did better", run, best)


def space_warning(plan: Plan, run: Run, num_missing: int) -> str | None:
    """Whether what is still to run will hardly fit on the disk.

    Args:
        plan: What is run.
        run: A finished run: the others are taken to leave as many bytes.
        num_missing: How many runs are still to come.

    Returns:
        A warning; None if there is room.
    """
    own = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(plan.folder).free
    if num_missing * own <= free:
        return None
    advice = (
        " The same command with bakeoff.keep_models=chosen keeps models of the best rates alone."
        if plan.settings["keep_models"] == "all"
        else ""
    )
    return (
        f"{run} left {own / GIGABYTE:.1f} GB, {num_missing} runs are still to come, and "
        f"{plan.folder} has room for {free / GIGABYTE:.1f} GB.{advice}"
    )
