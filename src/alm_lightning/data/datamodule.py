"""The LightningDataModule: emits paired tokenizations with aligned chunk boundaries."""

import logging
from collections.abc import Callable, Mapping, Sequence

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset, Subset

from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.examples import AllWindows, Pairing
from alm_lightning.data.sampler import StepSampler

log = logging.getLogger(__name__)
DatasetFactory = Callable[..., Dataset]


class DistillDataModule(L.LightningDataModule):
    """Training windows in a reproducible order, and held-out windows to evaluate on."""

    def __init__(
        self,
        *,
        train: Sequence[Document],
        evaluation: Mapping[str, Sequence[Document]],
        pairing: Pairing,
        dataset: DatasetFactory,
        collator: Collator,
        batch_size: int,
        num_steps: int,
        evaluation_windows: int,
        seed: int,
        validate_during_fit: bool,
        num_workers: int,
    ):
        """Sets up the data.

        Args:
            train: Documents to train on.
            evaluation: Documents to evaluate on, by name; none of them is trained on.
            pairing: How a document becomes windows.
            dataset: Makes the training set from documents and `pairing`.
            collator: Makes batches.
            batch_size: Sequences of an optimizer step, over all ranks.
            num_steps: Optimizer steps of the run.
            evaluation_windows: The most windows of each evaluation set, spread evenly over it.
            seed: Seed of the order.
            validate_during_fit: Whether the evaluation sets are evaluated on within a run as well.
            num_workers: Processes that pair and collate; 0 does it in this one.
        """
        super().__init__()
        for name, value in (
            ("budget.batch_size", batch_size),
            ("budget.steps", num_steps),
            ("budget.evaluation_windows", evaluation_windows),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}: expected at least 1.")
        # a small evaluation set may leave a rank without a window: totals of nothing are zeros
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.pairing, self.collator = pairing, collator
        self.batch_size, self.num_steps = batch_size, num_steps
        self.seed, self.num_workers = seed, num_workers
        self.validate_during_fit = validate_during_fit
        self.train = dataset(train, pairing=pairing)
        whole = {name: AllWindows(docs, pairing=pairing) for name, docs in evaluation.items()}
        self.coverage = {name: windows.coverage for name, windows in whole.items()}
        self.evaluation = {
            name: Subset(windows, _spread(len(windows), evaluation_windows))
            for name, windows in whole.items()
        }

    @property
    def evaluation_names(self) -> list[str]:
        """Names of the evaluation sets, in the order of their loaders."""
        return list(self.evaluation)

    def train_dataloader(self) -> DataLoader:
        """Batches of the steps that are still to be done."""
        sampler = StepSampler(
            num_items=len(self.train),
            batch_size=self.batch_size,
            first_step=self.trainer.global_step,
            num_steps=self.num_steps,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return self._loader(self.train, sampler)

    def val_dataloader(self) -> list[DataLoader]:
        """Batches of each evaluation set; each rank has its own share, none twice."""
        if self.trainer.state.fn == TrainerFn.FITTING and not self.validate_during_fit:
            return []
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        size = self.collator.micro_batch_size
        loaders = []
        for windows in self.evaluation.values():
            own = list(range(rank, len(windows), world_size))
            batches = [own[start : start + size] for start in range(0, len(own), size)]
            loaders.append(self._loader(windows, batches))
        return loaders

    def _loader(self, dataset: Dataset, batch_sampler) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=self.collator,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )


def _spread(num_items: int, at_most: int) -> list[int]:
    """Indices of at most so many items, evenly over all of them."""
    count = min(num_items, at_most)
    return [index * num_items // count for index in range(count)]
