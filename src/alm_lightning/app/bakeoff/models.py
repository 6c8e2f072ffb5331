"""Models that the runs of a bake-off leave: tens of them, as large as the student each."""

import logging
import shutil
from pathlib import Path

from alm_lightning.app.bakeoff.plan import Plan, Run
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.bakeoff.state import best_rate, criteria

log = logging.getLogger(__name__)
GIGABYTE = 10**9


def model_folder(run: Run) -> Path:
    """The folder of a run's model, which may be gone (`remove_losing_models`)."""
    return run.folder / "model"


def remove_losing_models(plan: Plan, objective: str) -> None:
    """Removes the models of an objective's finished runs at rates that another rate has beaten.

    A rate has not lost while its run with the first seed is not finished, nor when the model of the
    best rate is gone: under another criterion all models could be removed. Everything else of these
    runs stays, and they count as finished. A model that can't be removed stays, with a warning.
    """
    # read once: of several runs at a time another one, with a better rate, may end at any moment
    values = criteria(plan, objective)
    best = best_rate(plan, values)
    if best is None or not model_folder(plan.run(objective, best, plan.seeds[0])).is_dir():
        return
    for rate in values.keys() - {best}:
        for run in (plan.run(objective, rate, seed) for seed in plan.seeds):
            if is_finished(run.folder) and model_folder(run).exists():
                _remove(run, best)


def num_models_to_come(plan: Plan) -> int:
    """How many models a finished bake-off has beyond those that are there now."""
    num_rates, num_seeds = len(plan.rates), len(plan.seeds)
    keeps_chosen = plan.settings["keep_models"] == "chosen"
    per_objective = num_seeds if keeps_chosen else num_rates + num_seeds - 1
    num_there = 0
    for objective in plan.overrides:
        runs = [plan.run(objective, rate, seed) for rate in plan.rates for seed in plan.seeds]
        num_there += min(sum(model_folder(run).is_dir() for run in runs), per_objective)
    return per_objective * len(plan.overrides) - num_there


def space_warning(plan: Plan, run: Run) -> str | None:
    """Warns if the models that are still to come will hardly fit on the disk.

    Args:
        plan: What is run.
        run: A finished run: each of the others is expected to take as many bytes.

    Returns:
        The warning; None if there is enough space.
    """
    own = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    free, missing = shutil.disk_usage(plan.folder).free, num_models_to_come(plan)
    if missing * own <= free:
        return None
    advice = (
        "Stop, and give the same command with bakeoff.keep_models=chosen, which keeps only the "
        "models of the best rates."
        if plan.settings["keep_models"] == "all"
        else "Free some space, or stop and take fewer seeds or objectives."
    )
    return (
        f"{run} takes {own / GIGABYTE:.1f} GB, {missing} more models are to come, and "
        f"{plan.folder} has {free / GIGABYTE:.1f} GB of free space. {advice}"
    )


def _remove(run: Run, best: str) -> None:
    model = model_folder(run)
    if model.is_symlink():
        log.warning("%s: its model, %s, is a symbolic link, and is not removed", run, model)
        return
    try:
        shutil.rmtree(model)
    except OSError as error:
        log.warning("%s: its model could not be removed: %s", run, error)
    else:
        log.info("%s: its model is removed, the best rate so far is %s", run, best)
