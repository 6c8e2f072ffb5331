"""What an earlier call of a bake-off left: finished runs, and runs of other settings."""

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from alm_lightning.app.bakeoff.plan import RATE, Plan

FREE = (
    "name",
    "seed",
    RATE,
    "ckpt_path",
    "paths",
    "logger",
    "callbacks",
    "cache_dir",
    "num_workers",
    "alignment.workers",
    "alignment.cache_folder",
    "sample_prompts",
    "sample_bytes",
)
"""Settings that the names of folders tell, or that change no figure."""


def is_finished(folder: Path) -> bool:
    """Whether a run came to its end.

    Args:
        folder: Of the run.

    Returns:
        Whether it has a summary that names its model; that of one whose export failed does not.
        The model itself may have been removed since.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return False
    return json.loads(path.read_text(encoding="utf-8"))["model_path"] is not None


def check_found(plan: Plan) -> None:
    """Refuses a folder with runs of other settings, finished or not.

    Args:
        plan: What is to be run.

    Raises:
        ValueError: There are some.
    """
    for objective, config in plan.configs.items():
        for rate in plan.rates:
            for seed in plan.seeds:
                folder = plan.run(objective, rate, seed).folder
                path = folder / ".hydra" / "config.yaml"
                if not path.is_file():
                    continue
                then = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
                lines = differences(then, config)
                if lines:
                    raise ValueError(
                        f"{folder} is of a run with other settings:\n"
                        + "\n".join(f"  {line}" for line in lines)
                        + "\nGive the settings that it has, or another hydra.sweep.dir."
                    )


def differences(then: Mapping, now: Mapping, prefix: str = "") -> list[str]:
    """Settings that differ, those left out that are free to.

    Args:
        then: A configuration, as plain containers.
        now: Another.
        prefix: Keys that lead to both.

    Returns:
        A line each.
    """
    lines = []
    for name in sorted(then.keys() | now.keys()):
        key = f"{prefix}{name}"
        before, after = then.get(name, "not set"), now.get(name, "not set")
        if before == after or key in FREE:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{key}.")
        else:
            lines.append(f"{key}: {before!r} then, {after!r} now")
    return lines
