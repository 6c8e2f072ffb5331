"""From the configuration of harnesses to harnesses, each with what its records depend on."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from alm_lightning.app.evaluate.models import ModelEntry, find_model, load_evaluated, torch_device
from alm_lightning.evaluation.harness import Harness
from alm_lightning.models.loading import torch_dtype

PARTNERS = {"teacher": "compare", "target": "draft"}
"""Settings that name a second model, and the harness that an error calls them of."""
RULES = {"gsm8k": 2, "generate": 2, "lm_eval": 2, "compare": 2}
"""Raised where a harness has come to give other figures for the same settings: records of both ways
must not be mixed."""
NO_FIGURES = ("batch_size", "shown_documents")
"""Settings that change no figure: an evaluation may be continued with others. Of sampled texts
`batch_size` does."""


@dataclass(frozen=True)
class HarnessPlan:
    """A harness of the evaluation.

    Attributes:
        harness: The measurements.
        settings: What the records depend on, as plain values: its settings without `NO_FIGURES`,
            and what tells its partner from others.
        partner: The second model that it needs, if it does: a teacher, or a target.
    """

    harness: Harness
    settings: Mapping[str, object]
    partner: ModelEntry | None = None


def plan_harnesses(
    nodes: DictConfig, models: Path, dtype: str, device: str
) -> dict[str, HarnessPlan]:
    """Makes the harnesses, in the order of the configuration.

    Args:
        nodes: `harness` of the configuration.
        models: The folder of files that name models.
        dtype: Of a partner's weights, as ``auto``.
        device: Where a partner is to be, as ``auto``.

    Returns:
        Harnesses by name.
    """
    plans = {}
    for name, node in nodes.items():
        settings = {
            key: value
            for key, value in OmegaConf.to_container(node, resolve=True).items()
            if key not in NO_FIGURES or (key == "batch_size" and node.get("temperature"))
        }
        if name in RULES:
            settings["rules"] = RULES[name]
        partner = None
        # a value that is missing ("???") counts as absent for `in node`, but has its key
        role = next((role for role in PARTNERS if role in set(node)), None)
        if role is not None:
            # found now, so that a wrong name fails at once; loaded when it is needed
            partner = _find_partner(node, role, models)
            weights = str(torch_dtype(dtype, device))
            settings[role] = {**partner.identity(), "dtype": weights}
            if role == "target":
                # its figures are times, too
                settings["device"] = torch_device(device).type
            load = functools.partial(load_evaluated, partner, dtype, device)
            harness = instantiate(node)(**{f"load_{role}": load})
        elif "prompt" in set(node):
            # the text as it is: instantiate would resolve ${...} in it a second time
            harness = instantiate(node, prompt=None, _partial_=True)(prompt=node.prompt)
        else:
            harness = instantiate(node)
        plans[name] = HarnessPlan(harness, settings, partner)
    return plans


def _find_partner(node: DictConfig, role: str, models: Path) -> ModelEntry:
    if OmegaConf.is_missing(node, role) or node[role] is None:
        key = f"harness.{PARTNERS[role]}.{role}"
        raise ValueError(
            f"harness={PARTNERS[role]} needs a {role}: give {key}=gemma3_270m, or a folder, or a "
            "hub id."
        )
    return find_model(node[role], models)
