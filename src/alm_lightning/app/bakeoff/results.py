"""What earlier calls of a bake-off have left: finished runs, and runs with other settings."""

import json
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from alm_lightning.app.bakeoff.plan import RATE, Plan
from alm_lightning.renamed import with_current_names
from alm_lightning.training.resume import completed

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
"""Settings that are part of the folder's name, or that change no figure."""

EARLIER = {
    "speed": {
        "_target_": "alm_lightning.models.speed.Speed",
        "attention": None,
        "checkpointing": False,
        "keep_graphs": False,
        "compile": False,
        "liger": False,
    },
}
"""What runs did from before these were settings."""


def read_summary(folder: Path) -> dict | None:
    """The summary.json of a finished run.

    None if the run in `folder` is not finished: it has no summary, or one that names no model,
    because the export failed. The model itself may have been removed since.
    """
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return None if summary is None or summary["model_path"] is None else summary


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` is finished."""
    return read_summary(folder) is not None


def check_earlier_runs(plan: Plan) -> None:
    """Refuses a folder with runs that have other settings, finished or not.

    Args:
        plan: What is to be run.

    Raises:
        ValueError: There is such a run.
    """
    for objective, config in plan.configs.items():
        for rate in plan.rates:
            for seed in plan.seeds:
                folder = plan.run(objective, rate, seed).folder
                path = folder / ".hydra" / "config.yaml"
                if not path.is_file():
                    continue
                then = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
                earlier = {name: value for name, value in EARLIER.items() if name in config}
                then = completed({**earlier, **with_current_names(then)}, config)
                lines = differences(then, config)
                if lines:
                    raise ValueError(
                        f"{folder} is of a run with other settings:\n"
                        + "\n".join(f"  {line}" for line in lines)
                        + "\nGive the same settings, or another hydra.sweep.dir."
                    )


def differences(then: Mapping, now: Mapping, prefix: str = "") -> list[str]:
    """Settings that differ between two configurations, without those in `FREE`: a line for each.

    `prefix` holds the keys that lead to both.
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
