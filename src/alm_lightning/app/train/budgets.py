"""Numbers of a budget that an experiment has put others in the place of."""

import logging

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from alm_lightning.app.hydra.overrides import as_typed, parsed, task_overrides

log = logging.getLogger(__name__)

OF_BUDGETS = ("budget", "debug", "ablation", "sweep")
"""Groups whose files have numbers of a budget, beside `experiment`."""


def warn_of_other_numbers(cfg: DictConfig) -> None:
    """Says what of a budget that was asked for an experiment has set otherwise.

    Settings of an experiment win over those of an option, also over one of the command line.

    Args:
        cfg: The configuration of the running program.
    """
    texts = task_overrides()
    typed = {each.key_or_group: text for text, each in zip(texts, parsed(texts), strict=True)}
    if "budget" not in typed or not GlobalHydra.instance().is_initialized():
        return
    hydra = HydraConfig.get()
    experiment = hydra.runtime.choices.get("experiment")
    if not experiment:
        return
    # the same run without its experiment
    others = [text for key, text in typed.items() if key.partition(".")[0] in OF_BUDGETS]
    others += ["~experiment", *as_typed(hydra.overrides.hydra)]
    try:
        loader = GlobalHydra.instance().config_loader()
        asked = loader.load_configuration(hydra.job.config_name, others, RunMode.RUN).budget
    except (HydraException, OmegaConfBaseException) as error:
        log.debug("the budget could not be composed without experiment=%s: %s", experiment, error)
        return
    found = {key: value for key, value in asked.items() if cfg.budget.get(key) != value}
    if found:
        log.warning(
            "experiment=%s sets %s, which budget=%s does not. For the numbers of the budget: %s",
            experiment,
            ", ".join(f"budget.{key}={cfg.budget.get(key)}" for key in found),
            hydra.runtime.choices["budget"],
            " ".join(f"budget.{key}={value}" for key, value in found.items()),
        )
