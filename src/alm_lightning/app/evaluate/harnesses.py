"""From the configuration of harnesses to harnesses, each with what its records depend on."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate.models import ModelEntry, find_model, load_evaluated
from alm_lightning.evaluation.harness import Harness
from alm_lightning.models.loading import torch_dtype

NO_FIGURES = ("batch_size", "shown_documents")
"""Settings that change no figure: an evaluation may be continued with others."""


@dataclass(frozen=True)
class HarnessPlan:
    """A harness of the evaluation.

    Attributes:
        harness: The measurements.
        settings: What the records depend on, as plain values: its settings without `NO_FIGURES`,
            and what tells its teacher from others.
        teacher: The model that it compares with, if it does.
    """

    harness: Harness
    settings: Mapping[str, object]
    teacher: ModelEntry | None = None


def plan_harnesses(
    nodes: DictConfig, models: Path, dtype: str, device: str
) -> dict[str, HarnessPlan]:
    """Makes the harnesses, in the order of the configuration.

    Args:
        nodes: `harness` of the configuration.
        models: The folder of files that name models.
        dtype: Of a teacher's weights, as ``auto``.
        device: Where a teacher is to be, as ``auto``.

    Returns:
        Harnesses by name.
    """
    plans = {}
    for name, node in nodes.items():
        settings = {
            key: value
            for key, value in OmegaConf.to_container(node, resolve=True).items()
            if key not in NO_FIGURES
        }
        teacher = None
        # a value that is missing ("???") counts as absent for `in node`, but has its key
        if "teacher" in set(node):
            # found now, so that a wrong name fails at once; loaded when it is needed
            teacher = _find_teacher(node, models)
            weights = str(torch_dtype(dtype, device))
            settings["teacher"] = {**teacher.identity(), "dtype": weights}
            load = functools.partial(load_evaluated, teacher, dtype, device)
            harness = instantiate(node)(load_teacher=load)
        elif "prompt" in set(node):
            # the text as it is: instantiate would resolve ${...} in it a second time
            harness = instantiate(node, prompt=None, _partial_=True)(prompt=node.prompt)
        else:
            harness = instantiate(node)
        plans[name] = HarnessPlan(harness, settings, teacher)
    return plans


def _find_teacher(node: DictConfig, models: Path) -> ModelEntry:
    if OmegaConf.is_missing(node, "teacher") or node.teacher is None:
        raise ValueError(
            "harness=compare needs a teacher to compare with: give harness.compare.teacher="
            "gemma3_270m, or a folder, or a hub id."
        )
    return find_model(node.teacher, models)
