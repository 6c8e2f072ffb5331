"""Loggers that need more than a constructor, and what warnings a user is spared."""

import logging
import netrc
import os
import warnings
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
    """A W&B logger that never asks: online with a key, offline without.

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
        log.info("W&B: no key, so this run is kept offline; `wandb sync` uploads it later.")
    return WandbLogger(
        project=project,
        name=name,
        save_dir=save_dir,
        entity=entity,
        group=group,
        tags=list(tags),
        offline=offline,
    )


def log_hyperparameters(loggers: Sequence[Logger], config: Mapping) -> None:
    """Records the resolved configuration with every logger.

    Args:
        loggers: The run's loggers.
        config: The configuration, as plain containers.
    """
    for logger in loggers:
        logger.log_hyperparams(dict(config))


def log_samples(loggers: Sequence[Logger], samples: Sequence[Mapping[str, str]]) -> None:
    """Sends the sample continuations to W&B as a table, and ends its runs.

    Ended here, since a sweep would go on to log its next run into the one that is open.

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


def quiet_warnings() -> None:
    """Spares the user advice of Lightning that does not apply here."""
    for message in (
        ".*LeafSpec.*",  # Lightning 2.6 calls an API that torch 2.13 deprecates
        ".*does not have many workers.*",  # pairing takes a hundredth of a step
        ".*Experiment logs directory .* exists and is not empty.*",  # Hydra made it a second ago
        ".*Checkpoint directory .* exists and is not empty.*",
        # the state after a step is what a resumed run continues from
        ".*ModelCheckpoint with manual optimization and every_n_train_steps.*",
        # the loader of a resumed run starts at the step that the checkpoint ended with
        ".*resuming from a checkpoint that ended before.*",
        ".*Total length of `list` across ranks is zero.*",  # no evaluation within a run
        ".*You have overridden `transfer_batch_to_device`.*",  # batches are the module's own
    ):
        warnings.filterwarnings("ignore", message=message)
    # which accelerators are absent, and advertisements
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
