"""Runs of a bake-off: how one is started, and how one goes on that was stopped.

Each is a process of its own. A process tells the most memory that it ever held, so one that did
several runs would tell that of the largest so far; and a run that dies takes nothing with it.
"""

import fcntl
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
from alm_lightning.app.bakeoff.pool import Children
from alm_lightning.app.bakeoff.results import is_finished
from alm_lightning.app.hydra.callbacks import BAKEOFF_LOCK
from alm_lightning.app.hydra.quoting import quoted
from alm_lightning.app.hydra.sweep_table import read_failure

log = logging.getLogger(__name__)
ADVICE = ("Set the environment variable HYDRA_FULL_ERROR=1", "The traceback is in ")
"""What a program that failed says after its error."""


@dataclass(frozen=True)
class Programs:
    """How runs are started.

    Attributes:
        train: The path of train.py.
        flags: What comes before overrides: ``--config-dir`` and its value, for one.
        hydra: Overrides of Hydra's own settings.
        lock: A file descriptor that the processes keep open, so that a bake-off that was killed
            does not leave its last run to be taken for a dead one.
        keep_checkpoints: Whether finished runs keep theirs.
        evaluate: Arguments of evaluate.py, for `evaluated`.
        children: Their processes.
    """

    train: Path
    flags: Sequence[str]
    hydra: Sequence[str]
    lock: int
    keep_checkpoints: bool
    evaluate: Sequence[str] | None
    children: Children = field(default_factory=Children)

    def start(self, run: Run) -> str | None:
        """Does a run, from the newest checkpoint of an attempt that was stopped if there is one.

        Args:
            run: A run that is not finished.

        Returns:
            Why it failed; None if it is finished.
        """
        attempts = _stopped_attempts(run)
        checkpoint = newest_checkpoint(attempts)
        overrides = [*run.overrides, *self.hydra, f"hydra.run.dir={_place(run.folder)}"]
        if checkpoint is not None:
            log.info("%s goes on from %s", run, checkpoint)
            overrides.append(f"ckpt_path={_place(checkpoint)}")
        code = self._process(self.train, overrides, run.folder.with_name(f"{run.folder.name}.log"))
        if code or not is_finished(run.folder):
            return read_failure(run.folder) or _told(run.folder, code)
        if not self.keep_checkpoints:
            for folder in (run.folder, *attempts):
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return None

    def evaluated(self, run: Run) -> str | None:
        """Has evaluate.py evaluate a finished run's model, unless it has done so.

        Args:
            run: A finished run.

        Returns:
            Why that failed; None if it is done.
        """
        arguments = list(self.evaluate or ())
        if not arguments or is_evaluated(run.folder, arguments):
            return None
        if not model_folder(run).is_dir():
            return (
                "its model is gone (removed by hand, or by bakeoff.keep_models=chosen when another "
                f"rate was best): move {run.folder} away to have it trained again."
            )
        folder = evaluation_folder(run.folder, arguments)
        overrides = [f"model={_place(run.folder)}", *arguments, f"hydra.run.dir={_place(folder)}"]
        log_file = run.folder.with_name(f"{run.folder.name}.evaluation.log")
        code = self._process(self.train.with_name("evaluate.py"), overrides, log_file)
        if code:
            return f"evaluate.py ended with {code}: {_last_line(log_file)}"
        # whole or not at all: a table may be written at this very moment
        part = folder / f"{ARGUMENTS}.part"
        part.write_text(json.dumps(arguments), encoding="utf-8")
        part.replace(folder / ARGUMENTS)
        return None

    def _process(self, program: Path, overrides: Sequence[str], log_file: Path) -> int:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(program), *self.flags, *overrides]
        with log_file.open("ab") as output:
            return self.children.run(command, output, self.lock)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Keeps other bake-offs out of a folder.

    Args:
        folder: Where a bake-off writes.

    Yields:
        A file descriptor: the folder is held until every process that has it open is gone.

    Raises:
        RuntimeError: Another one is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / BAKEOFF_LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"another bake-off, or a run that one has left behind, is at work in {folder}. "
                "Wait for it, or give another hydra.sweep.dir."
            ) from error
        yield file.fileno()


def newest_checkpoint(attempts: Sequence[Path]) -> Path | None:
    """Where a run that was stopped goes on.

    Args:
        attempts: Its folders.

    Returns:
        The newest of the checkpoints that its attempts ended with, if there is one.
    """
    found = [
        path
        for folder in attempts
        for name in ("last.ckpt", "stopped.ckpt")
        if (path := folder / "checkpoints" / name).is_file()
    ]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _place(path: Path) -> str:
    """A path as a value of an override: absolute, whatever folder the process works in."""
    return quoted(str(path.absolute()))


def _stopped_attempts(run: Run) -> list[Path]:
    """Folders of attempts that were stopped, the one at the run's own place moved aside.

    A run never writes over another, not even over the one that it continues.
    """
    earlier = sorted(run.folder.parent.glob(f"{run.folder.name}.stopped_*"))
    if run.folder.exists():
        place = run.folder.with_name(f"{run.folder.name}.stopped_{len(earlier)}")
        log.info("%s was stopped: what it left is now at %s", run, place)
        run.folder.rename(place)
        earlier.append(place)
    return earlier


def _told(folder: Path, code: int) -> str:
    log_file = folder.with_name(f"{folder.name}.log")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"it {how}: {_last_line(log_file)}"


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").split("\n")
    shown = [line.rpartition("\r")[2].strip() for line in lines]
    said = [line for line in shown if line and not line.startswith(ADVICE)]
    return f"{said[-1] if said else 'nothing was said'} ({log_file})"
