"""Checks of a sweep: before it begins, that its runs can't spoil each other; at its end, a result.

Each ends the program by SystemExit: Hydra turns any other exception of a callback into a warning.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, ListConfig

from alm_lightning.app.hydra.overrides import as_typed, parsed
from alm_lightning.app.hydra.processes import is_started_from_outside
from alm_lightning.app.hydra.search_mode import MARK
from alm_lightning.app.hydra.sweep_table import FAILURE, read_failure


def refuse_one_folder(config: DictConfig) -> None:
    """Refuses, by SystemExit, settings that give all runs of a sweep one folder.

    Args:
        config: The configuration of the sweep, Hydra's node included.
    """
    own = config.hydra.overrides
    for override in parsed([*as_typed(own.task), *as_typed(own.hydra)]):
        is_folder = override.key_or_group in ("paths.output_dir", "hydra.sweep.subdir")
        # one with ${seed}, say, is another one for each run
        if is_folder and "${" not in str(override.input_line) and not override.is_sweep_override():
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


def refuse_processes_of_joblib(config: DictConfig) -> None:
    """Refuses, by SystemExit, runs on several devices in processes of joblib's.

    Those can't start others: Lightning would start joblib's program again, and not the run.

    Args:
        config: The configuration of the sweep, Hydra's node included.
    """
    trainer, launcher = config.get("trainer"), str(config.hydra.launcher.get("_target_"))
    if trainer is None or "joblib" not in launcher.lower():
        return
    devices = trainer.devices
    if devices in ("auto", -1, "-1"):
        devices = torch.cuda.device_count() if trainer.accelerator != "cpu" else 1
    number = len(devices) if isinstance(devices, ListConfig) else int(devices)
    if number > 1:
        raise SystemExit(
            f"hydra/launcher=joblib with trainer.devices={trainer.devices}: a run of {number} "
            "processes can't be started there. Give trainer.devices=1, leave the launcher out, or "
            "take hydra/launcher=submitit_local."
        )


def refuse_no_result(config: DictConfig) -> None:
    """Ends a search of which every run has failed, by SystemExit, with the first error.

    Optuna would end it with an error of its own, that there is no best trial.

    Args:
        config: The configuration of the run that has ended.
    """
    folder = Path(config.hydra.sweep.dir)
    # written when this call began; runs of an earlier one may have failed as well
    began = (folder / MARK).stat().st_mtime_ns
    failures = [file for file in folder.glob(f"*/{FAILURE}") if file.stat().st_mtime_ns >= began]
    if len(failures) < config.hydra.sweeper.n_trials or any(folder.glob("*/summary.json")):
        return
    first = read_failure(min(failures, key=lambda file: file.stat().st_mtime_ns).parent)
    raise SystemExit(f"none of the {len(failures)} runs in {folder} has a result: {first}")


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
