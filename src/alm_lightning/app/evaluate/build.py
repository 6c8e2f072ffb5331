"""From a configuration to harnesses."""

import functools
from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate.models import Entry, find_model, load_evaluated, plain
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.harness import Harness
from alm_lightning.models.loading import torch_dtype

NO_FIGURES = ("batch_size", "shown_documents")
"""Settings that change no figure: an evaluation may go on with others."""


def build_harnesses(cfg: DictConfig, models: Path) -> dict[str, Harness]:
    """The suites of measurements, in the order of the configuration.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models.

    Returns:
        Harnesses by name.
    """
    built = {}
    for name, node in cfg.harness.items():
        # a value that is still to be given counts as absent for `in node`, but has its key
        if "teacher" in set(node):
            # found now, so that a wrong name is told at once; loaded when it is needed
            load = _teacher(cfg, node, models)
            built[name] = instantiate(node)(load_teacher=load)
        elif "prompt" in set(node):
            # a text as it is: instantiate would look for ${...} in it a second time
            built[name] = instantiate(node, prompt=None, _partial_=True)(prompt=node.prompt)
        else:
            built[name] = instantiate(node)
    return built


def _teacher(cfg: DictConfig, node: DictConfig, models: Path) -> Callable[[], EvaluatedModel]:
    if OmegaConf.is_missing(node, "teacher") or node.teacher is None:
        raise ValueError(
            "harness=compare needs a teacher to compare with: say harness.compare.teacher="
            "gemma3_270m, or a folder, or a hub id."
        )
    return functools.partial(
        load_evaluated, find_model(node.teacher, models), cfg.dtype, cfg.device
    )


def teachers(cfg: DictConfig, models: Path) -> dict[str, Entry]:
    """The teachers that harnesses name.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models.

    Returns:
        Models by harness.
    """
    nodes = plain(cfg.harness).items()
    return {name: find_model(node["teacher"], models) for name, node in nodes if "teacher" in node}


def harness_settings(cfg: DictConfig, models: Path) -> dict[str, object]:
    """What the records of each harness depend on: its settings, and the teacher that they name.

    Args:
        cfg: The whole configuration.
        models: The folder of files that name models.

    Returns:
        Plain values by harness, without `NO_FIGURES`.
    """
    settings = {
        name: {key: value for key, value in node.items() if key not in NO_FIGURES}
        for name, node in plain(cfg.harness).items()
    }
    for name, entry in teachers(cfg, models).items():
        identity = {**entry.identity(), "dtype": str(torch_dtype(cfg.dtype, cfg.device))}
        settings[name]["teacher"] = identity
    return settings
