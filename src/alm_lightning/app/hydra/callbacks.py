"""What happens around Hydra's runs: nothing is written over, and a sweep leaves one table."""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.table import Table

from alm_lightning.app.hydra.quoting import as_said, quoted
from alm_lightning.app.hydra.sweep_table import TEXTS, cell, sweep_rows, write_failure, write_sweep
from alm_lightning.app.naming import name_run

log = logging.getLogger(__name__)

BAKEOFF_LOCK = "bakeoff.lock"
"""Marks the folder of a bake-off: the only one that a later call may go on in."""
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where launchers tell a process which one of a run it is."""


class NameRun(Callback):
    """Names a run, or a sweep, by what it makes of what, before a folder is called so."""

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Names a single run."""
        name_run(config, as_said(config.hydra.overrides.task), config.hydra.runtime.choices)

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Names a sweep; each of its runs is named when it starts."""
        said = as_said(config.hydra.overrides.task)
        parsed = OverridesParser.create().parse_overrides(said)
        swept = [override.key_or_group for override in parsed if override.is_sweep_override()]
        swept += list(config.hydra.sweeper.get("params") or ())
        choices = config.hydra.runtime.choices
        name_run(config, said, choices, swept)


class TakeFreeFolder(Callback):
    """Gives a run a folder that no other has, where its own is the default, which holds the time.

    Runs that are started together have the same time. The folder is made here, which succeeds for
    one of them alone; the others take the next free name.
    """

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Makes the folder of a run."""
        if _is_default(config, "run"):
            folder = Path(config.hydra.run.dir)
            if not _is_first_process():
                # for its log alone: processes of a launcher can't ask the first for its folder
                folder = folder.with_name(f"{folder.name}_rank{_rank()}")
            with read_write(config.hydra):
                config.hydra.run.dir = str(free_folder(folder))

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Makes the folder of a sweep; a bake-off has one place, where it goes on."""
        # Hydra composes each run anew, where the folder would be named once more
        if _is_default(config, "sweep"):
            folder = Path(config.hydra.sweep.dir)
            if "bakeoff" not in config:
                folder = free_folder(folder)
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")


def _is_default(config: DictConfig, kind: str) -> bool:
    """Whether the command line leaves the folder of a ``run`` or ``sweep`` as it is."""
    given = OverridesParser.create().parse_overrides(as_said(config.hydra.overrides.hydra))
    return not any(override.key_or_group == f"hydra.{kind}.dir" for override in given)


def _is_first_process() -> bool:
    """Whether no other process of the same run on several devices made its folder before."""
    return _rank() == "0"


def _rank() -> str:
    """Which process of its run this is, by what its launcher says; ``0`` for the only one."""
    given = [os.environ.get(rank) or "0" for rank in RANKS]
    return next((rank for rank in given if rank != "0"), "0")


def free_folder(folder: Path) -> Path:
    """Makes a folder that did not exist.

    Args:
        folder: What it is to be called.

    Returns:
        The folder, or where that exists the first that does not of ``folder-2``, ``folder-3``, and
        so on.

    Raises:
        SystemExit: If no folder can be made there (see `refuse_existing`).
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # such as a link to a disk that is not there
        raise SystemExit(
            f"no folder can be made at {folder.parent} ({error}). Mend it, or give another "
            "hydra.run.dir (or hydra.sweep.dir)."
        ) from error
    for number in itertools.count(1):
        free = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            free.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise SystemExit(
                f"no folder can be made in {folder.parent} ({error}). Give another hydra.run.dir "
                "(or hydra.sweep.dir)."
            ) from error
        return free


class RefuseExistingFolder(Callback):
    """Ends a run whose output folder was given and exists, before Hydra writes a byte into it."""

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Checks the folder of a single run."""
        if "bakeoff" in config:
            raise SystemExit(
                "sweep=bakeoff is many runs, and this would be one. Say "
                "`python train.py -m sweep=bakeoff experiment=...`."
            )
        if not _is_default(config, "run"):
            refuse_existing(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Checks the folder of a sweep."""
        folder = Path(config.hydra.sweep.dir)
        if "bakeoff" not in config:
            if not _is_default(config, "sweep"):
                refuse_existing(folder)
            return
        refuse_lists(as_said(config.hydra.overrides.task))
        if not (folder / BAKEOFF_LOCK).is_file():
            refuse_existing(folder)


def refuse_existing(folder: Path) -> None:
    """Refuses an output folder that exists.

    Args:
        folder: Where a run is to write.

    Raises:
        SystemExit: If there is anything. Hydra turns any exception of a callback into a warning,
            and would go on to write into the folder.
    """
    if folder.exists() and _is_first_process():
        raise SystemExit(
            f"the output folder {folder} exists, and a run never writes over another. Give a new "
            "hydra.run.dir (or hydra.sweep.dir), or leave it to its default, which holds the time."
        )


def refuse_lists(overrides: Sequence[str]) -> None:
    """Refuses a bake-off of several values: Hydra would hold one for each, in one folder.

    Args:
        overrides: Of the command line.

    Raises:
        SystemExit: One of them lists several values.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.is_sweep_override():
            raise SystemExit(
                f"sweep=bakeoff takes one value for all its runs, but {override.input_line} has "
                "several. Hold one bake-off for each, each with a hydra.sweep.dir of its own."
            )


class SweepTable(Callback):
    """In a multirun: one table over its runs, as sweep.json and sweep.md, and on the screen.

    The files are written anew after each run: Hydra goes on after a run that failed, but ends with
    its error, and calls no callback at the end.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs) -> None:
        """Notes a failure in the run's folder, and writes the table of the sweep so far."""
        if "bakeoff" in config:
            # its folder is of many runs, each with word of its own; Hydra tells the error
            return
        is_sweep = config.hydra.mode == RunMode.MULTIRUN
        if job_return.status == JobStatus.FAILED:
            output_dir = Path(config.hydra.runtime.output_dir)
            error = write_failure(output_dir, job_return)
            if is_sweep:
                log.error("%s failed, the others go on: %s", output_dir, error)
        if is_sweep:
            write_sweep(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs) -> None:
        """Shows the table."""
        if "bakeoff" in config:
            return
        folder = Path(config.hydra.sweep.dir)
        rows = sweep_rows(folder)
        table = Table(title=f"{len(rows)} runs in {folder}", title_justify="left")
        for name in rows[0] if rows else []:
            is_text = name in TEXTS
            # what a run differs in is folded, where figures would leave no room for it
            table.add_column(
                name,
                justify="left" if is_text else "right",
                overflow="fold",
                min_width=16 if is_text else None,
            )
        for row in rows:
            table.add_row(*map(cell, row.values()))
        Console().print(table)


def task_overrides() -> list[str]:
    """What the command line of this run says beyond the defaults.

    Returns:
        Overrides, as they were typed; empty outside of Hydra.
    """
    return as_said(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
