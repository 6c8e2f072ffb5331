"""Runs of a bake-off: how one is started, and how one continues that was stopped.

Each is a process of its own: its peak memory is that of this run alone, and a run that dies does
not affect the others.
"""

import fcntl
import itertools
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from alm_lightning.app.bakeoff.figures import ARGUMENTS, evaluation_folder, is_evaluated
from alm_lightning.app.bakeoff.models import model_folder
from alm_lightning.app.bakeoff.plan import Run
from alm_lightning.app.bakeoff.pool import ProcessPool
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.hydra.bakeoff_mode import LOCK_FILE
from alm_lightning.app.hydra.overrides import quoted
from alm_lightning.app.hydra.sweep_table import read_failure
from alm_lightning.app.train.divergence import read_divergence

log = logging.getLogger(__name__)
ADVICE = ("Set the environment variable HYDRA_FULL_ERROR=1", "The traceback is in ")
"""Lines that a program prints after its error."""


@dataclass(frozen=True)
class Programs:
    """Starts train.py and evaluate.py.

    Attributes:
        train_command: Arguments of Python that start train.py, or alm-train.
        evaluate_command: The same of evaluate.py, or alm-evaluate.
        flags: Command-line flags before the overrides, such as ``--config-dir`` and its value.
        hydra: Overrides of Hydra's own settings.
        lock: A file descriptor that the processes keep open, so that their folder stays locked when
            the bake-off itself is killed.
        keep_checkpoints: Whether runs that are finished, or diverged, keep theirs.
        evaluate_arguments: Arguments of evaluate.py; None for no evaluation.
        pool: Where the processes run.
    """

    train_command: Sequence[str]
    evaluate_command: Sequence[str]
    flags: Sequence[str]
    hydra: Sequence[str]
    lock: int
    keep_checkpoints: bool
    evaluate_arguments: Sequence[str] | None
    pool: ProcessPool = field(default_factory=ProcessPool)

    def train(self, run: Run) -> str | None:
        """Trains a run that is not finished, from the newest checkpoint of an earlier attempt.

        The result says why it failed, or that it diverged; None if it is finished.
        """
        attempts = _stopped_attempts(run)
        checkpoint = newest_checkpoint(attempts)
        overrides = [*run.overrides, *self.hydra, f"hydra.run.dir={_path_value(run.folder)}"]
        if checkpoint is not None:
            log.info("%s continues from %s", run, checkpoint)
            overrides.append(f"ckpt_path={_path_value(checkpoint)}")
        log_file = run.folder.with_name(f"{run.folder.name}.log")
        code = self._process(self.train_command, overrides, log_file)
        diverged = read_divergence(run.folder)
        is_done = not code and is_finished(run.folder)
        if not self.keep_checkpoints and (is_done or diverged is not None):
            for folder in (run.folder, *attempts):
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        if is_done:
            return None
        if diverged is not None:
            return f"it diverged: {diverged}"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return read_failure(run.folder) or f"it {how}: {_last_line(log_file)}"

    def evaluate(self, run: Run) -> str | None:
        """Evaluates the model of a finished run with evaluate.py, unless that is done.

        The result says why it failed; None if it is done.
        """
        arguments = list(self.evaluate_arguments or ())
        if not arguments or is_evaluated(run.folder, arguments):
            return None
        if not model_folder(run).is_dir():
            return (
                "its model is gone (removed by hand, or by bakeoff.keep_models=chosen when another "
                f"rate was best): move {run.folder} away to train it again."
            )
        folder = evaluation_folder(run.folder, arguments)
        run_dir = f"hydra.run.dir={_path_value(folder)}"
        overrides = [f"model={_path_value(run.folder)}", *arguments, run_dir]
        log_file = run.folder.with_name(f"{run.folder.name}.evaluation.log")
        code = self._process(self.evaluate_command, overrides, log_file)
        if code:
            return f"evaluate.py ended with {code}: {_last_line(log_file)}"
        # atomic: another thread may write the tables at this moment
        part = folder / f"{ARGUMENTS}.part"
        part.write_text(json.dumps(arguments), encoding="utf-8")
        part.replace(folder / ARGUMENTS)
        return None

    def _process(self, program: Sequence[str], overrides: Sequence[str], log_file: Path) -> int:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *program, *self.flags, *overrides]
        with log_file.open("ab") as output:
            return self.pool.run_process(command, output, self.lock)


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Keeps other bake-offs out of a folder.

    Args:
        folder: Where a bake-off writes.

    Yields:
        A file descriptor: the folder is locked until every process that has it open is gone.

    Raises:
        RuntimeError: Another bake-off runs there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"another bake-off, or a run that one has left behind, uses {folder}. "
                "Wait for it, or give another hydra.sweep.dir."
            ) from error
        yield file.fileno()


def newest_checkpoint(attempts: Sequence[Path]) -> Path | None:
    """The newest of the checkpoints in the folders of a run's attempts; None without any."""
    # those of runs with spread weights are folders
    paths = [
        path
        for folder in attempts
        for name in ("last.ckpt", "stopped.ckpt")
        if (path := folder / "checkpoints" / name).exists()
    ]
    return max(paths, key=lambda path: path.stat().st_mtime_ns, default=None)


def _path_value(path: Path) -> str:
    """A path as the value of an override: absolute, since processes may have another folder."""
    return quoted(str(path.absolute()))


def _stopped_attempts(run: Run) -> list[Path]:
    """Folders of attempts that were stopped; the one in the run's own folder is renamed.

    A run never writes over another, not even over the one that it continues.
    """
    earlier = sorted(run.folder.parent.glob(f"{run.folder.name}.stopped_*"))
    if run.folder.exists():
        names = (f"{run.folder.name}.stopped_{number}" for number in itertools.count())
        folder = next(place for name in names if not (place := run.folder.with_name(name)).exists())
        log.info("%s was stopped: its earlier attempt is now in %s", run, folder)
        run.folder.rename(folder)
        earlier.append(folder)
    return earlier


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").split("\n")
    # of a progress bar, what is shown last
    shown = [line.rpartition("\r")[2].strip() for line in lines]
    printed = [line for line in shown if line and not line.startswith(ADVICE)]
    return f"{printed[-1] if printed else 'nothing was printed'} ({log_file})"
