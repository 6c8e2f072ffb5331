"""Callbacks around Hydra's runs: no folder is overwritten, and a sweep has one table."""

import itertools
import logging
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alm_lightning.app.hydra.bakeoff_mode import LOCK_FILE, is_bakeoff
from alm_lightning.app.hydra.overrides import as_typed, parsed, quoted
from alm_lightning.app.hydra.processes import is_first_process, is_started_from_outside, rank
from alm_lightning.app.hydra.search_mode import check_search, is_search, mark_search
from alm_lightning.app.hydra.sweep_checks import (
    refuse_lists,
    refuse_no_result,
    refuse_one_folder,
    refuse_processes_of_joblib,
    refuse_several_searches,
)
from alm_lightning.app.hydra.sweep_table import (
    TEXTS,
    cell,
    let_go,
    portable,
    sweep_rows,
    write_failure,
    write_sweep,
)
from alm_lightning.app.naming import name_run

log = logging.getLogger(__name__)

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
                folder = folder.with_name(f"{folder.name}_rank{rank()}")
            with read_write(config.hydra):
                config.hydra.run.dir = str(free_folder(folder))
        elif is_started_from_outside() and not is_first_process():
            # made by whichever comes first, the folder would seem to be that of another run
            with read_write(config.hydra):
                config.hydra.run.dir = str(
                    free_folder(folder.with_name(f"{folder.name}_rank{rank()}"))
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
        """Checks the folder of a sweep, and that each of its runs has its own."""
        folder = Path(config.hydra.sweep.dir)
        if not is_bakeoff(config):
            refuse_one_folder(config)
            refuse_processes_of_joblib(config)
        if is_search(config):
            refuse_several_searches()
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
                let_go(job_return._return_value)
                job_return.return_value = portable(job_return._return_value)
        if is_sweep:
            write_sweep(Path(config.hydra.sweep.dir))
        if is_sweep and is_search(config):
            refuse_no_result(config)

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
        # Text: an override such as [/a,/b] is no markup of rich's
        title = Text(f"{len(rows)} runs in {folder}{order}", "table.title")
        table = Table(title=title, title_justify="left")
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
            table.add_row(*(Text(cell(value)) for value in row.values()))
        Console().print(table)
