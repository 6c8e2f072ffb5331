"""Loggers that need more than a constructor."""

import logging
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger, WandbLogger

log = logging.getLogger(__name__)

TAGGED = ("experiment", "objective", "tokenizer", "adapter")
"""Groups whose chosen options are tags of a run; W&B has all other settings as its config."""
MOST_OF_A_TAG = 64
"""Letters that W&B takes."""
GROUP, JOB_TYPE = "WANDB_RUN_GROUP", "WANDB_JOB_TYPE"
"""W&B's own environment variables, by which a bake-off tells its runs that they are its own."""


def wandb_logger(
    *,
    project: str,
    name: str,
    save_dir: str,
    entity: str | None,
    group: str | None,
    job_type: str | None,
    tags: Sequence[str],
) -> WandbLogger:
    """A W&B logger that never asks for a key: online with one, offline without.

    Args:
        project: W&B project.
        name: Name of the run.
        save_dir: Where the run's files go.
        entity: W&B user or team.
        group: Runs to show together; None for those of a sweep or of a bake-off.
        job_type: What the run is for; None for ``train``, or ``bakeoff`` in a bake-off.
        tags: Labels beside the options of `TAGGED`.

    Returns:
        The logger.
    """
    offline = is_wandb_offline()
    if offline:
        log.info("W&B: no key, so this run is logged offline; `wandb sync` uploads it later.")
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        entity=entity,
        group=group or os.environ.get(GROUP) or _sweep(),
        job_type=job_type or os.environ.get(JOB_TYPE) or "train",
        tags=[*tags, *_chosen()],
        offline=offline,
    )


def group_of(folder: Path) -> str:
    """The W&B group of the runs of a sweep: the last two parts of its folder.

    Args:
        folder: The folder of the sweep.

    Returns:
        A name.

    Example:
        >>> group_of(Path("/multirun/gemma_to_bytes/search"))
        'gemma_to_bytes_search'
    """
    folder = folder.absolute()
    return "_".join(part for part in (folder.parent.name, folder.name) if part)


def _sweep() -> str | None:
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return group_of(Path(HydraConfig.get().sweep.dir))


def _chosen() -> list[str]:
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    tags = [f"{name}={choices[name]}" for name in TAGGED if choices.get(name)]
    return [tag[:MOST_OF_A_TAG] for tag in tags]


def is_wandb_offline() -> bool:
    """Whether W&B is told to be offline, or finds no key."""
    return os.environ.get("WANDB_MODE") == "offline" or not _has_wandb_key()


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
    """Whether W&B finds a key without asking: in the environment, or in the user's netrc.

    There it is under the host of the service, which may be one's own.
    """
    if os.environ.get("WANDB_API_KEY"):
        return True
    service = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(service.hostname or "")
        return found is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
