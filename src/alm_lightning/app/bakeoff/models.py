"""Models that the runs of a bake-off leave: tens of them, as large as the student each."""

import logging
import shutil
from pathlib import Path

from alm_lightning.app.bakeoff.plan import Plan, Run
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.bakeoff.state import chosen

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

    A rate whose run of the choosing seed has not ended has not lost, nor has one to a rate whose
    own model is gone: under another criterion all models could go otherwise. Everything else of
    these runs stays, and they count as finished. What can't be removed is told and left.

    Args:
        plan: What is run.
        objective: Name of the objective.
    """
    best = chosen(plan, objective)
    if best is None or not model_folder(plan.run(objective, best, plan.seeds[0])).is_dir():
        return
    for rate in plan.rates:
        if rate == best or not is_finished(plan.run(objective, rate, plan.seeds[0]).folder):
            continue
        for run in (plan.run(objective, rate, seed) for seed in plan.seeds):
            if is_finished(run.folder) and model_folder(run).exists():
                _remove(run, best)


def num_models_to_come(plan: Plan) -> int:
    """How many more models will stay, those of runs at work left out.

    Args:
        plan: What is run.

    Returns:
        The models that a finished bake-off has, without those that are there.
    """
    num_rates, num_seeds = len(plan.rates), len(plan.seeds)
    is_choosy = plan.settings["keep_models"] == "chosen"
    of_objective = num_seeds if is_choosy else num_rates + num_seeds - 1
    there = 0
    for objective in plan.overrides:
        runs = [plan.run(objective, rate, seed) for rate in plan.rates for seed in plan.seeds]
        there += min(sum(model_folder(run).is_dir() for run in runs), of_objective)
    return of_objective * len(plan.overrides) - there


def space_warning(plan: Plan, run: Run) -> str | None:
    """Whether the models that are still to come will hardly fit on the disk.

    Args:
        plan: What is run.
        run: A finished run: the others are taken to leave as many bytes.

    Returns:
        A warning; None if there is room.
    """
    own = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    free, missing = shutil.disk_usage(plan.folder).free, num_models_to_come(plan)
    if missing * own <= free:
        return None
    advice = (
        "Stop, and give the same command with bakeoff.keep_models=chosen, which keeps only the "
        "models of the best rates."
        if plan.settings["keep_models"] == "all"
        else "Make room, or stop and take fewer seeds or objectives."
    )
    return (
        f"{run} left {own / GIGABYTE:.1f} GB, {missing} more models are to come, and "
        f"{plan.folder} has room for {free / GIGABYTE:.1f} GB. {advice}"
    )


def _remove(run: Run, best: str) -> None:
    model = model_folder(run)
    if model.is_symlink():
        log.warning("%s: its model, %s, is a link, and stays", run, model)
        return
    try:
        shutil.rmtree(model)
    except OSError as error:
        log.warning("%s: its model could not be removed: %s", run, error)
    else:
        log.info("%s: its model is removed, the best rate so far is %s", run, best)
