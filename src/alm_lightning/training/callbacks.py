"""Callbacks: speed, and a checkpoint before a run is stopped from outside."""

import logging
import signal
import time
from pathlib import Path
from types import FrameType

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from alm_lightning.data.batch import DistillBatch
from alm_lightning.data.loader import WaitedFor
from alm_lightning.training.memory import peak_memory_bytes
from alm_lightning.training.module import DistillModule

log = logging.getLogger(__name__)


class Speed(L.Callback):
    """Logs bytes of text per second, seconds per step, the wait for data, and peak memory."""

    def __init__(self):
        """Starts without a measurement."""
        self.train_seconds = 0.0
        self.num_steps = 0
        self.waited_seconds = 0.0
        self._started = 0.0

    def on_train_batch_start(self, trainer, pl_module, batch: list[DistillBatch], batch_idx: int):
        """Starts the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer, pl_module, outputs, batch: list[DistillBatch], batch_idx: int
    ):
        """Stops the clock, and logs."""
        seconds = time.perf_counter() - self._started
        self.train_seconds += seconds
        self.num_steps += 1
        # as trained on, with the student's own answers; a module of another kind has no counts
        if isinstance(pl_module, DistillModule):
            rate = pl_module.last_counts.num_bytes / seconds
            pl_module.log("speed/bytes_per_second", rate, prog_bar=True)
        pl_module.log("speed/seconds_per_step", seconds)
        # a loader of another kind does not know
        loader = trainer.train_dataloader
        if isinstance(loader, WaitedFor):
            waited = loader.waited_seconds - self.waited_seconds
            self.waited_seconds = loader.waited_seconds
            share = waited / (waited + seconds)
            pl_module.log("speed/waiting_for_data", share, prog_bar=True)
        pl_module.log("speed/peak_memory_bytes", float(peak_memory_bytes()))


class ProgressBar(TQDMProgressBar):
    """One bar for the run, with short names: ``alm``, not ``train/alm``."""

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float]:
        """The figures beside the bar.

        Losses and bytes per second.
        """
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return {name.rpartition("/")[2]: value for name, value in metrics.items()}


class SaveWhenStopped(L.Callback):
    """SIGTERM, SIGUSR2 and Ctrl-C save a checkpoint at the end of the running step, then stop.

    A second Ctrl-C stops at once. SIGUSR2 is what submitit has SLURM send before the time is over.

    Args:
        path: Where the checkpoint goes.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)

    def __init__(self, *, path: str):
        self.path = Path(path)
        self.stopped_by: str | None = None
        self._saved = False
        self._handlers: dict[int, object] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listens, in place of Lightning's own handlers, which stop in the middle of a step."""
        self._handlers = {number: signal.getsignal(number) for number in self.SIGNALS}
        for number in self.SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped_by = signal.Signals(number).name
        log.warning("%s: saving at the end of this step, then stopping.", self.stopped_by)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs, batch, batch_idx: int
    ) -> None:
        """Saves and stops, on all ranks at the same step."""
        self._save_if_stopped(trainer)

    def _save_if_stopped(self, trainer: L.Trainer) -> None:
        if self._saved:
            return
        stop = self.stopped_by is not None
        if trainer.world_size > 1:
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop:
            self.stopped_by = self.stopped_by or "a signal on another rank"
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True
            self._saved = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the signals back; what came during a validation after the last step is saved."""
        self._save_if_stopped(trainer)
        self._give_back()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Gives the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        # before Lightning's own teardown: it gives back what it had replaced, and a handler of
        # Lightning's that came back after that would swallow SIGTERM for good
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
