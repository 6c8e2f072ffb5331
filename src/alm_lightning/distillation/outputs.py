"""What a run of the library writes and shows, and where."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import CSVLogger, Logger

from alm_lightning.training.callbacks import ProgressBar, Speed
from alm_lightning.training.checkpoint_io import WholeFiles


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the one of global rank 0."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))


def empty_folder(folder: Path) -> Path:
    """The same folder; a FileExistsError if it has files already."""
    # other processes start when the first may have written already
    if is_first_process() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"output_dir is {folder}, which exists and is not empty; nothing is written over. "
            "Choose another folder."
        )
    return folder


def trainer_outputs(
    folder: Path | None,
    logger: Logger | Sequence[Logger] | None,
    callbacks: Sequence[L.Callback],
    *,
    progress: bool,
) -> dict[str, Any]:
    """Arguments of the trainer that say what is shown and written."""
    loggers = [logger] if isinstance(logger, Logger) else list(logger or ())
    if logger is None and folder is not None:
        loggers = [CSVLogger(str(folder), name="", version="", flush_logs_every_n_steps=1)]
    return {
        "plugins": [WholeFiles()],
        "default_root_dir": folder,
        "logger": loggers,
        "callbacks": [Speed(), *([ProgressBar()] if progress else []), *callbacks],
        "enable_progress_bar": progress,
        # without one of the caller's, Lightning would write checkpoints of its own
        "enable_checkpointing": any(isinstance(each, Checkpoint) for each in callbacks),
    }
