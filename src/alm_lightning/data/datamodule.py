"""The LightningDataModule: emits paired tokenizations with aligned chunk boundaries."""

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Subset

from alm_lightning.corpus.bad_documents import format_counts
from alm_lightning.corpus.sources.source import AnyDocument
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import AllWindows
from alm_lightning.data.loader import WaitedFor
from alm_lightning.data.packing import FirstFit
from alm_lightning.data.pairing import Pairing
from alm_lightning.data.rows import row_sizes
from alm_lightning.data.sampler import Steps, check_shares
from alm_lightning.data.windows import NUM_EXTRA, Window

log = logging.getLogger(__name__)

EMPTY = 0.02
"""Share of a row that may be empty where it is to be as long as any."""


@runtime_checkable
class TrainingWindows(Protocol):
    """What is trained on: `AllWindows`, `FirstWindow`, `CachedWindows`, `StreamedWindows`."""

    def loader_arguments(self, steps: Steps) -> dict[str, Any]:
        """What a `DataLoader` needs to give the windows of each step, in an order of its own."""
        ...


DatasetFactory = Callable[..., TrainingWindows]


class DistillDataModule(L.LightningDataModule):
    """Training windows in a reproducible order, and held-out windows to evaluate on.

    Args:
        train: Documents to train on.
        evaluation: Documents to evaluate on, by name; none of them is trained on.
        pairing: How a document becomes windows.
        dataset: Makes the training set from documents and `pairing`.
        collator: Makes batches.
        batch_size: Sequences of an optimizer step, over all ranks.
        num_steps: Optimizer steps of the run; 0 trains nothing.
        evaluation_windows: The most windows of each evaluation set, spread evenly over it.
        seed: Seed of the order.
        validate_during_fit: Whether the evaluation sets are evaluated on within a run as well.
        num_workers: Processes that pair and collate; 0 does it in this one.
        pins_memory: Whether batches lie in memory from which a GPU copies while it computes.
        finds_micro_batch: Whether the training module is to find the size of a micro-batch, and to
            set it in `collator`. Evaluation sets keep the one that is there at first.
    """

    def __init__(
        self,
        *,
        train: Iterable[AnyDocument],
        evaluation: Mapping[str, Sequence[AnyDocument]],
        pairing: Pairing,
        dataset: DatasetFactory,
        collator: Collator,
        batch_size: int,
        num_steps: int,
        evaluation_windows: int,
        seed: int,
        validate_during_fit: bool,
        num_workers: int,
        pins_memory: bool = False,
        finds_micro_batch: bool = False,
    ):
        super().__init__()
        for name, value, least in (
            ("budget.batch_size", batch_size, 1),
            # without a step the student stays as it starts, which is worth measuring
            ("budget.steps", num_steps, 0),
            ("budget.evaluation_windows", evaluation_windows, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}: expected at least {least}.")
        # a small evaluation set may leave a rank without a window: totals of nothing are zeros
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.pairing, self.collator = pairing, collator
        self.evaluation_collator = copy.copy(collator)
        self.pins_memory = pins_memory
        self.finds_micro_batch = finds_micro_batch
        self.batch_size, self.num_steps = batch_size, num_steps
        self.seed, self.num_workers = seed, num_workers
        self.validate_during_fit = validate_during_fit
        self.train = dataset(train, pairing=pairing)
        # a document gives a window at least: more of them than windows would be paired for nothing
        whole = {
            name: AllWindows(
                [documents[index] for index in spread(len(documents), evaluation_windows)],
                pairing=pairing,
                name=f"evaluation set {name}",
            )
            for name, documents in evaluation.items()
        }
        self.evaluation = {
            name: Subset(windows, spread(len(windows), evaluation_windows))
            for name, windows in whole.items()
        }

    @property
    def evaluation_names(self) -> list[str]:
        """Names of the evaluation sets, in the order of their loaders."""
        return list(self.evaluation)

    def check_processes(self, num_processes: int) -> None:
        """Refuses more processes than there is work for, before they are started.

        Args:
            num_processes: Of the run, one a device.

        Raises:
            ValueError: A step's sequences can't be shared evenly, or a process would have no
                window of any evaluation set. Lightning leaves the evaluation out there, and the
                others would wait for its totals.
        """
        check_shares(self.batch_size, num_processes)
        sizes = {name: len(windows) for name, windows in self.evaluation.items()}
        most = max(sizes.values())
        if most < num_processes:
            have = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise ValueError(
                f"there are {num_processes} processes (trainer.devices on each of "
                f"trainer.num_nodes), but windows to evaluate on for {most} of them: {have}. Take "
                f"at most {most} processes, or evaluate on more text: raise "
                "budget.evaluation_windows or corpus.heldout_share, or give more documents."
            )

    def setup(self, stage: str) -> None:
        """Checks, where nobody has done so before."""
        assert self.trainer is not None
        self.check_processes(self.trainer.world_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the steps that are still to be done."""
        assert self.trainer is not None
        steps = Steps(
            batch_size=self.batch_size,
            first_step=self.trainer.global_step,
            num_steps=self.num_steps,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(self.collator, **self.train.loader_arguments(steps))

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Batches of each evaluation set; each rank has its own share, none twice."""
        assert self.trainer is not None
        if self.trainer.state.fn == TrainerFn.FITTING and not self.validate_during_fit:
            return []
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        size = self.evaluation_collator.micro_batch_size
        loaders = []
        for windows in self.evaluation.values():
            own = list(range(rank, len(windows), world_size))
            batches = [own[start : start + size] for start in range(0, len(own), size)]
            loaders.append(
                self._loader(self.evaluation_collator, dataset=windows, batch_sampler=batches)
            )
        return loaders

    @property
    def num_rows(self) -> int:
        """The most rows that a step has on this rank."""
        assert self.trainer is not None
        return self.batch_size // self.trainer.world_size

    @property
    def lengths(self) -> tuple[int, int]:
        """Student and teacher tokens of the longest possible row."""
        packing = self.collator.packing
        if isinstance(packing, FirstFit):
            return packing.lengths
        student, teacher = self.pairing.student_length, self.pairing.teacher_length
        return student + NUM_EXTRA, teacher + NUM_EXTRA

    def longest_row(self) -> list[Window]:
        """Held-out windows that fill a row, on the side that is full first; none too short."""
        windows = [windows[i] for windows in self.evaluation.values() for i in range(len(windows))]
        sizes = [row_sizes(window) for window in windows]
        room = list(self.lengths)
        row = []
        order = sorted(range(len(sizes)), key=lambda i: -max(sizes[i]))
        for index in order:
            # short texts may come more than once: a row can be as long as it is allowed to be
            while all(size <= left for size, left in zip(sizes[index], room, strict=True)):
                row.append(windows[index])
                room = [left - size for size, left in zip(sizes[index], room, strict=True)]
        # what is tried must not be much less than what may come
        if all(left > EMPTY * most for left, most in zip(room, self.lengths, strict=True)):
            row.append(windows[order[-1]])
        return row

    def _loader(self, collator: Collator, **arguments: Any) -> DataLoader[Any]:
        return WaitedFor(
            **arguments,
            collate_fn=collator,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pins_memory,
        )

    @property
    def bad_documents(self) -> dict[str, int]:
        """Documents that were left out so far, by kind, in reading and in pairing."""
        return self.pairing.on_bad.counts()

    def teardown(self, stage: str) -> None:
        """Says how many documents were left out."""
        if stage == TrainerFn.FITTING and self.bad_documents:
            log.warning("documents left out as bad: %s", format_counts(self.bad_documents))


def spread(num_items: int, at_most: int) -> list[int]:
    """Indices of at most so many items, evenly over all of them.

    Args:
        num_items: How many there are.
        at_most: How many are chosen.

    Returns:
        Ascending indices.
    """
    count = min(num_items, at_most)
    return [index * num_items // count for index in range(count)]
