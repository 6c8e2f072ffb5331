"""Checks of a sweep: before it begins, that its runs can't spoil each other; at its end, a result.

Each ends the program by SystemExit: Hydra turns any other exception of a callback into a warning.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from alm_lightning.app.hydra.overrides import as_typed, parsed
from alm_lightning.app.hydra.processes import is_started_from_outside
from alm_lightning.app.hydra.sweep_table import read_failure


def refuse_one_folder(config: DictConfig) -> None:
    """Refuses, by SystemExit, settings that give all runs of a sweep one folder.

    Args:
        config: The configuration of the sweep, Hydra's node included.
    """
    own = config.hydra.overrides
    for override in parsed([*as_typed(own.task), *as_typed(own.hydra)]):
        is_shared = override.key_or_group == "paths.output_dir" or (
            override.key_or_group == "hydra.sweep.subdir" and "${" not in str(override.input_line)
        )
        if is_shared and not override.is_sweep_override():
            raise SystemExit(
                f"{override.input_line} would be the folder of every run of the sweep, and they "
                "would write over each other. Give hydra.sweep.dir, in which each run has a folder."
            )


def refuse_several_searches() -> None:
    """Refuses, by SystemExit, a search that several processes were started for.

    Each would ask the study for settings of its own.
    """
    sizes = [int(os.environ.get(name) or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS")]
    if is_started_from_outside() and max(sizes) > 1:
        raise SystemExit(
            f"sweep=search was started as {max(sizes)} processes, each of which would search by "
            "itself. Start one, with trainer.devices: it starts the others for each of its runs."
        )


def refuse_no_result(config: DictConfig) -> None:
    """Ends a search of which every run has failed, by SystemExit, with the first error.

    Optuna would end it with an error of its own, that there is no best trial.

    Args:
        config: The configuration of the run that has ended.
    """
    folder = Path(config.hydra.sweep.dir)
    if config.hydra.job.num < config.hydra.sweeper.n_trials - 1 or any(
        folder.glob("*/summary.json")
    ):
        return
    errors = [error for run in sorted(folder.iterdir()) if (error := read_failure(run))]
    if errors:
        raise SystemExit(f"none of the {len(errors)} runs in {folder} has a result: {errors[0]}")


def refuse_lists(overrides: Sequence[str]) -> None:
    """Refuses, by SystemExit, a bake-off over several values of an override.

    Hydra would start one bake-off for each value, all in one folder.
    """
    for override in parsed(overrides):
        if override.is_sweep_override():
            raise SystemExit(
                f"sweep=bakeoff takes one value for all its runs, but {override.input_line} has "
                "several. Start one bake-off for each, each with a hydra.sweep.dir of its own."
            )
