"""Callbacks around Hydra's runs: no folder is overwritten, and a sweep has one table."""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.table import Table

from alm_lightning.app.hydra.bakeoff_mode import LOCK_FILE, is_bakeoff
from alm_lightning.app.hydra.overrides import as_typed, parsed, quoted
from alm_lightning.app.hydra.search_mode import check_search, is_search, mark_search
from alm_lightning.app.hydra.sweep_table import (
    TEXTS,
    cell,
    portable,
    sweep_rows,
    write_failure,
    write_sweep,
)
from alm_lightning.app.naming import name_run

log = logging.getLogger(__name__)

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Environment variables in which launchers number the processes of a run."""
NOT_ON_SCREEN = ("bpb teacher", "bpb before", "chunk", "s a step")
"""Beginnings of columns that are left to sweep.md, where a search needs room for its settings."""


class NameRun(Callback):
    """Names a run, or a sweep, before its folder gets that name (see `name_run`)."""

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Names a single run."""
        name_run(config, as_typed(config.hydra.overrides.task), config.hydra.runtime.choices)

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Names a sweep; each of its runs is named when it starts."""
        typed = as_typed(config.hydra.overrides.task)
        swept = [each.key_or_group for each in parsed(typed) if each.is_sweep_override()]
        swept += list(config.hydra.sweeper.get("params") or ())
        name_run(config, typed, config.hydra.runtime.choices, swept)


class TakeFreeFolder(Callback):
    """Gives a run a folder that no other run has, where its own is the default, named by the time.

    Runs that start at the same time would share it. The folder is made here, which succeeds for
    only one of them; the others take the next free name.

    Of the processes of one run that torchrun or SLURM starts at the same time, the first one has
    the folder, even one that was given; the others have folders beside it, for their logs alone.
    """

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        """Makes the folder of a run."""
        folder = Path(config.hydra.run.dir)
        if _is_default(config, "run"):
            if not is_first_process():
                # the processes of a launcher don't know the folder of the first
                folder = folder.with_name(f"{folder.name}_rank{_rank()}")
            with read_write(config.hydra):
                config.hydra.run.dir = str(free_folder(folder))
        elif _is_started_from_outside() and not is_first_process():
            # made by whichever comes first, the folder would seem to be that of another run
            with read_write(config.hydra):
                config.hydra.run.dir = str(
                    free_folder(folder.with_name(f"{folder.name}_rank{_rank()}"))
                )

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Makes the folder of a sweep; that of a bake-off or a search may exist: it goes on."""
        folder = Path(config.hydra.sweep.dir)
        if is_search(config):
            mark_search(folder, config)
        # Hydra composes each run again, where the folder would be named once more
        if _is_default(config, "sweep"):
            if not is_bakeoff(config) and not is_search(config):
                folder = free_folder(folder)
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")


def _is_default(config: DictConfig, kind: str) -> bool:
    """Whether the command line leaves the folder of a ``run`` or ``sweep`` as it is."""
    overrides = parsed(as_typed(config.hydra.overrides.hydra))
    return not any(override.key_or_group == f"hydra.{kind}.dir" for override in overrides)


def is_first_process() -> bool:
    """Whether no other process of the same run on several devices made its folder before."""
    return _rank() == "0"


def _is_started_from_outside() -> bool:
    """Whether processes start at the same time; those of Lightning do when the first has begun."""
    return any(name in os.environ for name in ("RANK", "SLURM_PROCID"))


def _rank() -> str:
    """Which process of its run this is, by what its launcher says; ``0`` for the only one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # torchrun numbers processes by itself: the first may be on a node, or have been started by
        # a task of SLURM, of another number
        return os.environ["RANK"]
    # a RANK of 0 may be that of a container, in which Lightning starts processes of its own
    given = (os.environ.get(rank) for rank in RANKS)
    return next((rank for rank in given if rank and rank != "0"), "0")


def free_folder(folder: Path) -> Path:
    """Makes `folder`, or if it exists the first of ``folder-2``, ``folder-3``, ... that does not.

    Raises SystemExit if no folder can be made there (see `refuse_existing`).
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # such as a link to a disk that is not there
        raise SystemExit(
            f"no folder can be made at {folder.parent} ({error}). Repair it, or give another "
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
        if is_bakeoff(config):
            raise SystemExit(
                "sweep=bakeoff is many runs, and this would be one. Use "
                "`python train.py -m sweep=bakeoff experiment=...`."
            )
        if not _is_default(config, "run"):
            refuse_existing(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        """Checks the folder of a sweep."""
        folder = Path(config.hydra.sweep.dir)
        if is_search(config):
            if not check_search(folder, config):
                refuse_existing(folder)
            return
        if not is_bakeoff(config):
            if not _is_default(config, "sweep"):
                refuse_existing(folder)
            return
        refuse_lists(as_typed(config.hydra.overrides.task))
        if not (folder / LOCK_FILE).is_file():
            refuse_existing(folder)


def refuse_existing(folder: Path) -> None:
    """Refuses an output folder that exists, by SystemExit.

    Hydra would turn any other exception of a callback into a warning, and write into the folder.
    """
    if folder.exists() and is_first_process():
        raise SystemExit(
            f"the output folder {folder} exists, and a run never writes over another. Give a new "
            "hydra.run.dir (or hydra.sweep.dir), or leave it to its default, which holds the time."
        )


def refuse_lists(overrides: Sequence[str]) -> None:
    """Refuses, by SystemExit, a bake-off over several values of an override.

    Hydra would start one bake-off for each value, all in one folder.
    """
    for override in parsed(overrides):
        if override.is_sweep_override():
            raise SystemExit(
                f"sweep=bakeoff takes one value for all its runs, but {override.input_line} has "
                "several. Start one bake-off for each, each with a hydra.sweep.dir of its own."
            )


class SweepTable(Callback):
    """In a multirun: one table over its runs, as sweep.json and sweep.md, and on the screen.

    The files are written again after each run: Hydra continues after a run that failed, but ends
    with its error, and then calls no callback at the end.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs) -> None:
        """Writes a failure to the run's folder, and the table of the sweep so far."""
        if is_bakeoff(config) or "scores" in config:
            # each of its runs writes its own failure; Hydra shows the error. Scores have no figures
            return
        is_sweep = config.hydra.mode == RunMode.MULTIRUN
        if job_return.status == JobStatus.FAILED:
            output_dir = Path(config.hydra.runtime.output_dir)
            error = write_failure(output_dir, job_return)
            if is_sweep:
                log.error("%s failed, the other runs continue: %s", output_dir, error)
                job_return.return_value = portable(job_return._return_value)
        if is_sweep:
            write_sweep(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs) -> None:
        """Shows the table."""
        if is_bakeoff(config) or "scores" in config:
            return
        folder = Path(config.hydra.sweep.dir)
        rows = sweep_rows(folder)
        order = ""
        if is_search(config):
            order = ", best first"
            rows = [
                {name: value for name, value in row.items() if not name.startswith(NOT_ON_SCREEN)}
                for row in rows
            ]
        table = Table(title=f"{len(rows)} runs in {folder}{order}", title_justify="left")
        for name in rows[0] if rows else []:
            is_text = name in TEXTS
            # overrides are folded where figures leave too few columns for them
            table.add_column(
                name,
                justify="left" if is_text else "right",
                overflow="fold",
                min_width=16 if is_text else None,
            )
        for row in rows:
            table.add_row(*map(cell, row.values()))
        Console().print(table)
