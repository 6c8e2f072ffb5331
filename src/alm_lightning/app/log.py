"""Loggers that need more than a constructor."""

import logging
import netrc
import os
from collections.abc import Mapping, Sequence

from lightning.pytorch.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    project: str,
    name: str,
    save_dir: str,
    entity: str | None,
    group: str | None,
    tags: Sequence[str],
) -> WandbLogger:
    """A W&B logger that never asks for a key: online with one, offline without.

    Args:
        project: W&B project.
        name: Name of the run.
        save_dir: Where the run's files go.
        entity: W&B user or team.
        group: Runs to show together, such as those of a sweep.
        tags: Labels.

    Returns:
        The logger.
    """
    offline = os.environ.get("WANDB_MODE") == "offline" or not _has_wandb_key()
    if offline:
        log.info("W&B: no key, so this run is logged offline; `wandb sync` uploads it later.")
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        entity=entity,
        group=group,
        tags=list(tags),
        offline=offline,
    )


def log_samples(loggers: Sequence[Logger], samples: Sequence[Mapping[str, str]]) -> None:
    """Sends the sample continuations to W&B as a table, and ends its runs.

    They are ended here, since the next run of a sweep would be logged into an open one.

    Args:
        loggers: The run's loggers.
        samples: Prompts with their continuations.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            if samples:
                rows = [list(sample.values()) for sample in samples]
                logger.log_text("val/samples", columns=list(samples[0]), data=rows)
            logger.experiment.finish()


def _has_wandb_key() -> bool:
    """Whether W&B finds a key without asking: in the environment, or in the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
