"""The strategy of runs whose weights are spread: processes, mesh, and checkpoints as folders."""

import errno
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.load import _METADATA_FILENAME
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from alm_lightning.training.checkpoint_io import PART, damaged, not_written
from alm_lightning.training.optimizer_states import by_name
from alm_lightning.training.resume import check_continued
from alm_lightning.training.sharding.models import Spread


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 over all ranks: every matrix of the student, and of the teacher, is spread over them.

    A checkpoint is a folder, in which each rank writes what it holds. It is loaded on any number of
    ranks; so is the checkpoint of a run that was not spread.

    Args:
        shard_teacher: Whether the teacher is spread too. If not, every rank holds the whole of it,
            and of what a student with adapters shares with it: quicker, where there is room.
    """

    def __init__(self, *, shard_teacher: bool):
        # the sizes of the mesh are known when the processes are: all ranks hold different data
        super().__init__(tensor_parallel_size=1)
        self.shard_teacher = shard_teacher

    def setup_environment(self) -> None:
        """Starts the processes, or finds them."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def spread(self) -> Spread:
        """How models are spread.

        Returns:
            Over all ranks, in half precision where the run's is mixed.
        """
        is_mixed = self.precision_plugin.precision == "bf16-mixed"
        half = torch.bfloat16 if is_mixed else None
        return Spread(self.device_mesh["data_parallel"], half)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any | None = None
    ) -> None:
        """Writes a folder beside its place, and then renames it. Every rank must call.

        Args:
            checkpoint: What Lightning and the module want kept.
            filepath: Where to.
            storage_options: Lightning has none for files.

        Raises:
            OSError: There is no room, or no right to write. What was at the place is still there.
        """
        place = Path(self.broadcast(filepath))
        part = place.with_name(place.name + PART)
        self._first_alone(lambda: _begin(part), place)
        states = {"state_dict": checkpoint.pop("state_dict")}
        for number, state in enumerate(checkpoint.pop("optimizer_states", [])):
            states[f"optimizer_{number}"] = state
        try:
            save(states, storage_writer=FileSystemWriter(part))
        except CheckpointException as error:
            # all ranks get here, whichever of them could not write
            if self.is_global_zero:
                shutil.rmtree(part, ignore_errors=True)
            causes = [not_written(cause, place) for cause, _ in error.failures.values()]
            cause = next((c for c in causes if c is not None), None)
            if cause is None:
                raise
            raise cause from error
        self._first_alone(lambda: _finish(part, place, checkpoint), place)

    def remove_checkpoint(self, filepath: _PATH) -> None:
        """Removes a checkpoint. Every rank must call.

        Args:
            filepath: Where it lies.
        """
        place = Path(self.broadcast(filepath))
        self._first_alone(lambda: self.checkpoint_io.remove_checkpoint(place), place)

    def _first_alone(self, work: Callable[[], None], place: Path) -> None:
        """Work on a checkpoint of the first rank, which others wait for: all have its error."""
        error, said = None, None
        if self.is_global_zero:
            try:
                work()
            except Exception as caught:
                error = caught
                cause = not_written(caught, place)
                said = (None, repr(caught)) if cause is None else (cause.errno, cause.strerror)
        said = self.broadcast(said)
        if said is None:
            return
        if self.local_rank == 0:
            # each machine has one of its own, if the folder is on no disk that all of them see
            shutil.rmtree(place.with_name(place.name + PART), ignore_errors=True)
        number, reason = said
        if number is None:
            raise RuntimeError(
                f"{reason} on the first process, for a checkpoint: {place}"
            ) from error
        raise OSError(number, reason, place) from error

    def load_checkpoint(
        self, checkpoint_path: _PATH, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Loads weights and optimizer states, from a folder or from the file of one device.

        Args:
            checkpoint_path: Where the checkpoint lies.
            weights_only: As for `torch.load`.

        Returns:
            What else was saved.

        Raises:
            ValueError: There is no whole checkpoint at the path, or that of another run.
        """
        path = Path(self.broadcast(checkpoint_path))
        if path.is_file():
            return self._load_file(path, weights_only)
        meta = path / _METADATA_FILENAME
        if not meta.is_file():
            raise damaged(path, f"it has no {_METADATA_FILENAME}")
        try:
            rest = torch.load(meta, weights_only=weights_only, map_location="cpu")
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise damaged(path, str(error).strip().partition("\n")[0] or "it is empty") from error
        self._check_settings(rest)
        trained = self._trained_state()
        states = {"state_dict": trained} | {
            f"optimizer_{number}": get_optimizer_state_dict(self._module, optimizer)
            for number, optimizer in enumerate(self.optimizers)
        }
        try:
            load(states, checkpoint_id=path)
        except (CheckpointException, RuntimeError, EOFError, OSError) as error:
            raise damaged(path, str(error).strip().rpartition("\n")[2]) from error
        self._module.load_state_dict(trained, strict=False)
        for number, optimizer in enumerate(self.optimizers):
            set_optimizer_state_dict(self._module, optimizer, states[f"optimizer_{number}"])
        # the module completes and checks what it finds under this name: nothing is left to load
        return {**rest, "state_dict": {}}

    def _load_file(self, path: Path, weights_only: bool | None) -> dict[str, Any]:
        """The checkpoint of a run that was not spread: each rank takes its share of it."""
        checkpoint = self.checkpoint_io.load_checkpoint(path, weights_only=weights_only)
        self._check_settings(checkpoint)
        weights = checkpoint.pop("state_dict")
        self._check_weights(path, weights)
        # what is frozen is in no checkpoint
        options = StateDictOptions(full_state_dict=True, strict=False)
        set_model_state_dict(self._module, weights, options=options)
        states = checkpoint.pop("optimizer_states", [])
        for optimizer, state in zip(self.optimizers, states, strict=True):
            named = by_name(state, self._names(optimizer))
            set_optimizer_state_dict(self._module, optimizer, named, options=options)
        return {**checkpoint, "state_dict": {}}

    def _check_settings(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuses another run's settings: weights of other shapes would seem to be damaged."""
        check_continued(checkpoint["config"], vars(self._module)["config"])

    def _check_weights(self, path: Path, weights: Mapping[str, Any]) -> None:
        """Refuses a file without some of what is trained, or with something else."""
        trained = self._trained_state()
        problems = {
            "lacks": trained.keys() - weights.keys(),
            "has, and this run has not,": weights.keys()
            - get_model_state_dict(self._module).keys(),
            "has in other shapes": {
                name
                for name in trained.keys() & weights.keys()
                if _shape(trained[name]) != _shape(weights[name])
            },
        }
        found = [
            f"it {verb} {', '.join(sorted(names)[:3])} ({len(names)} in all)"
            for verb, names in problems.items()
            if names
        ]
        if found:
            raise ValueError(
                f"the checkpoint {path} is of another model: {'; '.join(found)}. Take one of a run "
                "with this student, adapter and objective, or leave ckpt_path out."
            )

    @property
    def _module(self) -> nn.Module:
        assert self.model is not None, "a checkpoint belongs to a module: call a trainer with one"
        return self.model

    def _trained_state(self) -> dict[str, Any]:
        """The state of the module without its frozen weights, which are in no checkpoint."""
        # a tied matrix has two names in the state
        named = self._module.named_parameters(remove_duplicate=False)
        frozen = {name for name, parameter in named if not parameter.requires_grad}
        state: Mapping[str, Any] = get_model_state_dict(self._module)
        return {name: value for name, value in state.items() if name not in frozen}

    def _names(self, optimizer: Optimizer) -> dict[int, str]:
        names = {parameter: name for name, parameter in self._module.named_parameters()}
        listed = [p for group in optimizer.param_groups for p in group["params"]]
        return {number: names[parameter] for number, parameter in enumerate(listed)}


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of a tensor; None for what else a module keeps, such as a number of steps."""
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _begin(part: Path) -> None:
    """Makes an empty folder for a checkpoint."""
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)


def _finish(part: Path, place: Path, rest: Mapping[str, Any]) -> None:
    """Adds what is no weight to a folder that has the shares of all ranks, and puts it in place."""
    stored = FileSystemReader(part).read_metadata().storage_data or {}
    names = sorted({info.relative_path for info in stored.values()})
    # each is asked for by its name: a list of a network disk's folder may be some seconds old
    missing = [name for name in names if not (part / name).is_file()]
    if missing:
        raise FileNotFoundError(
            errno.ENOENT,
            f"the first process does not see {len(missing)} of {len(names)} files that were "
            f"written ({missing[0]}). Give a folder on a disk that all machines see "
            "(paths.output_dir, hydra.run.dir)",
        )
    with (part / _METADATA_FILENAME).open("wb") as file:
        torch.save(dict(rest), file)
        file.flush()
        os.fsync(file.fileno())
    _put(part, place)


def _put(part: Path, place: Path) -> None:
    """Renames a folder; one that was at the place goes when the new one is there."""
    old = place.with_name(f"{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.is_file() or place.is_symlink():
        place.unlink()
    elif place.exists():
        # a folder can't be replaced in one step; for a moment the old one is beside its place
        place.rename(old)
    part.rename(place)
    shutil.rmtree(old, ignore_errors=True)
