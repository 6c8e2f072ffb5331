"""Numbers of a budget that an experiment has put others in the place of."""

import logging

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from alm_lightning.app.hydra.overrides import parsed, task_overrides

log = logging.getLogger(__name__)


def warn_of_other_numbers(cfg: DictConfig) -> None:
    """Says what of a budget that was asked for an experiment has set otherwise.

    Settings of an experiment win over those of an option, also over one of the command line.

    Args:
        cfg: The configuration of the running program.
    """
    keys = [override.key_or_group for override in parsed(task_overrides())]
    if "budget" not in keys or not GlobalHydra.instance().is_initialized():
        return
    hydra = HydraConfig.get()
    name, experiment = hydra.runtime.choices["budget"], hydra.runtime.choices["experiment"]
    loader = GlobalHydra.instance().config_loader()
    asked = loader.load_configuration("train", [f"budget={name}", "~experiment"], RunMode.RUN)
    others = {
        key: value
        for key, value in asked.budget.items()
        if cfg.budget.get(key) != value and f"budget.{key}" not in keys
    }
    if others:
        log.warning(
            "experiment=%s sets %s, which budget=%s does not. For the numbers of the budget: %s",
            experiment,
            ", ".join(f"budget.{key}={cfg.budget.get(key)}" for key in others),
            name,
            " ".join(f"budget.{key}={value}" for key, value in others.items()),
        )
