"""Checkpoint files that are there as a whole, or not at all."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.load import _METADATA_FILENAME, _load_distributed_checkpoint
from lightning.fabric.utilities.types import _PATH
from torch.distributed.checkpoint.api import CheckpointException

from alm_lightning.training.optimizer_states import by_number

PART = ".part"
"""Ends the name of a checkpoint that is being written."""


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and then renames it.

    Lightning builds it up in memory, writes it to the system's temporary folder, and copies it from
    there. Where that is another disk, and the run's is full, half a checkpoint is left in place of
    the one before.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Saves a checkpoint.

        Args:
            checkpoint: What Lightning and the module want kept.
            path: Where to. A URL is left to Lightning.
            storage_options: Lightning has none for files.

        Raises:
            OSError: There is no room, or no right to write. What was at `path` is still there.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(place.name + PART)
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
        except BaseException as error:
            part.unlink(missing_ok=True)
            cause = not_written(error, path)
            if cause is None:
                raise
            raise cause from error

    def load_checkpoint(self, path: _PATH, *args: Any, **options: Any) -> dict[str, Any]:
        """Loads a checkpoint.

        Args:
            path: Where it lies.
            *args: Lightning's.
            **options: Lightning's.

        Returns:
            What was saved.

        Raises:
            ValueError: The file is no checkpoint, or a part of one.
        """
        try:
            if Path(path).is_dir():
                return _from_folder(Path(path))
            return super().load_checkpoint(path, *args, **options)
        except (RuntimeError, EOFError, pickle.UnpicklingError, CheckpointException) as error:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise damaged(path, reason or "it is empty") from error

    def remove_checkpoint(self, path: _PATH) -> None:
        """Removes a checkpoint; a folder of a spread run is renamed first, so that none is in part.

        Args:
            path: Where it lies.
        """
        place = Path(path)
        if not place.is_dir():
            super().remove_checkpoint(path)
            return
        part = place.with_name(place.name + PART)
        place.rename(part)
        shutil.rmtree(part)


def _from_folder(path: Path) -> dict[str, Any]:
    """The checkpoint of a run whose weights were spread, as a single process saves it."""
    if not (path / _METADATA_FILENAME).is_file():
        raise damaged(path, f"it has no {_METADATA_FILENAME}")
    checkpoint = _load_distributed_checkpoint(path)
    named = sorted(name for name in checkpoint if name.startswith("optimizer_"))
    states = [by_number(checkpoint.pop(name)) for name in named]
    return {**checkpoint, "optimizer_states": states}


def not_written(error: BaseException | None, path: _PATH) -> OSError | None:
    """Says of which checkpoint it is that something could not be written.

    Args:
        error: What was caught.
        path: The checkpoint's place.

    Returns:
        The error, to be raised; None if it is of another kind.
    """
    # torch's archive can't be closed, and says so in place of why
    cause = error.__context__ if isinstance(error, RuntimeError) else error
    if not isinstance(cause, OSError):
        return None
    return OSError(cause.errno, f"{cause.strerror or cause}, for a checkpoint", path)


def damaged(path: _PATH, reason: str) -> ValueError:
    """The error for what is no checkpoint, or a part of one.

    Args:
        path: Where it lies.
        reason: What is wrong with it.

    Returns:
        The error, to be raised.
    """
    return ValueError(
        f"the checkpoint {path} can't be read ({reason}): it is damaged, or no checkpoint. Take "
        "another one of the run, from its folder checkpoints/."
    )
